"""The small classifier behind a diagnosis, as numbers: how it reads a text, and how it is stored.

Two readers look at the same text and their probabilities are averaged:

- one sees each token as the bundled embedder understands it in its context after three of its six layers, and looks
  for telling places ("however we ask", "changed this morning") by attention pooling. The mean of all tokens, which is
  the embedding itself, mostly tells the topic; cross-validated, it is right far less often (docs/method.md);
- one sees words and pairs of words (TF-IDF) and answers two separate questions by logistic regression: are facts
  missing, and does prompting fail? Their four combinations are the four diagnoses.

A temperature, fitted on cross-validated predictions, makes the average's probabilities mean what they say. Training
is in core.decide.fit; here is only what is needed to read, so that no page waits for more.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.decide.rulebook import FOLDER
from core.errors import UserError

if TYPE_CHECKING:
    from core.models.embedding import Embedder

MODEL_FILE = FOLDER / "diagnosis.safetensors"
DIAGNOSES = ("prompt", "rag", "fine-tune", "both")
# Layer whose token states are read; chosen by cross-validation among 2 to 6.
LAYER = 3
# Words that surely fit into the embedder's 256 tokens.
PART_WORDS = 150
# Answers that a text may state beside its diagnosis, as yes-or-no columns; a kind of form has one column each.
STATED = (
    ("changes_often", True),
    ("private_documents", True),
    ("needs_citations", True),
    ("data_may_leave", False),
    ("behavior_kind", "format"),
    ("behavior_kind", "tone"),
    ("behavior_kind", "language"),
    ("behavior_kind", "classification"),
    ("behavior_kind", "domain_language"),
    ("behavior_kind", "skill"),
)


@dataclass(frozen=True)
class Reading:
    """A text as the classifier sees it: token states (tokens, dimensions), their places, and the sentence's vector."""

    text: str
    tokens: np.ndarray
    places: list[tuple[int, int]]
    vector: np.ndarray


def read(texts: Sequence[str], embedder: Embedder) -> list[Reading]:
    """Read texts together. One that is longer than the embedder takes is read in parts."""
    parts = [(i, place) for i, text in enumerate(texts) for place in _parts(text)]
    pieces = [texts[i][start:end] for i, (start, end) in parts]
    read_pieces = embedder.read(pieces, LAYER)
    readings = []
    for i, text in enumerate(texts):
        own = [k for k, (of, _) in enumerate(parts) if of == i]
        vector = np.sum([read_pieces[k][0] for k in own], axis=0)
        places = [(parts[k][1][0] + start, parts[k][1][0] + end) for k in own for start, end in read_pieces[k][2]]
        tokens = np.concatenate([read_pieces[k][1] for k in own])
        readings.append(Reading(text, tokens, places, vector / max(float(np.linalg.norm(vector)), 1e-9)))
    return readings


def _parts(text: str) -> list[tuple[int, int]]:
    """Stretches of PART_WORDS words; a text without so many is one."""
    starts = [match.start() for match in re.finditer(r"\S+", text)][::PART_WORDS] or [0]
    return list(itertools.pairwise([0, *starts[1:], len(text)]))


@dataclass(frozen=True)
class Attention:
    """Attention pooling: `heads` looks at a text, several independently trained copies averaged.

    Shapes: mean, deviation (dimensions,); query, value (copies, dimensions, heads); out (copies, heads, 4); biases
    without the middle one.
    """

    mean: np.ndarray
    deviation: np.ndarray
    query: np.ndarray
    query_bias: np.ndarray
    value: np.ndarray
    value_bias: np.ndarray
    out: np.ndarray
    out_bias: np.ndarray

    def probabilities(self, tokens: np.ndarray, hidden: Sequence[np.ndarray] = ()) -> np.ndarray:
        """float64 (1 + len(hidden), 4): for the text, and for it without the tokens where a mask is True."""
        if len(tokens) == 0:
            return np.full((1 + len(hidden), len(DIAGNOSES)), 1 / len(DIAGNOSES))
        x = (tokens - self.mean) / self.deviation
        scores = np.einsum("td,cdh->cth", x, self.query) + self.query_bias[:, None]
        values = np.einsum("td,cdh->cth", x, self.value) + self.value_bias[:, None]
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        masks = np.stack([np.zeros(len(tokens), bool), *hidden])
        seen = (~masks).astype(x.dtype)
        pooled = np.einsum("mt,cth->mch", seen, weights * values) / np.maximum(
            np.einsum("mt,cth->mch", seen, weights), 1e-9
        )
        logits = np.einsum("mch,chk->mck", np.tanh(pooled), self.out) + self.out_bias
        each = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities: np.ndarray = (each / each.sum(axis=-1, keepdims=True)).mean(axis=1).astype(np.float64)
        return probabilities


@dataclass(frozen=True)
class Words:
    """TF-IDF of words and word pairs, with one logistic regression per column of `weights`.

    Columns 0 and 1: facts are missing, prompting fails. The others: STATED, in order; they also see the embedding.
    """

    vectorizer: Any
    weights: np.ndarray
    bias: np.ndarray
    stated_weights: np.ndarray
    stated_bias: np.ndarray

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """float64 (texts, 4)."""
        facts, fails = _logistic(self.vectorizer.transform(texts) @ self.weights + self.bias).T
        return np.stack([(1 - facts) * (1 - fails), facts * (1 - fails), (1 - facts) * fails, facts * fails], axis=1)

    def stated(self, reading: Reading) -> np.ndarray:
        """float64 (len(STATED),): how probable it is that the text states each of STATED."""
        words = self.vectorizer.transform([reading.text]).toarray()[0]
        found: np.ndarray = _logistic(np.concatenate([words, reading.vector]) @ self.stated_weights + self.stated_bias)
        return found


def _logistic(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
    return result


def sharpened(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities to the power of 1 / temperature, adding up to 1 again. Below 1 they become surer."""
    powered = np.exp(np.log(np.maximum(probabilities, 1e-12)) / temperature)
    result: np.ndarray = powered / powered.sum(axis=-1, keepdims=True)
    return result


@dataclass(frozen=True)
class Classifier:
    """Both readers, the temperature, and the scenarios they were trained on, as vectors to find similar cases by."""

    attention: Attention
    words: Words
    temperature: float
    scenario_vectors: np.ndarray
    scenarios_hash: str

    def probabilities(self, reading: Reading, without: Sequence[tuple[int, int]] = ()) -> np.ndarray:
        """float64 (1 + len(without), 4): for the text, and for it without each of some (start, end) stretches."""
        masks = [
            np.array([start < stop and end > begin for begin, stop in reading.places], bool) for start, end in without
        ]
        cut = [reading.text[:start] + reading.text[end:] for start, end in without]
        attention = self.attention.probabilities(reading.tokens, masks)
        return sharpened((attention + self.words.probabilities([reading.text, *cut])) / 2, self.temperature)


def save(classifier: Classifier, path: Path = MODEL_FILE) -> None:
    """Write the classifier as safetensors; the vocabulary and the scenarios' hash stand in its header."""
    from safetensors.numpy import save_file

    arrays = {f"attention.{name}": value for name, value in vars(classifier.attention).items()}
    arrays |= {
        f"words.{name}": getattr(classifier.words, name)
        for name in ("weights", "bias", "stated_weights", "stated_bias")
    }
    arrays["words.idf"] = classifier.words.vectorizer.idf_
    arrays["temperature"] = np.array([classifier.temperature])
    stored = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in arrays.items()}
    stored["scenarios"] = np.ascontiguousarray(classifier.scenario_vectors, dtype=np.float16)
    terms = classifier.words.vectorizer.get_feature_names_out().tolist()
    save_file(stored, path, metadata={"terms": json.dumps(terms), "scenarios_hash": classifier.scenarios_hash})


@cache
def load(path: Path = MODEL_FILE) -> Classifier:
    """Read the classifier. Raises UserError when the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            notes = file.metadata()
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"The classifier {path.name} cannot be read.", "Build it again: python -m core.decide.fit"
        ) from error
    attention = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith("attention.")}
    words = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith("words.")}
    return Classifier(
        attention=Attention(**attention),
        words=Words(vectorizer=vectorizer_of(json.loads(notes["terms"]), words.pop("idf")), **words),
        temperature=float(arrays["temperature"][0]),
        scenario_vectors=arrays["scenarios"].astype(np.float32),
        scenarios_hash=notes["scenarios_hash"],
    )


def new_vectorizer(**settings: Any) -> Any:
    """scikit-learn's TfidfVectorizer as the words are read: words and pairs, logarithmic counts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **settings)


def vectorizer_of(terms: list[str], idf: np.ndarray) -> Any:
    """The vectoriser with a vocabulary learnt before."""
    vectorizer = new_vectorizer(vocabulary=terms)
    vectorizer.idf_ = idf.astype(np.float64)
    return vectorizer

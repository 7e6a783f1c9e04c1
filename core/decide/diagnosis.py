"""A sentence in, a diagnosis out: knowledge, behaviour, both, or a better prompt first, and why.

Offline, by the classifier in assets/decide. It reads English; of other languages it says that it cannot be sure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from core.decide.answers import Answer
from core.decide.classifier import DIAGNOSES, STATED, Classifier, Reading, load, read, sharpened
from core.decide.quantities import quantities
from core.decide.scenarios import Scenario, hash_of, load_scenarios
from core.errors import UserError

# Characters that are read; a problem that takes more to say is not one problem.
MOST_CHARACTERS = 4_000
# Probability from which a stated answer is filled in.
STATED_FROM = 0.6
# Below this similarity to every scenario a text is hardly about an assistant's answers: of 124 descriptions that were
# not trained on none is, of small talk most.
FAMILIAR = 0.36
# Probability from which a diagnosis fills in answers; below it, asking is better than guessing.
SURE_ENOUGH = 0.5
# How much surer or less sure than usual to be of what the classifier was not made for.
DOUBTFUL = 3.0
# Stretches of this many words are tried: a single "how" or "no" says little to a reader, "no matter how" does.
STRETCH = 3
# Stretches shown at most, and the least share of the strongest one's influence that makes another worth showing.
MOST_WORDS, LEAST_INFLUENCE = 4, 0.25
MOST_CASES = 3
SURE_OF_LANGUAGE = 0.9
# Words of a text up to which each is tried: the time grows with their square.
MOST_EXPLAINED = 120
WORD = re.compile(r"\b[\w’'-]{1,40}\b")

# What each diagnosis says about the two questions that decide most.
ANSWERS: dict[str, dict[str, Answer]] = {
    "prompt": {"prompt_tried": "no", "gap": "behavior"},
    "rag": {"gap": "knowledge"},
    "fine-tune": {"prompt_tried": "exhausted", "gap": "behavior"},
    "both": {"prompt_tried": "exhausted", "gap": "both"},
}
# Answers that only matter, and are only filled in, with some diagnoses.
ABOUT_FACTS = {"changes_often", "private_documents", "needs_citations"}
ABOUT_FORM = {"behavior_kind"}


@dataclass(frozen=True)
class Words:
    """A stretch of the text, and by how much the diagnosis' log odds fall without it; below zero, it speaks against."""

    start: int
    end: int
    influence: float


@dataclass(frozen=True)
class Case:
    """A scenario the text resembles, with its diagnosis and the cosine similarity."""

    text: str
    diagnosis: str
    similarity: float


@dataclass(frozen=True)
class Diagnosis:
    """What a text says. `answers` fill in the wizard; `notes` tell what makes the diagnosis doubtful."""

    text: str
    diagnosis: str
    probabilities: dict[str, float]
    answers: dict[str, Answer]
    words: tuple[Words, ...]
    cases: tuple[Case, ...]
    notes: tuple[str, ...]

    @property
    def probability(self) -> float:
        return self.probabilities[self.diagnosis]


def diagnose(text: str) -> Diagnosis:
    """Diagnose one text. Raises UserError if it is empty or holds no word."""
    return diagnose_all([text])[0]


def diagnose_all(texts: Sequence[str]) -> list[Diagnosis]:
    """Diagnose several texts, read together. Raises UserError for the first that is empty or holds no word."""
    from core.models.embedding import load_embedder

    cut = [_readable(text) for text in texts]
    classifier = load()
    readings = read(cut, load_embedder())
    return [
        _diagnosis(reading, len(text.strip()) > len(reading.text), classifier)
        for reading, text in zip(readings, texts, strict=True)
    ]


def _readable(text: str) -> str:
    # A lone surrogate is no character, and tokenizers refuse it.
    clean = text.encode("utf-8", "replace").decode("utf-8").strip()[:MOST_CHARACTERS]
    if not any(character.isalpha() for character in clean):
        raise UserError(
            "There is no sentence to read.", "Describe in a sentence or two what is wrong with the answers."
        )
    return clean


def _diagnosis(reading: Reading, was_cut: bool, classifier: Classifier) -> Diagnosis:
    places = [match.span() for match in WORD.finditer(reading.text)]
    shown = _stretches(places) if len(places) <= MOST_EXPLAINED else []
    found = classifier.probabilities(reading, shown)
    notes = []
    cases, familiar = _cases(reading.vector, classifier)
    doubtful = False
    if was_cut:
        notes.append(f"Only the first {MOST_CHARACTERS:,} characters were read.")
    if not is_english(reading.text):
        notes.append("This does not look like English, which is all the offline reader was trained on.")
        doubtful = True
    elif familiar < FAMILIAR:
        notes.append("This resembles no description of an assistant's answers that the reader knows.")
        doubtful = True
    probabilities = sharpened(found[0], DOUBTFUL) if doubtful else found[0]
    top = int(probabilities.argmax())
    name = DIAGNOSES[top]
    return Diagnosis(
        text=reading.text,
        diagnosis=name,
        probabilities=dict(zip(DIAGNOSES, map(float, probabilities), strict=True)),
        answers={} if doubtful or probabilities[top] < SURE_ENOUGH else _answers(reading, name, classifier),
        words=_words(shown, _log_odds(found[0, top]) - _log_odds(found[1:, top])),
        cases=cases,
        notes=tuple(notes),
    )


def _answers(reading: Reading, diagnosis: str, classifier: Classifier) -> dict[str, Answer]:
    """The wizard's answers as far as the text gives them; each may be changed there."""
    answers = dict(ANSWERS[diagnosis])
    chances = classifier.words.stated(reading)
    for key, columns in itertools.groupby(range(len(STATED)), key=lambda column: STATED[column][0]):
        if key in ABOUT_FACTS and diagnosis not in ("rag", "both"):
            continue
        if key in ABOUT_FORM and diagnosis == "rag":
            continue
        best = max(columns, key=lambda column: chances[column])
        if chances[best] >= STATED_FROM:
            answers[key] = STATED[best][1]
    return answers | quantities(reading.text)


def _stretches(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Every STRETCH of consecutive words as (start, end); the whole text if it is shorter."""
    if len(places) <= STRETCH:
        return [(places[0][0], places[-1][1])] if places else []
    return [(places[i][0], places[i + STRETCH - 1][1]) for i in range(len(places) - STRETCH + 1)]


def _words(stretches: list[tuple[int, int]], influence: np.ndarray) -> tuple[Words, ...]:
    """The stretches that the diagnosis hangs on most, none overlapping another, in the order of the text."""
    kept: list[Words] = []
    for i in np.argsort(-np.abs(influence)):
        start, end = stretches[i]
        if len(kept) == MOST_WORDS or (kept and abs(influence[i]) < LEAST_INFLUENCE * abs(kept[0].influence)):
            break
        if all(end <= other.start or start >= other.end for other in kept):
            kept.append(Words(start, end, float(influence[i])))
    return tuple(sorted(kept, key=lambda words: words.start))


def _log_odds(probability: np.ndarray) -> np.ndarray:
    bounded = np.clip(probability, 1e-12, 1 - 1e-12)
    odds: np.ndarray = np.log(bounded / (1 - bounded))
    return odds


def _cases(vector: np.ndarray, classifier: Classifier) -> tuple[tuple[Case, ...], float]:
    """The scenarios most like the text, one per group, and the greatest similarity to any."""
    similarity = classifier.scenario_vectors @ vector
    scenarios = _scenarios()
    cases: list[Case] = []
    groups: set[str] = set()
    for i in np.argsort(-similarity):
        if len(cases) == MOST_CASES:
            break
        scenario = scenarios[i]
        if scenario.group not in groups:
            groups.add(scenario.group)
            cases.append(Case(scenario.text, scenario.rung, float(similarity[i])))
    return tuple(cases), float(similarity.max())


@cache
def _scenarios() -> list[Scenario]:
    """Raises UserError if they are not those that the classifier was built from: its cases would be other ones."""
    scenarios = load_scenarios()
    if hash_of(scenarios) != load().scenarios_hash:
        raise UserError(
            "The scenarios have changed since the classifier was built.", "Build it again: python -m core.decide.fit"
        )
    return scenarios


def is_english(text: str) -> bool:
    """Whether py3langid takes the text for English, as it does all of the scenarios.

    Of three words or fewer it must be sure: "Wrong JSON" alone might be anything.
    """
    language, probability = _identifier().classify(text)
    return bool(language == "en" or (len(WORD.findall(text)) <= 3 and probability < SURE_OF_LANGUAGE))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

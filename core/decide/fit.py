"""Build the classifier of the diagnosis from the scenarios: `python -m core.decide.fit` (about two minutes).

The scenarios in assets/decide/scenarios.jsonl were written for this project by several authors, one letter each in
`group`. Cross-validation always leaves whole authors out: what counts is how it reads people it has never read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.decide.classifier import (
    DIAGNOSES,
    STATED,
    Attention,
    Classifier,
    Reading,
    Words,
    new_vectorizer,
    read,
    save,
    sharpened,
)
from core.decide.scenarios import Scenario, hash_of, load_scenarios

FOLDS = 6
# Attention pooling: how often it is trained (the copies are averaged), and how. Chosen by cross-validation.
COPIES, HEADS, EPOCHS, BATCH = 4, 16, 15, 64
LEARNING_RATE, WEIGHT_DECAY, DROPOUT, SMOOTHING = 2e-3, 0.1, 0.3, 0.05
# Words: the inverse of the penalty. The yes-or-no answers have fewer examples, and are held back more.
WORDS_C, STATED_C = 30.0, 3.0


@dataclass(frozen=True)
class CrossValidated:
    """Predictions for each scenario by a classifier that has seen nothing of its author: (scenarios, 4), sharpened."""

    probabilities: np.ndarray
    labels: np.ndarray
    temperature: float

    @property
    def accuracy(self) -> float:
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())

    @property
    def majority(self) -> float:
        """Accuracy of always naming the most frequent diagnosis."""
        return float(np.bincount(self.labels).max() / len(self.labels))

    @property
    def calibration_error(self) -> float:
        return calibration_error(self.probabilities, self.labels)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of the named diagnosis in equal-width bins (Guo et al. 2017)."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((sure * bins).astype(int), bins - 1)
    filled = [bin_of == b for b in range(bins) if (bin_of == b).any()]
    return float(sum(mask.mean() * abs(sure[mask].mean() - right[mask].mean()) for mask in filled))


def labels_of(scenarios: Sequence[Scenario]) -> np.ndarray:
    return np.array([DIAGNOSES.index(scenario.rung) for scenario in scenarios])


def cross_validate(scenarios: Sequence[Scenario], readings: Sequence[Reading], seed: int = 0) -> CrossValidated:
    """Train without some authors, read theirs, and so on; then fit the temperature on all these predictions."""
    from scipy.optimize import minimize_scalar
    from sklearn.model_selection import GroupKFold

    labels = labels_of(scenarios)
    raw = np.zeros((len(labels), len(DIAGNOSES)))
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, held_out in folds.split(labels, groups=[scenario.author for scenario in scenarios]):
        fitted = fit([scenarios[i] for i in train], [readings[i] for i in train], seed)
        raw[held_out] = [fitted.probabilities(readings[i])[0] for i in held_out]

    def surprise(temperature: float) -> float:
        return float(-np.log(sharpened(raw, temperature)[np.arange(len(labels)), labels]).mean())

    temperature = float(minimize_scalar(surprise, bounds=(0.1, 5.0), method="bounded").x)
    return CrossValidated(sharpened(raw, temperature), labels, temperature)


def fit(scenarios: Sequence[Scenario], readings: Sequence[Reading], seed: int = 0) -> Classifier:
    """A classifier at temperature 1."""
    labels = labels_of(scenarios)
    return Classifier(
        attention=_fit_attention(readings, labels, seed),
        words=_fit_words(scenarios, readings, labels),
        temperature=1.0,
        scenario_vectors=np.stack([reading.vector for reading in readings]),
        scenarios_hash=hash_of(scenarios),
    )


def _fit_words(scenarios: Sequence[Scenario], readings: Sequence[Reading], labels: np.ndarray) -> Words:
    import scipy.sparse as sp
    from sklearn.linear_model import LogisticRegression

    vectorizer = new_vectorizer(min_df=2)
    words = vectorizer.fit_transform([scenario.text for scenario in scenarios])
    vectors = sp.csr_array(np.stack([reading.vector for reading in readings]))
    seen = sp.hstack([sp.csr_array(words), vectors], format="csr")

    def columns(x: Any, targets: Sequence[np.ndarray], c: float) -> tuple[np.ndarray, np.ndarray]:
        fitted = [LogisticRegression(C=c, max_iter=3_000).fit(x, target) for target in targets]
        return np.concatenate([f.coef_ for f in fitted]).T, np.concatenate([f.intercept_ for f in fitted])

    facts, fails = np.isin(labels, (1, 3)), np.isin(labels, (2, 3))
    weights, bias = columns(words, (facts, fails), WORDS_C)
    stated = [np.array([s.answers.get(key) == value for s in scenarios]) for key, value in STATED]
    stated_weights, stated_bias = columns(seen, stated, STATED_C)
    return Words(vectorizer, weights, bias, stated_weights, stated_bias)


def _fit_attention(readings: Sequence[Reading], labels: np.ndarray, seed: int) -> Attention:
    """COPIES of attention pooling, each from its own random start, trained with AdamW."""
    import torch
    from torch.nn import functional
    from torch.nn.utils.rnn import pad_sequence

    flat = np.concatenate([reading.tokens for reading in readings])
    mean, deviation = flat.mean(axis=0), flat.std(axis=0) + 1e-6
    tokens = [torch.from_numpy((reading.tokens - mean) / deviation) for reading in readings]
    targets = torch.from_numpy(labels)
    copies = []
    for copy in range(COPIES):
        torch.manual_seed(seed * COPIES + copy)
        query, value = torch.nn.Linear(len(mean), HEADS), torch.nn.Linear(len(mean), HEADS)
        out = torch.nn.Linear(HEADS, len(DIAGNOSES))
        parts = torch.nn.ModuleList([query, value, out])
        optimiser = torch.optim.AdamW(parts.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(tokens)).split(BATCH):  # type: ignore[no-untyped-call]
                x = pad_sequence([tokens[i] for i in batch], batch_first=True)
                real = torch.arange(x.shape[1]) < torch.tensor([len(tokens[i]) for i in batch])[:, None]
                x = functional.dropout(x, DROPOUT)
                weights = query(x).masked_fill(~real[..., None], -1e4).softmax(dim=1)
                logits = out(torch.tanh((weights * value(x)).sum(dim=1)))
                loss = functional.cross_entropy(logits, targets[batch], label_smoothing=SMOOTHING)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        copies.append([p.detach().numpy() for part in (query, value, out) for p in (part.weight.T, part.bias)])
    query_w, query_b, value_w, value_b, out_w, out_b = (np.stack(each) for each in zip(*copies, strict=True))
    return Attention(mean, deviation, query_w, query_b, value_w, value_b, out_w, out_b)


def main() -> int:
    """Cross-validate, train on everything, and write the classifier."""
    from core.models.embedding import load_embedder

    scenarios = load_scenarios()
    readings = read([scenario.text for scenario in scenarios], load_embedder())
    checked = cross_validate(scenarios, readings)
    save(replace(fit(scenarios, readings), temperature=checked.temperature))
    authors = len({scenario.author for scenario in scenarios})
    sys.stdout.write(
        f"{len(scenarios)} scenarios by {authors} authors, cross-validated with whole authors left out:\n"
        f"  accuracy {checked.accuracy:.3f}, always the most frequent diagnosis {checked.majority:.3f}\n"
        f"  expected calibration error {checked.calibration_error:.3f} at temperature {checked.temperature:.2f}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How well a sentence is diagnosed, and how soon: `python -m bench.diagnosis` (about seven minutes).

Cross-validated over the scenarios in assets/decide with whole authors left out, beside two usual ways of classifying
short texts (scikit-learn's logistic regression on the same embedder's sentence vectors, and on TF-IDF) with the same
folds; then on descriptions that were never trained on; then the time of one diagnosis and of one step of the wizard.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import describe
from core.decide.answers import Answer
from core.decide.classifier import DIAGNOSES, Reading, new_vectorizer, read
from core.decide.diagnosis import diagnose, diagnose_all
from core.decide.engine import advise, open_questions
from core.decide.fit import FOLDS, calibration_error, cross_validate, labels_of
from core.decide.scenarios import Scenario, load_scenarios
from core.models.embedding import load_embedder

REPOSITORY = Path(__file__).resolve().parents[1]
UNSEEN = REPOSITORY / "tests" / "decide" / "unseen.jsonl"


def peer(
    scenarios: Sequence[Scenario], features: Callable[[Sequence[int], Sequence[int]], tuple[Any, Any]], c: float
) -> np.ndarray:
    """Cross-validated probabilities of a logistic regression, the folds being those of our own classifier."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    labels = labels_of(scenarios)
    found = np.zeros((len(labels), len(DIAGNOSES)))
    folds = GroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(labels, groups=[scenario.author for scenario in scenarios]):
        seen, unseen = features(train, test)
        found[test] = LogisticRegression(C=c, max_iter=3_000).fit(seen, labels[train]).predict_proba(unseen)
    return found


def show(name: str, probabilities: np.ndarray, labels: np.ndarray) -> None:
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    error = calibration_error(probabilities, labels)
    print(f"  {name:58s} accuracy {accuracy:.3f}   calibration error {error:.3f}")


def cross_validated(scenarios: Sequence[Scenario], readings: Sequence[Reading]) -> None:
    labels = labels_of(scenarios)
    vectors = np.stack([reading.vector for reading in readings])
    texts = np.array([scenario.text for scenario in scenarios])

    def words(train: Sequence[int], test: Sequence[int]) -> tuple[Any, Any]:
        vectorizer = new_vectorizer(min_df=2)
        return vectorizer.fit_transform(texts[train]), vectorizer.transform(texts[test])

    authors = len({scenario.author for scenario in scenarios})
    print(f"{len(scenarios)} scenarios by {authors} authors, {FOLDS} folds, whole authors left out:")
    print(f"  {'always the most frequent diagnosis':58s} accuracy {np.bincount(labels).max() / len(labels):.3f}")
    embedded = peer(scenarios, lambda train, test: (vectors[train], vectors[test]), 3)
    show("logistic regression on the sentence embedding", embedded, labels)
    show("logistic regression on TF-IDF", peer(scenarios, words, 10), labels)
    ours = cross_validate(scenarios, readings)
    show("ours", ours.probabilities, labels)


def unseen(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = diagnose_all([row["text"] for row in rows])
    probabilities = np.array([list(diagnosis.probabilities.values()) for diagnosis in found])
    print(f"{len(rows)} descriptions that were never trained on ({path.name}):")
    show("ours", probabilities, np.array([DIAGNOSES.index(row["rung"]) for row in rows]))


def speed(texts: Sequence[str]) -> None:
    def median_ms(what: Callable[[Any], object], inputs: Sequence[Any]) -> float:
        times = []
        for one in inputs:
            started = time.perf_counter()
            what(one)
            times.append(1000 * (time.perf_counter() - started))
        return statistics.median(times)

    def step(answers: dict[str, Answer]) -> None:
        advise(answers)
        open_questions(answers)

    diagnose(texts[0])
    embedder = load_embedder()
    alone = median_ms(lambda text: embedder.embed([text]), texts)
    whole = median_ms(diagnose, texts)
    print(
        f"One diagnosis, embedder warm: {whole:.0f} ms, {whole / alone:.1f} times the bare embedding ({alone:.0f} ms)"
    )
    walk: list[dict[str, Answer]] = [{}, {"prompt_tried": "exhausted"}, {"prompt_tried": "exhausted", "gap": "both"}]
    print(f"Of it, the engine (advice, flips, confidence, next question): {median_ms(step, walk):.0f} ms")


def page() -> None:
    """The whole script of the Decide page after a step, as the server runs it; the browser's share is not in it."""
    from streamlit.testing.v1 import AppTest

    with tempfile.TemporaryDirectory() as home:
        os.environ["LOWEST_RUNG_HOME"] = home
        app = AppTest.from_file(str(REPOSITORY / "pages" / "decide.py"), default_timeout=60)
        app.query_params["prompt_tried"], app.query_params["gap"] = "exhausted", "behavior"
        app.run()
        times = []
        for _ in range(20):
            started = time.perf_counter()
            app.run()
            times.append(1000 * (time.perf_counter() - started))
    print(f"One step of the wizard, the page's whole script: {statistics.median(times):.0f} ms")


def main() -> None:
    print(describe())
    scenarios = load_scenarios()
    readings = read([scenario.text for scenario in scenarios], load_embedder())
    cross_validated(scenarios, readings)
    unseen(UNSEEN)
    shared = REPOSITORY.parent / "shared" / "data" / "scenarios.jsonl"
    if shared.exists():
        unseen(shared)
    page()
    speed([json.loads(line)["text"] for line in UNSEEN.read_text(encoding="utf-8").splitlines()])


if __name__ == "__main__":
    main()

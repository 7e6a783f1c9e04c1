"""Accuracy: the answer names the right class."""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field

from core.evaluate.metrics.classes import OTHER, Classes, classes_named
from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.metrics.settings import MetricSettings


class AccuracySettings(MetricSettings):
    """Which classes there are."""

    classes: tuple[str, ...] = Field(
        (),
        title="Classes",
        description="The answers to choose from, as the references write them. Empty: only the right one is known, "
        "so an answer is right if it names that one.",
    )


@answer_metric(
    "accuracy",
    title="Accuracy (right class)",
    kind="binary",
    family="labels",
    needs=("reference",),
    settings=AccuracySettings,
)
def accuracy(answer: Answer, settings: AccuracySettings) -> Scored:
    """1 if the answer names the right class and no other, even inside a sentence; JSON must be right as a whole.

    Its mean is the accuracy; the report adds macro-F1 and the confusion matrix from the same reading of the answers.
    """
    classes = _classes(tuple(settings.classes)) if settings.classes else classes_named([answer.reference])
    expected, given = classes.of(answer.reference), classes.of(answer.output)
    return Scored(float(given == expected != OTHER), {"class": given[:200]})


@lru_cache(maxsize=16)
def _classes(texts: tuple[str, ...]) -> Classes:
    return classes_named(texts)

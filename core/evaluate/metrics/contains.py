"""Contains: the right fact is in the answer, in however many words."""

from __future__ import annotations

from core.evaluate.metrics.registry import metric
from core.evaluate.normalize import normalize


@metric("contains", title="Answer contained", kind="binary", family="facts")
def contains(prediction: str, reference: str) -> float:
    """1 if the reference's words stand in the answer, in a row and in order, after SQuAD normalisation.

    For facts, where a full sentence around the right name is as good as the name. An empty reference is in no answer.
    """
    expected = normalize(reference)
    return float(bool(expected) and f" {expected} " in f" {normalize(prediction)} ")

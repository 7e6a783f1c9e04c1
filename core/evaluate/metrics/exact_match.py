"""Exact match: the whole answer is right or it is not."""

from __future__ import annotations

from core.evaluate.metrics.registry import metric
from core.evaluate.normalize import normalize, parse_json, same_json


@metric("exact_match", title="Exact match", kind="binary")
def exact_match(prediction: str, reference: str) -> float:
    """1 if the answers agree: as JSON values where the reference is JSON, else after SQuAD normalisation.

    Where JSON is expected, an answer that does not parse is wrong however close its text is: the program that reads
    it would fail. Numbers are not unified: "60%" and "0.6" differ, since either may be meant.
    """
    expected = parse_json(reference)
    if isinstance(expected, (dict, list)):
        return float(same_json(parse_json(prediction), expected))
    return float(normalize(prediction) == normalize(reference))

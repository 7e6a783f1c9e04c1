"""JSON match: the share of keys that are right."""

from __future__ import annotations

from typing import Any

from core.evaluate.metrics.registry import metric
from core.evaluate.normalize import normalize, parse_json, same_json


@metric("json_match", title="JSON keys matched", kind="continuous")
def json_match(prediction: str, reference: str) -> float:
    """Share of keys with the right value, over the keys of answer and reference together; 0 if it is not JSON.

    Keys that were not asked for count against the answer. Texts are compared after SQuAD normalisation, everything
    else as JSON values. A reference that is no JSON object scores 0 for every answer.
    """
    expected, given = parse_json(reference), parse_json(prediction)
    if not isinstance(expected, dict) or not isinstance(given, dict):
        return 0.0
    keys = expected.keys() | given.keys()
    if not keys:
        return 1.0
    right = [key for key in expected.keys() & given.keys() if _same(expected[key], given[key])]
    return len(right) / len(keys)


def _same(expected: Any, given: Any) -> bool:
    if isinstance(expected, str) and isinstance(given, str):
        return normalize(expected) == normalize(given)
    return same_json(expected, given)

"""JSON match: the share of keys that are right."""

from __future__ import annotations

from typing import Any

from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.normalize import normalize, parse_json, same_json

# An answer may invent keys without end; the first ones tell what went wrong.
MAX_NOTED = 50


@answer_metric("json_match", title="JSON keys matched", kind="continuous", family="json", needs=("reference",))
def json_match(answer: Answer) -> Scored:
    """Share of keys with the right value, over the keys of answer and reference together; 0 if it is not JSON.

    Keys that were not asked for count against the answer. Texts are compared after SQuAD normalisation, everything
    else as JSON values. A reference that is no JSON object scores 0 for every answer. The notes say which keys were
    right: `keys`, true or false by name.
    """
    expected, given = parse_json(answer.reference), parse_json(answer.output)
    if not isinstance(expected, dict):
        return Scored(0.0)
    if not isinstance(given, dict):
        return Scored(0.0, {"keys": dict.fromkeys(list(expected)[:MAX_NOTED], False)})
    keys = [*expected, *(key for key in given if key not in expected)]
    right = {key: key in expected and key in given and _same(expected[key], given[key]) for key in keys}
    value = sum(right.values()) / len(right) if right else 1.0
    return Scored(value, {"keys": dict(list(right.items())[:MAX_NOTED])})


def _same(expected: Any, given: Any) -> bool:
    if isinstance(expected, str) and isinstance(given, str):
        return normalize(expected) == normalize(given)
    return same_json(expected, given)

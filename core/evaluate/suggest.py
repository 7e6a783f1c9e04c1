"""Which metric fits the answers of a dataset."""

from __future__ import annotations

from collections.abc import Sequence

from core.evaluate.normalize import parse_json

# More different answers than this are hardly a list of classes any more.
MAX_CLASSES = 100


def suggest_metric(references: Sequence[str]) -> tuple[str, str]:
    """(metric name, why), from the answers that are expected.

    Answers that come from a short list are classes: right or wrong. Other JSON is judged key by key, other text by
    the words it shares with the reference.
    """
    distinct = set(references)
    repeats = len(references) >= 2 * len(distinct) and len(distinct) <= MAX_CLASSES
    if repeats:
        return "exact_match", f"The answers come from a list of {len(distinct)}, so each is right or wrong."
    if all(isinstance(parse_json(reference), dict) for reference in distinct):
        return "json_match", "The answers are JSON objects, judged key by key."
    return "token_f1", "The answers are free text, judged by the words they share with the reference."

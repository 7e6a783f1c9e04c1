"""What two texts must share to count as the same answer, and what counts as JSON."""

from __future__ import annotations

import json
import re
import string
from typing import Any

_PUNCTUATION = str.maketrans("", "", string.punctuation)
NOT_JSON = object()


def normalize(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces.

    What is nothing but an article or signs is kept: option "A" is no empty answer, nor is "+" the same as "-".
    Source: the SQuAD evaluation, Rajpurkar et al. 2016.
    """
    lower = text.lower()
    plain = lower.translate(_PUNCTUATION)
    stages = (re.sub(r"\b(a|an|the)\b", " ", plain), plain, lower)
    return next((" ".join(stage.split()) for stage in stages if stage.strip()), "")


def storable(text: str) -> str:
    """The text with each lone surrogate as a question mark: with one, compiled readers refuse it as no Unicode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def parse_json(text: str) -> Any:
    """The value `text` is JSON for, or NOT_JSON. Strict: no code fence, no words around it, no NaN."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOT_JSON


def same_json(one: Any, other: Any) -> bool:
    """Whether two parsed values are the same JSON: 1 is 1.0, but not true, which it equals in Python.

    Without recursion, since a model may open more brackets than Python follows.
    """
    waiting = [(one, other)]
    while waiting:
        a, b = waiting.pop()
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            waiting += [(a[key], b[key]) for key in a]
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            waiting += zip(a, b, strict=True)
        elif isinstance(a, (dict, list, bool)) or isinstance(b, (dict, list, bool)):
            if a is not b:
                return False
        elif a != b:
            return False
    return True


def _refuse(name: str) -> None:
    raise ValueError(name)

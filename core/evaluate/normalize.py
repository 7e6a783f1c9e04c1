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

    Source: the SQuAD evaluation, Rajpurkar et al. 2016.
    """
    bare = re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION))
    return " ".join(bare.split())


def parse_json(text: str) -> Any:
    """The value `text` is JSON for, or NOT_JSON. Strict: no code fence, no words around it, no NaN."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOT_JSON


def _refuse(name: str) -> None:
    raise ValueError(name)

"""Sources: which document an answer, a reference or a passage names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from core.evaluate.metrics.registry import Answer
from core.evaluate.normalize import parse_json

# A longer label or context is a text, and no name of a document.
LONGEST_NAME = 200
# As passages are shown to the model: [Title]. A model that cites more than this is listing.
_CITED = re.compile(r"\[([^\[\]\n]{1,200})\]")
MAX_CITED = 20


def named_sources(text: str, field: str) -> list[str]:
    """What a text names as its sources: the JSON field (a text or a list of them), else every [title] in it."""
    parsed = parse_json(text)
    if isinstance(parsed, dict):
        value = parsed.get(field)
        values = value if isinstance(value, list) else [value]
        return [name for name in values if isinstance(name, str) and name.strip()][:MAX_CITED]
    return _CITED.findall(text)[:MAX_CITED]


def expected_sources(answer: Answer, field: str) -> list[str]:
    """What the example says the answer is to be found in: its reference's own sources, else its label and context."""
    named = named_sources(answer.reference, field)
    if named:
        return named
    return [name for name in (answer.label, answer.context) if name and name.strip() and len(name) <= LONGEST_NAME]


def same_source(name: str, passage: Mapping[str, Any]) -> bool:
    """Whether a name is the passage's title, or its file with or without folder and ending."""
    return fold(name) in {fold(known) for known in names_of(passage)}


def names_of(passage: Mapping[str, Any]) -> list[str]:
    source = str(passage.get("source") or "")
    path = PurePosixPath(source)
    return [name for name in (str(passage.get("title") or ""), source, path.name, path.stem) if name]


def fold(name: str) -> str:
    """A name without differences of case, brackets, white space, hyphens and underscores."""
    bare = unicodedata.normalize("NFKC", name).casefold().strip("[]() \t\r\n\"'")
    return " ".join(re.sub(r"[-_\s]+", " ", bare).split())

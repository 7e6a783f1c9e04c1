"""Markdown files; the front matter becomes title and metadata."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

from core.documents.outline import outline
from core.documents.reading.document import Extracted, reader
from core.documents.reading.encodings import decode

# Far more than anyone writes above a page; YAML is parsed slowly.
MAX_FRONT_MATTER = 64_000
BEGINNING = 100_000


@reader(".md", ".markdown", looks="text", risky=False)
def markdown(data: bytes) -> Extracted:
    """The title is the front matter's, else the first heading of level 1; the body stays as it is written."""
    text, encoding = decode(data)
    header, body = _front_matter(text)
    title = _simple(header.get("title"))
    words = "" if title is None else str(title)
    meta = dict(simple_values(header))
    if encoding != "utf-8":
        meta["encoding"] = encoding
    return Extracted(body, words or first_heading(body), meta=meta)


def first_heading(text: str) -> str:
    """The first heading of level 1 in the beginning of a text; a title stands nowhere else."""
    return next((words for _, level, words in outline(text[:BEGINNING]).headings if level == 1 and words), "")


def simple_values(header: Mapping[Any, Any]) -> Mapping[str, str | int | float | bool]:
    """What can be filtered by: texts, numbers, dates as ISO text, and lists of these joined by commas."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in header.items():
        kept: str | int | float | bool | None
        if isinstance(value, list):
            entries = [_simple(entry) for entry in value]
            kept = None if None in entries else ", ".join(map(str, entries))
        else:
            kept = _simple(value)
        name = _simple(key)
        if name is not None and kept is not None and kept != "":
            found[str(name)] = kept
    return found


def _simple(value: Any) -> str | int | float | bool | None:
    """A value as JSON can have it; None for any other."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # Hexadecimal makes numbers of so many digits that Python refuses to write them.
    if isinstance(value, int) and value.bit_length() > 64:
        return None
    return value if isinstance(value, str | int | float) else None


def _front_matter(text: str) -> tuple[dict[Any, Any], str]:
    """(what the YAML header says, the text below it); without one, nothing and the whole text.

    Dashes that open a file without being front matter are text like any other.
    """
    import frontmatter
    import yaml

    handler = frontmatter.YAMLHandler()
    if not handler.detect(text):
        return {}, text
    try:
        written, body = handler.split(text)
        if len(written) > MAX_FRONT_MATTER:
            return {}, text
        # Not the faster loader in C: thousands of nested brackets make it overflow the stack and end this process.
        header = handler.load(written, Loader=yaml.SafeLoader)
    except Exception:
        # Broken YAML makes the library raise whatever comes up, not only its own errors: `a: !!bool x` is a KeyError.
        return {}, text
    return (header, body.strip()) if isinstance(header, dict) else ({}, text)

"""Markdown files; the front matter becomes title and metadata."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from core.documents.outline import outline
from core.documents.reading.document import Extracted, reader
from core.documents.reading.encodings import decode

# Far more than anyone writes above a page; YAML is parsed slowly.
MAX_FRONT_MATTER = 64_000


@reader(".md", ".markdown", looks="text", risky=False)
def markdown(data: bytes) -> Extracted:
    """The title is the front matter's, else the first heading of level 1; the body stays as it is written."""
    text, encoding = decode(data)
    header, body = _front_matter(text)
    title = header.get("title")
    words = str(title) if isinstance(title, str | int | float) else ""
    meta = dict(simple_values(header))
    if encoding != "utf-8":
        meta["encoding"] = encoding
    return Extracted(body, words or first_heading(body), meta=meta)


def first_heading(text: str) -> str:
    return next((words for _, level, words in outline(text).headings if level == 1 and words), "")


def simple_values(header: Mapping[Any, Any]) -> Mapping[str, str | int | float | bool]:
    """What can be filtered by: texts, numbers, dates as ISO text, and lists of these joined by commas."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in header.items():
        if isinstance(value, list) and all(isinstance(entry, str | int | float) for entry in value):
            value = ", ".join(map(str, value))
        if isinstance(value, datetime.date):
            value = value.isoformat()
        # A number that is infinite, or none, is not JSON.
        if isinstance(value, float) and value - value != 0:
            value = str(value)
        if isinstance(value, str | int | float) and value != "":
            found[str(key)] = value
    return found


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
    except (ValueError, yaml.YAMLError, RecursionError):
        return {}, text
    return (header, body.strip()) if isinstance(header, dict) else ({}, text)

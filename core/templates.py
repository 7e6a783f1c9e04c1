"""Documents to take away, as HTML or Markdown, in which the words of people and models are words and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core.markdown import flat, for_markdown

Format = Literal["html", "markdown"]


def environment(folder: Path, kind: Format, filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """The templates of a folder: every value escaped for its format, and a name that is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=kind == "html",  # noqa: S701 (Markdown is escaped by `finalize`)
        finalize=_for_html if kind == "html" else for_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(filters)
    return made


def _for_html(value: object) -> object:
    """What autoescaping then makes harmless."""
    return value if isinstance(value, Markup) else flat(value)

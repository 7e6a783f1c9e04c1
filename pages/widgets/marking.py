"""A text with some of its characters marked, as harmless Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from pages.widgets.diff import blanks_kept, marked
from pages.widgets.errors import plain

PASSAGE, SUPPORT = "yellow", "green"


class Span(NamedTuple):
    """Characters `start` to `end` of a text, and the colour behind them; where spans overlap, the later one shows."""

    start: int
    end: int
    colour: str


def highlight(text: str, spans: Sequence[Span]) -> str:
    """`text` in Markdown, every character of it escaped, with the spans on their colours."""
    edges = sorted({0, len(text), *(min(max(edge, 0), len(text)) for span in spans for edge in span[:2])})
    shown = []
    for start, end in pairwise(edges):
        over = [span for span in spans if span.start <= start and end <= span.end]
        piece = blanks_kept(text[start:end])
        # Not by colour alone: what supports an answer is bold as well.
        around = "**" if over and over[-1].colour == SUPPORT else ""
        shown.append(marked(over[-1].colour, piece, around) if over else plain(piece))
    return "".join(shown)

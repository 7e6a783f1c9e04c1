"""Word-level differences between an answer and the reference, as harmless Markdown."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from pages.widgets.errors import plain

# Words, runs of blanks, and every other character by itself, so that JSON differs value by value.
_PIECES = re.compile(r"\w+|\s+|[^\w\s]")
# Longer texts are cut: a runaway generation is seen to be one without its last thousand words.
MOST_PIECES = 3000


def word_diff(reference: str, answer: str) -> str:
    """`answer` in Markdown: what the reference lacks on red, what is missing from the answer struck on green.

    Every character of both texts is escaped; only the colours are Markdown.
    """
    wanted, given = (_PIECES.findall(text)[:MOST_PIECES] for text in (reference, answer))
    shown = []
    for kind, a0, a1, b0, b1 in SequenceMatcher(None, wanted, given, autojunk=False).get_opcodes():
        if kind == "equal":
            shown.append(plain("".join(given[b0:b1])))
            continue
        shown.append(_marked("red", "".join(given[b0:b1]), ""))
        shown.append(_marked("green", "".join(wanted[a0:a1]), "~~"))
    return "".join(shown)


def _marked(colour: str, text: str, around: str) -> str:
    """Line by line, since a coloured span ends with its line; blanks at the edges stay outside the span."""
    lines = []
    for line in text.split("\n"):
        inner = line.strip()
        if not inner:
            lines.append(plain(line))
            continue
        before, after = line[: len(line) - len(line.lstrip())], line[len(line.rstrip()) :]
        lines.append(f"{before}:{colour}-background[{around}{plain(inner)}{around}]{after}")
    return "  \n".join(lines)

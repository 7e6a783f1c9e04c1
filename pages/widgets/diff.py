"""Word-level differences between two texts, as harmless Markdown."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from pages.widgets.errors import plain

# Words, runs of blanks, and every other character by itself, so that JSON differs value by value.
_PIECES = re.compile(r"\w+|\s+|[^\w\s]")
# Longer texts are cut: a runaway generation is seen to be one without its last thousand words.
MOST_PIECES = 3000
# Of what stays the same, as much as shows where the change is.
CONTEXT_CHARACTERS = 60
_VISIBLE = str.maketrans({" ": "␣", "\t": "⇥", "\n": "⏎", "\r": "⏎", "\u00a0": "␣"})


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
        shown.append(marked("red", "".join(given[b0:b1]), ""))
        shown.append(marked("green", "".join(wanted[a0:a1]), "~~"))
    return "".join(shown)


def marked(colour: str, text: str, around: str) -> str:
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


def change_diff(before: str, after: str) -> str:
    """A change in Markdown: what goes struck on red, what comes on green, blanks as signs; the rest is cut short."""
    was, now = _PIECES.findall(before), _PIECES.findall(after)
    start = _same(was, now)
    end = _same(was[start:][::-1], now[start:][::-1])
    middle_was, middle_now = (pieces[start : len(pieces) - end][:MOST_PIECES] for pieces in (was, now))
    shown = [_cut("".join(was[:start]), at_start=True)]
    for kind, a0, a1, b0, b1 in SequenceMatcher(None, middle_was, middle_now, autojunk=False).get_opcodes():
        if kind == "equal":
            shown.append(_cut("".join(middle_was[a0:a1])))
            continue
        shown.append(marked("red", _seen("".join(middle_was[a0:a1])), "~~"))
        shown.append(marked("green", _seen("".join(middle_now[b0:b1])), ""))
    return "".join([*shown, _cut("".join(was[len(was) - end :]), at_end=True)])


def _same(one: list[str], other: list[str]) -> int:
    """How many pieces both begin with."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _seen(text: str) -> str:
    """Blanks alone would be invisible."""
    return text if text.strip() else text.translate(_VISIBLE)


def _cut(text: str, *, at_start: bool = False, at_end: bool = False) -> str:
    if len(text) <= 2 * CONTEXT_CHARACTERS:
        return plain(text)
    head = "" if at_start else text[:CONTEXT_CHARACTERS]
    tail = "" if at_end else text[-CONTEXT_CHARACTERS:]
    return plain(f"{head} … {tail}".strip(" ") if head and tail else f"{head}…{tail}")

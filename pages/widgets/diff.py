"""Word-level differences between two texts, as harmless Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rapidfuzz.distance import Indel

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
    wanted, given = (_PIECES.findall(blanks_kept(text))[:MOST_PIECES] for text in (reference, answer))
    return "".join(
        plain(came) if went == came else marked("red", came, "") + marked("green", went, "~~")
        for went, came in _stretches(wanted, given)
    )


def blanks_kept(text: str) -> str:
    """Markdown would take an indented line for code, and runs of blanks for one."""
    lines = []
    for line in text.expandtabs(4).split("\n"):
        bare = line.lstrip(" ")
        lines.append("\u00a0" * (len(line) - len(bare)) + bare.replace("  ", "\u00a0 "))
    return "\n".join(lines)


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
    for went, came in _stretches(middle_was, middle_now):
        if went == came:
            shown.append(_cut(came))
            continue
        shown.append(marked("red", _seen(went), "~~"))
        shown.append(marked("green", _seen(came), ""))
    return "".join([*shown, _cut("".join(was[len(was) - end :]), at_end=True)])


def _stretches(was: Sequence[str], now: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Both texts in stretches of (before, after): the same on both sides, or changed with the blanks between changes.

    rapidfuzz finds the longest common pieces in milliseconds where difflib needs seconds for two long texts.
    """
    went, came = "", ""
    opcodes = list(Indel.opcodes(was, now))
    for i, code in enumerate(opcodes):
        before, after = "".join(was[code.src_start : code.src_end]), "".join(now[code.dest_start : code.dest_end])
        changed = bool(went or came)
        if code.tag == "equal" and not (changed and before in (" ", "\n") and i + 1 < len(opcodes)):
            if changed:
                yield went, came
            yield before, after
            went, came = "", ""
        else:
            went, came = went + before, came + after
    if went or came:
        yield went, came


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

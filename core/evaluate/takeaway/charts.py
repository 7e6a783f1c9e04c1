"""The report's charts as SVG: no script, no font, no request; inks come from the page, so they suit light and dark.

Every text passes `Markup.format`, which escapes it. Widths are for a phone; a wider page scales them up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from core.evaluate.effects import NAMES
from core.evaluate.words import percent

# By switches; the same as on the screens.
COLOURS = {
    "base": "#8A8F98",
    "prompt": "#E69F00",
    "rag": "#0072B2",
    "prompt+rag": "#88B8E8",
    "lora": "#009E73",
    "prompt+lora": "#B8A058",
    "rag+lora": "#CC79A7",
    "prompt+rag+lora": "#8810E8",
    "managed": "#D55E00",
    "prompt+managed": "#704070",
    "rag+managed": "#884028",
    "prompt+rag+managed": "#405858",
}
WIDTH, LEFT, RIGHT = 400, 14, 386
ROW = 42
LONGEST_NAME = 24
# Labels closer than this, in the drawing's own units, would run into each other.
APART = 14


def colour_of(rung: str) -> str:
    return COLOURS[re.split("[#@]", rung, maxsplit=1)[0]]


def scores_chart(
    rows: Sequence[Mapping[str, Any]], title: str, chosen: str | None = None, target: float | None = None
) -> Markup:
    """Each rung's score with its 95% interval, the highest rung on top, on a scale from 0 to 100%."""
    listed = [row for row in reversed(rows) if row["score"] is not None]
    parts, bottom = [], 14 + ROW * len(listed)
    parts.append(_scale([0, 0.25, 0.5, 0.75, 1], 0, 1, bottom, [percent(tick) for tick in (0, 0.25, 0.5, 0.75, 1)]))
    if target is not None:
        x = _x(target, 0, 1)
        parts.append(_line(x, 8, x, bottom, "target"))
    for number, row in enumerate(listed):
        low, high = row["interval"]
        name = f"{'★ ' if row['rung'] == chosen else ''}{_short(row['rung'])}"
        words = f"{percent(row['score'])} ({percent(low)} to {percent(high)})"
        parts.append(_row(number, name, words, colour_of(row["rung"]), row["score"], low, high, 0, 1))
    told = ", ".join(f"{row['rung']} {percent(row['score'])}" for row in reversed(listed))
    return _svg(bottom + 30, f"{title}: {told}", parts)


def effects_chart(effects: Sequence[Mapping[str, Any]], title: str) -> Markup:
    """What each switch bought, in points, with its 95% interval, around a line at nothing."""
    reach = max([0.05, *(abs(end) for effect in effects for end in effect["interval"])])
    reach = math.ceil(reach * 20) / 20
    bottom, parts = 14 + ROW * len(effects), []
    ticks = [-reach, 0, reach]
    parts.append(_scale(ticks, -reach, reach, bottom, [_points(tick) for tick in ticks]))
    for number, effect in enumerate(effects):
        low, high = effect["interval"]
        words = f"{_points(effect['effect'])} ({_points(low)} to {_points(high)})"
        name = " × ".join(NAMES[factor] for factor in effect["factor"].split(" x "))
        parts.append(_row(number, name, words, "var(--mark)", effect["effect"], low, high, -reach, reach))
    told = ", ".join(f"{effect['factor']} {_points(effect['effect'])}" for effect in effects)
    return _svg(bottom + 30, f"{title}, in points: {told}", parts)


def frontier_chart(rows: Sequence[Mapping[str, Any]], cost: str, unit: str, title: str, front: set[str]) -> Markup:
    """Score against a cost; the rungs that no other beats on both are filled and joined."""
    known = [row for row in rows if row["score"] is not None and row[cost] is not None]
    top, bottom, left = 12, 232, 46
    most = max([row[cost] for row in known if row[cost] > 0], default=1.0) * 1.15

    def at(row: Mapping[str, Any]) -> tuple[float, float]:
        return left + (RIGHT - left) * row[cost] / most, bottom - (bottom - top) * row["score"]

    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - (bottom - top) * tick
        parts += [_line(left, y, RIGHT, y, "grid"), _text(left - 6, y + 4, percent(tick), "end", "faint")]
    for tick in (0, 0.5, 1):
        x = left + (RIGHT - left) * tick
        parts.append(_text(x, bottom + 17, f"{most * tick:.3g}", "middle" if tick < 1 else "end", "faint"))
    parts.append(_text((left + RIGHT) / 2, bottom + 34, unit, "middle", "faint"))
    joined = sorted((at(row) for row in known if row["rung"] in front), key=lambda point: point[0])
    if len(joined) > 1:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in joined)
        parts.append(Markup('<polyline points="{}" class="front"></polyline>').format(points))
    lowest = float(top)
    for row in sorted(known, key=lambda row: -row["score"]):
        (x, y), colour = at(row), colour_of(row["rung"])
        fill = colour if row["rung"] in front else "var(--page)"
        parts.append(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="6" fill="{}" stroke="{}" stroke-width="3"></circle>').format(
                x, y, fill, colour
            )
        )
        late, lowest = x > (left + RIGHT) / 2, max(y + 4, lowest + APART)
        parts.append(_text(x + (-11 if late else 11), lowest, _short(row["rung"]), "end" if late else "start"))
    told = ", ".join(f"{row['rung']} {percent(row['score'])} at {row[cost]:.3g}" for row in known)
    return _svg(bottom + 44, f"{title} ({unit}): {told}", parts)


def _row(
    number: int, name: str, words: str, colour: str, value: float, low: float, high: float, start: float, end: float
) -> Markup:
    """A name with its figures, and below it the interval as a bar with a dot at the value."""
    y = 8 + ROW * number
    x = _x(value, start, end)
    return Markup("").join(
        [
            _text(LEFT, y + 12, name, "start", "name"),
            _text(RIGHT, y + 12, words, "end", "faint"),
            Markup('<line x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}" stroke="{}" class="span"></line>').format(
                _x(low, start, end), y + 25, _x(high, start, end), y + 25, colour
            ),
            Markup('<circle cx="{:.1f}" cy="{}" r="6.5" fill="{}" class="dot"></circle>').format(x, y + 25, colour),
        ]
    )


def _scale(ticks: Sequence[float], start: float, end: float, bottom: float, words: Sequence[str]) -> Markup:
    parts = []
    for tick, word in zip(ticks, words, strict=True):
        x = _x(tick, start, end)
        anchor = "start" if tick == start else "end" if tick == end else "middle"
        parts += [_line(x, 8, x, bottom, "grid"), _text(x, bottom + 16, word, anchor, "faint")]
    return Markup("").join(parts)


def _x(value: float, start: float, end: float) -> float:
    return LEFT + (RIGHT - LEFT) * (value - start) / (end - start)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"></line>').format(
        x1, y1, x2, y2, kind
    )


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, kind, words)


def _svg(height: float, told: str, parts: Iterable[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, told, Markup("").join(parts)
    )


def _short(rung: str) -> str:
    return rung if len(rung) <= LONGEST_NAME else f"{rung[: LONGEST_NAME - 1]}…"


def _points(difference: float) -> str:
    told = f"{round(100 * difference, 1) + 0.0:+.1f}".removesuffix(".0")
    return "0" if told == "+0" else told.replace("-", "−")

"""Where a rung begins to pay off: the break-evens in words, and a chart of a month's bill as requests grow."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from core.decide.assumptions import Assumptions
from core.decide.costs import MOST_REQUESTS, RUNGS, Cost, break_even, curves
from core.decide.rulebook import rulebook
from pages.widgets.ladder import NEUTRAL, RUNG_COLOURS
from pages.widgets.look import ink

# Below a cent a month nobody asks which is cheaper, and a logarithmic axis has no zero.
LEAST_USD = 0.01
POINTS = 241


def spoken(rung: str) -> str:
    """Its name within a sentence."""
    return rulebook().texts.rungs[rung].spoken


def _line(rung: str) -> tuple[str, str]:
    """Colour and dash: variants share the colour of the rung they are drawn on, and are dashed."""
    ladder = rulebook().texts.rungs[rung].ladder
    return RUNG_COLOURS[ladder], "solid" if ladder == rung else "dash"


def matters(a: Assumptions, found: Mapping[str, Cost], rung: str) -> tuple[str, str]:
    """The break-even that matters to a rung: (what may pay off, against what)."""
    if rung in ("rag", "long-context"):
        return ("rag", "long-context") if found["long-context"].available else (f"rag+{own(a, found, rung)}", "rag")
    if rung.startswith("rag+"):
        return rung, "rag"
    return (own(a, found, rung) if rung == "prompt" else rung), "prompt"


def own(a: Assumptions, found: Mapping[str, Cost], rung: str) -> str:
    """The adapter of one's own that suits: the one advised, else the one that can be had and pays off first."""
    advised = rung.removeprefix("rag+")
    if advised in ("lora", "qlora"):
        return advised
    possible = [name for name in ("lora", "qlora") if found[name].available] or ["lora"]

    def point(name: str) -> float:
        volume = break_even(a, name, "prompt")
        return math.inf if volume is None else volume

    return min(possible, key=point)


def pays_off(a: Assumptions, cheaper_later: str, dearer_later: str) -> str:
    """The break-even of two rungs as a sentence."""
    first, second = sentence_start(spoken(cheaper_later)), spoken(dearer_later)
    volume, today = break_even(a, cheaper_later, dearer_later), f"{a.requests_per_day:,.10g}"
    if volume is not None and volume < 1:
        return f"{first} costs less than {second} at any volume."
    from_here = "" if volume is None else f"{first} pays off against {second} from about {about(volume)} requests a day"
    if volume is not None and a.requests_per_day >= volume:
        return f"{from_here}; you have {today}, so it does."
    now = curves(a, (cheaper_later, dearer_later), [a.requests_per_day])
    if now[cheaper_later] < now[dearer_later]:
        # A GPU at hand is free until it is full, and the next one is not.
        return f"{first} costs less than {second} at your {today} requests a day, but not at every larger volume."
    if volume is None:
        never = f"{first} does not pay off against {second} within {MOST_REQUESTS / 1e6:.0f} million requests a day"
        return f"{never}: what it buys is form, not savings." if RUNGS[cheaper_later][1] else f"{never}."
    return f"{from_here}; you have {today}."


def sentence_start(words: str) -> str:
    """The first letter large, and the others as they are."""
    return words[0].upper() + words[1:]


def about(value: float) -> str:
    """Three figures of a number of one or more: "29,600"."""
    return f"{float(f'{value:.3g}'):,.10g}"


def draw_break_even(a: Assumptions, found: Mapping[str, Cost], rung: str) -> None:
    figure, points = break_even_figure(a, found, rung)
    st.plotly_chart(
        figure,
        key="break_even",
        config={"displayModeBar": False},
        alt=f"Dollars a month of {len(figure.data) - 2} rungs over requests a day, with {points} break-even points",
    )
    st.caption(
        f"Set-up bills are spread over {a.months:g} months. Both axes grow tenfold from mark to mark; steps are where "
        "one more GPU is needed."
    )


def break_even_figure(a: Assumptions, found: Mapping[str, Cost], rung: str) -> tuple[go.Figure, int]:
    """US dollars a month over requests a day, both logarithmic, and how many break-even points are marked."""
    drawn = [
        name for name in ("prompt", "long-context", "rag", own(a, found, rung), "managed") if found[name].available
    ]
    drawn += [rung] * (rung not in drawn)
    marks = [
        (volume, late, early)
        for late, early in _pairs(drawn)
        if (volume := break_even(a, late, early)) is not None and volume >= 1
    ]
    low = min(10.0, a.requests_per_day / 2)
    high = max([1e6, a.requests_per_day * 2, *(2 * volume for volume, _, _ in marks)])
    volumes = np.geomspace(low, high, POINTS)
    lines = {name: np.maximum(usd, LEAST_USD) for name, usd in curves(a, drawn, volumes).items()}
    figure = go.Figure()
    for name, line in lines.items():
        colour, dash = _line(name)
        figure.add_trace(
            go.Scatter(
                x=volumes,
                y=line,
                name=f"★ {name}" if name == rung else name,
                mode="lines",
                line={"color": colour, "dash": dash, "width": 4 if name == rung else 2.5},
                hovertemplate=f"<b>{name}</b><br>%{{x:,.3s}} requests a day<br>$%{{y:,.2f}} a month<extra></extra>",
            )
        )
    top = max(float(line.max()) for line in lines.values())
    bottom = min(float(line.min()) for line in lines.values())
    figure.add_trace(
        go.Scatter(
            x=[a.requests_per_day] * 2,
            y=[bottom, top],
            name=f"your {a.requests_per_day:,.10g} a day",
            mode="lines",
            line={"color": NEUTRAL, "dash": "dot", "width": 2},
            hovertemplate=f"You: {a.requests_per_day:,.10g} requests a day<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[volume for volume, _, _ in marks],
            y=[max(LEAST_USD, curves(a, [late], [volume])[late][0]) for volume, late, _ in marks],
            name="break-even",
            mode="markers",
            text=[
                f"{sentence_start(spoken(late))} pays off<br>against {spoken(early)}<br>from {about(volume)} a day"
                for volume, late, early in marks
            ],
            marker={"symbol": "diamond", "size": 11, "color": NEUTRAL, "line": {"color": "white", "width": 1.5}},
            hovertemplate="%{text}<extra></extra>",
            showlegend=bool(marks),
        )
    )
    figure.update_layout(
        title={"text": "What a month costs as requests grow", "font": {"size": 15}},
        font=ink(),
        height=440,
        margin={"l": 8, "r": 12, "t": 46, "b": 8},
        legend={"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0},
        hovermode="closest",
        dragmode=False,
        uirevision="break_even",
    )
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    figure.update_xaxes(
        type="log",
        title="requests a day",
        tickvals=[10.0**d for d in decades],
        ticktext=[_short(10.0**d) for d in decades],
        range=[np.log10(low), np.log10(high)],
        fixedrange=True,
    )
    decades = range(int(np.floor(np.log10(bottom))), int(np.ceil(np.log10(top))) + 1)
    figure.update_yaxes(
        type="log",
        title="US dollars a month",
        tickvals=[10.0**d for d in decades],
        ticktext=["≤ $0.01" if d == -2 else "$0.10" if d == -1 else "$" + _short(10.0**d) for d in decades],
        range=[np.log10(bottom) - 0.1, np.log10(top) + 0.1],
        fixedrange=True,
    )
    return figure, len(marks)


def _pairs(drawn: list[str]) -> list[tuple[str, str]]:
    """Which of the drawn rungs may pay off against which."""
    tuned = [name for name in drawn if RUNGS[name][1]]
    pairs = [(name, "rag" if RUNGS[name][0] else "prompt") for name in tuned]
    return [(late, early) for late, early in [*pairs, ("rag", "long-context")] if late in drawn and early in drawn]


def _short(value: float) -> str:
    """A power of ten as "100", "10k", "1M"."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"

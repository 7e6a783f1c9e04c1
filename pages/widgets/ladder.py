"""The ladder, the product's recurring picture: rungs from bottom to top, cost on one side, rigidity on the other."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import streamlit as st

from pages.widgets.look import ink, interval_bars
from pages.widgets.words import percent, span

# Okabe and Ito's palette, told apart with every kind of colour vision; the same in light and dark.
RUNG_COLOURS = {
    "base": "#8A8F98",
    "prompt": "#E69F00",
    "rag": "#0072B2",
    "lora": "#009E73",
    "rag+lora": "#CC79A7",
    "managed": "#D55E00",
}
# The other combinations, searched for the largest distance to all of the above as people with protanopia,
# deuteranopia and tritanopia see them (Machado et al. 2009), and to a light and a dark page.
MORE_COLOURS = {
    "prompt+rag": "#88B8E8",
    "prompt+lora": "#B8A058",
    "prompt+rag+lora": "#8810E8",
    "rag+managed": "#884028",
    "prompt+managed": "#704070",
    "prompt+rag+managed": "#405858",
}
ALL_RUNGS = tuple(RUNG_COLOURS)
RUNG_MEANING = {
    "base": "The model as it is: only your question.",
    "prompt": "A few worked examples in the prompt.",
    "rag": "Passages from your documents in the prompt.",
    "lora": "A small adapter trained on your examples.",
    "rag+lora": "Passages and an adapter together.",
    "managed": "Fine-tuning bought as a service.",
}
PARTS = {
    "prompt": "worked examples",
    "rag": "passages",
    "lora": "an adapter",
    "managed": "fine-tuning bought as a service",
}
# Rungs with the same switches have the same colour; another model or adapter has another marker and line.
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "pentagon", "cross", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
# A few words that fit beside the name on a phone.
RUNG_SHORT = {
    "base": "the model as it is",
    "prompt": "worked examples added",
    "rag": "passages looked up",
    "lora": "an adapter trained",
    "rag+lora": "both together",
    "managed": "tuning as a service",
}
NEUTRAL = "#8A8F98"
# Beside a longer name there is no room for the interval on a phone; the drawing and the hover text have it.
LONG_NAME = 18


@dataclass(frozen=True)
class Mark:
    """What to show on one rung: a score with its interval (0 to 1), a note, whether it is the one to step on."""

    rung: str
    score: float | None = None
    interval: Sequence[float] | None = None
    note: str = ""
    chosen: bool = False
    faded: bool = False


@dataclass(frozen=True)
class Look:
    """How a rung is drawn: its switches by colour, its model and adapter by marker and dash."""

    colour: str
    symbol: str = SYMBOLS[0]
    dash: str = DASHES[0]


def switches_of(rung: str) -> str:
    """ "rag+lora" of "rag+lora#3@remote/some-model"."""
    return re.split("[#@]", rung, maxsplit=1)[0]


def looks(rungs: Iterable[str]) -> dict[str, Look]:
    """One look per rung of an experiment; the models and adapters take markers in the order they come."""
    listed = list(rungs)
    variants = list(dict.fromkeys(["", *(rung.removeprefix(switches_of(rung)) for rung in listed)]))
    found = {}
    for rung in listed:
        switches = switches_of(rung)
        place = variants.index(rung.removeprefix(switches))
        found[rung] = Look(colour_of(rung), SYMBOLS[place % len(SYMBOLS)], DASHES[place % len(DASHES)])
    return found


def colour_of(rung: str) -> str:
    switches = switches_of(rung)
    return RUNG_COLOURS.get(switches) or MORE_COLOURS.get(switches) or NEUTRAL


def meaning(rung: str) -> str:
    """What a rung is, in a sentence; names of models and adapters are not in it."""
    switches = switches_of(rung)
    if switches in RUNG_MEANING:
        return RUNG_MEANING[switches]
    parts = [PARTS.get(part, part) for part in switches.split("+")]
    words = f"{', '.join(parts[:-1])} and {parts[-1]} together."
    return words[0].upper() + words[1:]


def label(rung: str, limit: int = 34) -> str:
    """The name for a chart, where Plotly would read tags; a long model name loses its middle."""
    if len(rung) > limit:
        rung = f"{rung[: limit // 2]}…{rung[-(limit // 2 - 1) :]}"
    return html.escape(rung, quote=False).replace("%{", "% {")


def plain_ladder() -> list[Mark]:
    """All six rungs, without scores."""
    return [Mark(rung, note=RUNG_SHORT[rung]) for rung in ALL_RUNGS]


def ladder_figure(
    marks: Iterable[Mark],
    title: str,
    score_title: str = "",
    target: float | None = None,
    compact: bool = False,
) -> go.Figure:
    """Rungs from bottom to top. With scores, the width of the ladder is the scale from 0 to 100 %.

    `compact` leaves the intervals to the drawing and the hover text, where there is no room for them in words.
    """
    listed = list(marks)
    look = looks(mark.rung for mark in listed)
    top = len(listed) - 0.45
    scored = any(mark.score is not None for mark in listed)
    figure = go.Figure()
    for x in (0, 100):
        figure.add_shape(type="line", x0=x, x1=x, y0=-0.6, y1=top, line={"color": NEUTRAL, "width": 5}, layer="below")
    if target is not None and scored:
        figure.add_shape(
            type="line",
            x0=100 * target,
            x1=100 * target,
            y0=-0.6,
            y1=top,
            line={"color": NEUTRAL, "width": 2, "dash": "dash"},
        )
    for height, mark in enumerate(listed):
        _draw_rung(figure, height, mark, look[mark.rung], scored, compact)
    for side, words, anchor, shift in ((0, "cost →", "right", -8), (1, "rigidity →", "left", 8)):
        figure.add_annotation(
            xref="paper",
            x=side,
            xshift=shift,
            y=top / 2 - 0.2,
            text=words,
            textangle=-90,
            showarrow=False,
            xanchor=anchor,
            font={"size": 13},
        )
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        height=90 + 58 * len(listed) + (30 if scored else 0),
        margin={"l": 34, "r": 34, "t": 48, "b": 44 if scored else 8},
        font=ink(),
        showlegend=False,
        uirevision="ladder",
        hoverlabel={"align": "left"},
        dragmode=False,
    )
    figure.update_xaxes(
        range=[-3, 103],
        visible=scored,
        title=score_title,
        ticktext=["0 %", "25 %", "50 %", "75 %", "100 %"],
        tickvals=[0, 25, 50, 75, 100],
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_yaxes(range=[-0.6, top], visible=False, fixedrange=True)
    return figure


def _draw_rung(figure: go.Figure, height: int, mark: Mark, look: Look, scored: bool, compact: bool) -> None:
    colour, name = look.colour, label(mark.rung, 28)
    solid = not mark.faded and (not scored or mark.score is None)
    words = f"<b>{name}</b>"
    hover = f"<b>{name}</b><br>{meaning(mark.rung)}"
    if mark.score is not None:
        words += f"  {percent(mark.score)}"
        hover += f"<br>Score {percent(mark.score)}"
        if mark.interval is not None:
            words += "" if compact or len(mark.rung) > LONG_NAME else f" ({span(mark.interval)})"
            hover += f"<br>95% interval {span(mark.interval)} %"
    if mark.note:
        words += f"  {mark.note}"
    if mark.chosen:
        words = f"★ {words}"
    figure.add_trace(
        go.Scatter(
            x=[0, 50, 100],
            y=[height] * 3,
            mode="lines",
            hoverinfo="text",
            text=[hover] * 3,
            name=name,
            line={"color": colour, "width": 13 if mark.chosen else 9, "dash": look.dash},
            opacity=1.0 if solid else 0.28,
        )
    )
    if mark.score is not None:
        low, high = mark.interval or (mark.score, mark.score)
        figure.add_trace(
            go.Scatter(
                x=[100 * mark.score],
                y=[height],
                mode="markers",
                hoverinfo="text",
                text=[hover],
                name=name,
                marker={
                    "color": colour,
                    "size": 15,
                    "symbol": "star" if mark.chosen else look.symbol,
                    "line": {"color": "white", "width": 1.5},
                },
                error_x=interval_bars([mark.score], [(low, high)], colour, 4, 7),
            )
        )
    figure.add_annotation(
        x=3,
        y=height,
        text=words,
        showarrow=False,
        xanchor="left",
        yanchor="bottom",
        yshift=8,
        font={"size": 13},
        opacity=0.6 if mark.faded else 1.0,
    )


def draw_ladder(figure: go.Figure, key: str, alt: str) -> None:
    st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=alt)

"""The ladder, the product's recurring picture: rungs from bottom to top, cost on one side, rigidity on the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import streamlit as st

from core.evaluate.rungs import LADDER
from pages.widgets.look import ink
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
ALL_RUNGS = tuple(RUNG_COLOURS)
RUNG_MEANING = {
    "base": "The model as it is: only your question.",
    "prompt": "A few worked examples in the prompt.",
    "rag": "Passages from your documents in the prompt.",
    "lora": "A small adapter trained on your examples.",
    "rag+lora": "Passages and an adapter together.",
    "managed": "Fine-tuning bought as a service.",
}
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


@dataclass(frozen=True)
class Mark:
    """What to show on one rung: a score with its interval (0 to 1), a note, whether it is the one to step on."""

    rung: str
    score: float | None = None
    interval: Sequence[float] | None = None
    note: str = ""
    chosen: bool = False
    faded: bool = False


def plain_ladder() -> list[Mark]:
    """All six rungs, without scores."""
    return [Mark(rung, note=RUNG_SHORT[rung]) for rung in ALL_RUNGS]


def measurable() -> tuple[str, ...]:
    """The names of the rungs that can be measured, in order."""
    return tuple(rung.name for rung in LADDER)


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
        _draw_rung(figure, height, mark, scored, compact)
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


def _draw_rung(figure: go.Figure, height: int, mark: Mark, scored: bool, compact: bool) -> None:
    colour = RUNG_COLOURS[mark.rung]
    solid = not mark.faded and (not scored or mark.score is None)
    words = f"<b>{mark.rung}</b>"
    hover = f"<b>{mark.rung}</b><br>{RUNG_MEANING[mark.rung]}"
    if mark.score is not None:
        words += f"  {percent(mark.score)}"
        hover += f"<br>Score {percent(mark.score)}"
        if mark.interval is not None:
            words += "" if compact else f" ({span(mark.interval)})"
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
            name=mark.rung,
            line={"color": colour, "width": 13 if mark.chosen else 9},
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
                name=mark.rung,
                marker={
                    "color": colour,
                    "size": 15,
                    "symbol": "star" if mark.chosen else "circle",
                    "line": {"color": "white", "width": 1.5},
                },
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * (high - mark.score)],
                    "arrayminus": [100 * (mark.score - low)],
                    "color": colour,
                    "thickness": 4,
                    "width": 7,
                },
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

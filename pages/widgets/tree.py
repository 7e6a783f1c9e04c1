"""The tree of the rules: what is tested, where the answers lead, and what was only assumed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from core.decide.engine import Step
from core.decide.rulebook import rulebook
from core.decide.schema import Rulebook, RungText, Test
from pages.widgets.ladder import NEUTRAL, RUNG_COLOURS
from pages.widgets.look import accent, ink

# Characters in a line of a test: five columns have to fit beside each other on a phone.
LINE = 11
# How far from its middle a test's frame reaches, in columns; lines keep out of it.
HALF = 0.4


@dataclass(frozen=True)
class Place:
    """Where a test or rung stands: column from the root, row from the bottom."""

    x: float
    y: float


def layout(book: Rulebook) -> dict[str, Place]:
    """Rungs in the last column, the lowest of the ladder below; each test beside the middle of what it leads to."""
    order = {rung: position for position, rung in enumerate(book.rungs)}

    def lowest(name: str) -> int:
        if name in order:
            return order[name]
        test = book.rules.tree[name]
        return min(lowest(test.then.to), lowest(test.otherwise.to))

    def depth(name: str) -> int:
        test = book.rules.tree.get(name)
        return 0 if test is None else 1 + max(depth(test.then.to), depth(test.otherwise.to))

    places: dict[str, Place] = {}
    last = depth(book.rules.root)

    def put(name: str, column: int) -> float:
        if name in order:
            places[name] = Place(last, sum(rung in places for rung in order))
            return places[name].y
        test = book.rules.tree[name]
        rows = [put(to, column + 1) for to in sorted((test.then.to, test.otherwise.to), key=lowest)]
        places[name] = Place(column, sum(rows) / len(rows))
        return places[name].y

    put(book.rules.root, 0)
    return places


def tree_figure(path: Sequence[Step]) -> go.Figure:
    """The tree with a path lit up; dashed from the first test that an open question could still turn."""
    book = rulebook()
    places = layout(book)
    lit = {step.test: step for step in path}
    sure = {step.test for step in path[: next((i for i, s in enumerate(path) if s.assumed), len(path))]}
    reached = path[-1].branch.to if path else None
    lines: list[dict[str, Any]] = []
    words: list[dict[str, Any]] = []
    for name, test in book.rules.tree.items():
        for holds, branch in ((True, test.then), (False, test.otherwise)):
            on_path = name in lit and lit[name].holds == holds
            to_test = branch.to in book.rules.tree
            lines.append(_edge(places[name], places[branch.to], to_test, on_path, name in sure))
            words.append(_word(places[name], places[branch.to], "yes" if holds else "no", to_test, on_path))
        words.append(_test(places[name], test, name in lit))
    for rung, text in book.texts.rungs.items():
        lines.append(_rung(places[rung], rung, text, rung == reached))
        words.append(_name(places[rung], rung, rung == reached))
    # Made in one piece: each addition to a figure checks the whole of it again, which costs more than all the rest.
    return go.Figure(
        lines,
        {
            "title": {"text": "The rules as a tree", "font": {"size": 15}},
            "annotations": words,
            "height": 560,
            "margin": {"l": 4, "r": 4, "t": 44, "b": 4},
            "font": ink(),
            "showlegend": False,
            "dragmode": False,
            "uirevision": "tree",
            "hoverlabel": {"align": "left"},
            "xaxis": {"range": [-0.45, places[book.rungs[0]].x + 0.62], "visible": False, "fixedrange": True},
            "yaxis": {"range": [-0.6, len(book.rungs) - 0.4], "visible": False, "fixedrange": True},
        },
    )


def draw_tree(path: Sequence[Step], key: str) -> None:
    """The picture, and under it what the line styles mean."""
    book = rulebook()
    told = "; ".join(f"{book.rules.tree[s.test].short} {'yes' if s.holds else 'no'}" for s in path)
    alt = f"The tree of the rules. Path: {told}; leads to {path[-1].branch.to}." if path else "The tree of the rules."
    st.plotly_chart(tree_figure(path), key=key, config={"displayModeBar": False}, alt=alt)
    st.caption("Solid: follows from your answers. Dashed: assumed, as long as questions are open.")


def _edge(start: Place, end: Place, to_test: bool, lit: bool, sure: bool) -> dict[str, Any]:
    bend = start.x + 0.5
    return {
        "type": "scatter",
        "x": [start.x + HALF, bend, bend, end.x - (HALF if to_test else 0.08)],
        "y": [start.y, start.y, end.y, end.y],
        "mode": "lines",
        "hoverinfo": "skip",
        "opacity": 1.0 if lit else 0.35,
        "line": {
            "color": accent() if lit else NEUTRAL,
            "width": 4 if lit else 1.5,
            "dash": "solid" if sure or not lit else "dot",
        },
    }


def _word(start: Place, end: Place, word: str, to_test: bool, lit: bool) -> dict[str, Any]:
    """ "yes" or "no" at the line that it leads along: on the side where no frame stands."""
    return {
        "x": start.x + 0.5,
        "y": end.y,
        "text": f"<b>{word}</b>" if lit else word,
        "showarrow": False,
        "xanchor": "right" if to_test else "left",
        "yanchor": "middle" if to_test else "bottom",
        "xshift": -3 if to_test else 3,
        "font": {"size": 10},
        "opacity": 1.0 if lit else 0.6,
    }


def _test(place: Place, test: Test, lit: bool) -> dict[str, Any]:
    return {
        "x": place.x,
        "y": place.y,
        "text": "<br>".join(textwrap.wrap(test.short, LINE)),
        "showarrow": False,
        "font": {"size": 10},
        "borderpad": 3,
        "bordercolor": accent() if lit else NEUTRAL,
        "borderwidth": 2 if lit else 1,
        "hovertext": test.asks,
        "opacity": 1.0 if lit else 0.75,
    }


def _rung(place: Place, rung: str, text: RungText, reached: bool) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [place.x],
        "y": [place.y],
        "mode": "markers",
        "hoverinfo": "text",
        "text": [f"<b>{rung}</b><br>{text.title}"],
        "marker": {
            "color": RUNG_COLOURS[text.ladder],
            "size": 18 if reached else 11,
            "symbol": "star" if reached else "circle",
        },
    }


def _name(place: Place, rung: str, reached: bool) -> dict[str, Any]:
    return {
        "x": place.x,
        "y": place.y,
        "text": f"<b>{rung}</b>" if reached else rung,
        "showarrow": False,
        "xanchor": "center",
        "yanchor": "top",
        "yshift": -9,
        "font": {"size": 11},
    }

"""Pair by pair: every rung against every other on the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from pages.widgets.ladder import label
from pages.widgets.look import ink
from pages.widgets.tables import pair_rows, table
from pages.widgets.words import many, points, span

SIGNS = {"better": "▲", "worse": "▼", "equivalent": "=", "cannot tell yet": "?"}
MIRRORED = {"better": "worse", "worse": "better"}
# From worse to better through grey, each dark enough for white figures; told apart with every colour vision.
SCALE = [[0.0, "#B54F00"], [0.5, "#6B7178"], [1.0, "#0072B2"]]
# What may be chance is shown nearly grey: full colour is for what is shown.
UNSURE = 0.25
# With more rungs a square on a phone has room for three characters.
ROOMY = 5


def pairs(report: Mapping[str, Any], key: str) -> None:
    if not report["comparisons"]:
        st.info("With one rung there is nothing to compare.", icon=":material/info:")
        return
    shown = [pair["outcome"] for pair in report["comparisons"]]
    unsure = shown.count("cannot tell yet")
    st.markdown(
        f"**{len(shown) - unsure} of {many(len(shown), 'pair')}** can be told apart or are shown to be equivalent."
        + (" The others need more test examples." if unsure else "")
    )
    if len(report["rungs"]) > 2:
        said = (f"{p['b']} against {p['a']} {points(p['effect'])}, {p['outcome']}" for p in report["comparisons"])
        st.plotly_chart(
            matrix_figure(report),
            key=f"pairs_{key}",
            config={"displayModeBar": False},
            alt=f"Difference of every pair of rungs in points: {'; '.join(said)}",
        )
        st.caption("Each row against each column: ▲ better, ▼ worse, = equivalent, ? cannot tell yet (nearly grey).")
    table(pair_rows(report), "Every pair of rungs with effect, interval, p values and outcome", placeholder="")
    st.caption(
        "p adjusted allows for all pairs looked at together (Holm). More examples needed: about how many would "
        "probably settle a pair that cannot be told yet."
    )


def matrix_figure(report: Mapping[str, Any]) -> go.Figure:
    """A square for each pair, read as the row's rung against the column's."""
    names = [row["rung"] for row in report["rungs"] if row["score"] is not None]
    place = {name: i for i, name in enumerate(names)}
    size = len(names)
    values: list[list[float | None]] = [[None] * size for _ in names]
    words = [[""] * size for _ in names]
    hovers = [[""] * size for _ in names]
    for pair in report["comparisons"]:
        for row, column, sign in ((pair["b"], pair["a"], 1), (pair["a"], pair["b"], -1)):
            outcome = pair["outcome"] if sign == 1 else MIRRORED.get(pair["outcome"], pair["outcome"])
            ends = sorted(sign * end for end in pair["interval"])
            i, j = place[row], place[column]
            effect = 100 * sign * pair["effect"]
            values[i][j] = effect * (UNSURE if outcome == "cannot tell yet" else 1)
            roomy = size <= ROOMY
            # z: no minus before a nought.
            told = f"{effect:{'+z.0f' if roomy else 'z.0f'}}".replace("-", "\u2212")
            words[i][j] = f"{SIGNS[outcome]}{' ' if roomy else ''}{told if roomy else told.lstrip(chr(0x2212))}"
            hovers[i][j] = (
                f"<b>{label(row)}</b> against {label(column)}<br>{points(sign * pair['effect'])} "
                f"({span(ends, signed=True)})<br>{outcome}"
            )
    reach = max((abs(100 * pair["effect"]) for pair in report["comparisons"]), default=1.0) or 1.0
    shown = [label(name, 22) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=list(range(size)),
            y=list(range(size)),
            zmin=-reach,
            zmax=reach,
            colorscale=SCALE,
            text=words,
            texttemplate="%{text}",
            textfont={"size": 13 if size <= ROOMY else 11, "color": "white"},
            showscale=False,
            customdata=hovers,
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            xgap=3,
            ygap=3,
        )
    )
    figure.update_layout(
        title={"text": "The row's rung against the column's, in points", "font": {"size": 15}},
        height=130 + 46 * size,
        margin={"l": 8, "r": 8, "t": 48, "b": 8},
        font=ink(),
        dragmode=False,
    )
    ticks = {"tickvals": list(range(size)), "ticktext": shown, "fixedrange": True, "showgrid": False, "zeroline": False}
    figure.update_xaxes(**ticks, title="against", automargin=True)
    figure.update_yaxes(**ticks, automargin=True)
    return figure

"""What worked examples, retrieval and tuning each bought, and whether they compose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from core.evaluate.effects import NAMES
from pages.widgets.errors import plain
from pages.widgets.ladder import NEUTRAL, RUNG_COLOURS, label
from pages.widgets.look import ink, interval_bars
from pages.widgets.tables import p_value, table
from pages.widgets.words import points, span

# What a switch buys is drawn in the colour of the rung that has nothing else on.
COLOURS = {
    "shots": RUNG_COLOURS["prompt"],
    "retrieval": RUNG_COLOURS["rag"],
    "adapter": RUNG_COLOURS["lora"],
}
ICONS = {
    "better": ":green[:material/trending_up:]",
    "worse": ":red[:material/trending_down:]",
    "equivalent": ":blue[:material/drag_handle:]",
    "cannot tell yet": ":orange[:material/help:]",
}


def effects(report: Mapping[str, Any], key: str) -> None:
    """A sentence for each, the chart with intervals, and the figures below."""
    found = report["effects"]
    missing = report.get("effects_missing", [])
    if not found:
        st.info(
            "  \n".join(plain(text) for text in missing)
            or "Measure two rungs of one model that differ in one switch only: base and rag, for example.",
            title="No two of these rungs differ in one part only",
            icon=":material/info:",
        )
        return
    mains, together = [[e for e in found if e["kind"] == kind] for kind in ("main", "interaction")]
    words, chart = st.columns([5, 6], gap="large")
    with words:
        st.subheader("What each part bought", anchor=False)
        _sentences(mains)
        if together:
            st.subheader("Do they compose?", anchor=False)
            _sentences(together)
        for text in missing:
            st.caption(plain(text))
    with chart:
        st.plotly_chart(
            effects_figure(found),
            key=f"effects_{key}",
            config={"displayModeBar": False},
            alt="What each part bought, in points: "
            + ", ".join(f"{name_of(e['factor'])} {points(e['effect'])}" for e in found),
        )
    with st.expander("The figures", icon=":material/table:"):
        table(effect_rows(found), "Effect of each part with interval, p values, outcome and the rungs it comes from")
        st.caption(
            "A part's effect is the mean difference over the pairs of rungs that differ in it alone, example by "
            "example. Whether two compose is what both together bought beyond the sum of each. p is adjusted for all "
            "effects together (Holm)."
        )


def name_of(factor: str) -> str:
    """ "retrieval x adapter" as "retrieval with tuning"."""
    return " with ".join(str(NAMES[part]) for part in factor.split(" x "))


def effect_rows(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "part": name_of(effect["factor"]),
            "bought": points(effect["effect"]),
            "95% interval": span(effect["interval"], signed=True),
            "p": p_value(effect["p"]),
            "p adjusted": p_value(effect["p_adjusted"]),
            "outcome": effect["outcome"],
            "from": ", ".join(" → ".join(rungs) for rungs in effect["pairs"]),
        }
        for effect in found
    ]


def effects_figure(found: Sequence[Mapping[str, Any]]) -> go.Figure:
    """One line per effect, from no effect in the middle; interactions are diamonds in grey."""
    figure = go.Figure()
    listed = list(reversed(found))
    for height, effect in enumerate(listed):
        low, high = effect["interval"]
        main = effect["kind"] == "main"
        colour = COLOURS.get(effect["factor"], NEUTRAL) if main else NEUTRAL
        name = label(name_of(effect["factor"]))
        title = name if main else f"beyond the sum: {name}"
        hover = (
            f"<b>{title}</b><br>{points(effect['effect'])}<br>95% interval {span((low, high), signed=True)}"
            f"<br>{effect['outcome']}"
        )
        figure.add_trace(
            go.Scatter(
                x=[100 * effect["effect"]],
                y=[height],
                mode="markers",
                name=title,
                hoverinfo="text",
                text=[hover],
                marker={
                    "color": colour,
                    "size": 15,
                    "symbol": "circle" if main else "diamond",
                    "line": {"color": "white", "width": 1.5},
                },
                error_x=interval_bars([effect["effect"]], [(low, high)], colour, 4, 7),
            )
        )
        # Nought is marked beside each effect, not across the words between them.
        figure.add_shape(
            type="line", x0=0, x1=0, y0=height - 0.22, y1=height + 0.16, line={"color": NEUTRAL, "width": 2}
        )
        figure.add_annotation(
            xref="paper",
            x=0,
            y=height,
            text=f"<b>{title}</b>  {points(effect['effect'])}",
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
            yshift=10,
            font={"size": 13},
        )
    figure.update_layout(
        title={"text": "Bought, in points of the score", "font": {"size": 15}},
        height=110 + 56 * len(listed),
        margin={"l": 8, "r": 8, "t": 48, "b": 44},
        font=ink(),
        showlegend=False,
        dragmode=False,
    )
    ends = [0.0, *(100 * end for effect in found for end in effect["interval"])]
    room = 0.06 * (max(ends) - min(ends)) or 1.0
    figure.update_xaxes(
        title="points, with 95% interval; the line marks 0",
        range=[min(ends) - room, max(ends) + room],
        zeroline=False,
        fixedrange=True,
    )
    figure.update_yaxes(visible=False, range=[-0.6, len(listed) - 0.2], fixedrange=True)
    return figure


def _sentences(found: Sequence[Mapping[str, Any]]) -> None:
    for effect in found:
        st.markdown(f"{ICONS.get(effect['outcome'], '')} {plain(effect['text'])}")

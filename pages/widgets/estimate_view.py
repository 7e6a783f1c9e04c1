"""What a run will take, before it is started: memory by part, time and cost, here and on devices one could rent."""

from __future__ import annotations

import plotly.graph_objects as go
import streamlit as st

from core.forecast.training import Forecast
from core.models.estimate import Memory
from core.train.recipe import Recipe
from pages.widgets.errors import plain
from pages.widgets.look import ink
from pages.widgets.money import usd
from pages.widgets.recipe_state import KEY, put
from pages.widgets.tables import table
from pages.widgets.words import duration

# Muted, so that no part is mistaken for a rung; neighbours differ in lightness too. Title -> colour.
PARTS = {
    "weights": ("weights", "#3B6A85"),
    "adapter": ("adapter", "#8FB3C7"),
    "gradients": ("gradients", "#8A7A35"),
    "optimiser": ("optimiser", "#C9B458"),
    "activations": ("activations", "#9C5A45"),
    "logits": ("logits", "#D9A08B"),
    "cache": ("cache", "#6F6A9C"),
    "overhead": ("program", "#A9AEB4"),
}
# Where the device ends: legible on every part, and on light and dark.
EDGE = "#D64933"
# Beyond this many times the need, the device's own memory would squeeze the bar into a corner.
MUCH_ROOM = 4


def memory_figure(memory: Memory, available_gb: float) -> go.Figure:
    """One stacked bar against the memory of this device; the legend says how much each part is."""
    figure = go.Figure()
    for part, (title, colour) in PARTS.items():
        gb = getattr(memory, part)
        if gb < 0.005:
            continue
        figure.add_trace(
            go.Bar(
                x=[gb],
                y=[""],
                orientation="h",
                name=f"{title} {gb:.2f}",
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate=f"{title}: {gb:.2f} GB, {gb / memory.total:.0%}<extra></extra>",
            )
        )
    roomy = available_gb > MUCH_ROOM * memory.total
    figure.update_layout(
        barmode="stack",
        title={"text": "Memory at the peak, by part, in GB", "font": {"size": 15}},
        font=ink(),
        height=270,
        margin={"l": 8, "r": 8, "t": 46 if roomy else 64, "b": 130},
        # Entries of one width stand in columns, whatever the width of the chart.
        legend={"orientation": "h", "y": -0.35, "yanchor": "top", "x": 0, "entrywidth": 100, "traceorder": "normal"},
        dragmode=False,
        uirevision="memory",
    )
    figure.update_xaxes(
        fixedrange=True, range=[0, memory.total * 1.1 if roomy else 1.08 * max(memory.total, available_gb)]
    )
    figure.update_yaxes(showticklabels=False, fixedrange=True)
    if not roomy:
        figure.add_vline(
            x=available_gb,
            line={"color": EDGE, "width": 3, "dash": "dot"},
            # Above the bar, not on it.
            annotation={"text": f"this device: {available_gb:.1f} GB", "font": {"color": EDGE}, "yanchor": "bottom"},
            annotation_position="top left" if available_gb > memory.total / 2 else "top right",
        )
    return figure


def figures(found: Forecast | None, recipe: Recipe, examples: int) -> None:
    """The four figures that people ask for, and how sure they are."""
    estimate = found.estimate if found else None
    with st.grid(2, min_column_width=130):
        st.metric("Training examples", f"{examples:,}")
        st.metric("Optimiser steps", f"{estimate.steps if estimate else recipe.steps(examples):,}")
        st.metric("Rough time", duration(estimate.seconds if estimate else None))
        st.metric(
            "Memory at the peak",
            f"{estimate.memory.total:.1f} GB" if estimate and estimate.memory else "unknown",
            help="Told from the shape of the model and the longest examples; the pre-flight check measures it.",
        )
    if found is None or estimate is None:
        return
    if estimate.unknown:
        st.caption(plain(estimate.unknown))
    tokens = f"{estimate.tokens:,} tokens in all"
    exact = "" if found.counted.exact else ", told from the length of the texts until the model is first used here"
    speed = "; the time follows from what this model was measured to take here" if found.measured else ""
    st.caption(f"On {plain(found.device.title)}: {tokens}{exact}{speed}.")


def memory(found: Forecast) -> None:
    """The bar."""
    estimate, room = found.estimate, found.device.memory_gb
    if estimate.memory is None:
        return
    parts = ", ".join(f"{title} {getattr(estimate.memory, name):.2f}" for name, (title, _) in PARTS.items())
    st.plotly_chart(
        memory_figure(estimate.memory, room),
        key=f"{KEY}memory",
        alt=f"Memory at the peak in GB, {estimate.memory.total:.2f} of {room:.1f}: {parts}",
        config={"displayModeBar": False},
    )


def advice(found: Forecast, refused: bool) -> None:
    """What to change where it does not fit; what the recipe itself can do is a button away.

    A refusal has said the same already, but for devices elsewhere.
    """
    estimate = found.estimate
    own, beyond = estimate.advice[: len(estimate.changes)], estimate.advice[len(estimate.changes) :]
    if estimate.fits is False and estimate.memory is not None and not refused:
        st.warning(
            plain("\n".join([*own, *beyond])),
            title=f"It needs {estimate.memory.total:.1f} GB, and this device has {found.device.memory_gb:.1f} GB",
            icon=":material/memory:",
        )
    else:
        for text in beyond:
            st.caption(plain(text))
    with st.container(horizontal=True):
        for number, change in enumerate(estimate.changes):
            st.button(
                plain("Set " + ", ".join(f"{name} to {value}" for name, value in change.items())),
                icon=":material/build:",
                key=f"{KEY}advice_{number}",
                on_click=put,
                args=(change,),
                help=plain(own[number]),
            )


def elsewhere(found: Forecast) -> None:
    """The same run on devices one could buy or rent."""
    with st.expander("On other devices", icon=":material/memory:"):
        rows = [
            {
                "device": row.title.removeprefix("NVIDIA ").removesuffix(" (SXM)"),  # else the cost is out of sight
                "fits": "cannot tell" if row.fits is None else "yes" if row.fits else "no",
                "memory, GB": f"{row.memory_gb:g}"
                if row.needed_gb is None
                else f"{row.needed_gb:.1f} of {row.memory_gb:g}",
                "time": None if row.hours is None else duration(3600 * row.hours),
                "cost": None if row.usd is None else usd(row.usd),
            }
            for row in found.table
        ]
        table(rows, "Memory, time and cost of this run on devices to rent")
        st.caption(
            "Rented by the hour, at the prices in assets/prices.yaml; time within a factor of 1.5 of real, without the "
            "start of the machine."
        )

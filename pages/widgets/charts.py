"""Live charts of a training: increments kept in the session, thinned for the eye only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import plotly.graph_objects as go
import streamlit as st

from core.jobs import queue
from pages.widgets.look import ink

# More points than pixels only slow the browser down.
MOST_POINTS = 800
# The training is drawn in one neutral pair, so that it is never mistaken for a rung.
FIRST, SECOND = "#5B8DB8", "#D08C4A"


@dataclass
class Recorded:
    """Everything measured by one job so far: name -> step -> value. `last` is the newest row's id."""

    last: int = 0
    series: dict[str, dict[int, float]] = field(default_factory=dict)

    def update(self, job_id: int) -> None:
        """Fetch only what is new. A step taken again after a resume overwrites the one it repeats."""
        for row_id, step, name, value, _ in queue.metrics(job_id, self.last):
            self.series.setdefault(name, {})[step] = value
            self.last = row_id

    def points(self, name: str) -> tuple[list[int], list[float]]:
        steps = sorted(self.series.get(name, {}))
        return steps, [self.series[name][step] for step in steps]


def recorded(job_id: int) -> Recorded:
    """This session's copy of a job's measurements, brought up to date."""
    kept: Recorded = st.session_state.setdefault(f"recorded_{job_id}", Recorded())
    kept.update(job_id)
    return kept


def smooth(values: list[float], weight: float) -> list[float]:
    """Exponential moving average without the bias towards zero; weight 0 leaves the values as they are."""
    out, average, mass = [], 0.0, 0.0
    for value in values:
        if math.isfinite(value):
            average = weight * average + (1 - weight) * value
            mass = weight * mass + (1 - weight)
        out.append(average / mass if mass else value)
    return out


def thin(xs: list[int], ys: list[float], most: int = MOST_POINTS) -> tuple[list[int], list[float]]:
    """At most `most` points: each stretch keeps its lowest and highest, so no spike disappears."""
    if len(xs) <= most:
        return xs, ys
    size = math.ceil(2 * len(xs) / most)
    kept: list[int] = []
    for start in range(0, len(xs), size):
        stretch = range(start, min(start + size, len(xs)))
        kept += sorted({min(stretch, key=lambda i: ys[i]), max(stretch, key=lambda i: ys[i])})
    return [xs[i] for i in kept], [ys[i] for i in kept]


def line_figure(
    title: str, unit: str, lines: Mapping[str, tuple[list[int], list[float]]], number: str, height: int = 300
) -> go.Figure:
    """One chart over steps. `lines`: legend -> (steps, values); `number`: Plotly's format of a value."""
    figure = go.Figure()
    for position, (name, (xs, ys)) in enumerate(lines.items()):
        xs, ys = thin(xs, ys)
        few = len(xs) < 30
        figure.add_trace(
            go.Scatter(
                x=xs,
                y=ys,
                name=name,
                mode="lines+markers" if few else "lines",
                line={"color": (FIRST, SECOND)[position % 2], "width": 2},
                hovertemplate=f"{name}: %{{y:{number}}} {unit}<br>step %{{x}}<extra></extra>",
            )
        )
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        font=ink(),
        height=height,
        margin={"l": 8, "r": 8, "t": 46, "b": 8},
        showlegend=len(lines) > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        uirevision=title,
    )
    figure.update_xaxes(title="step", rangemode="tozero")
    figure.update_yaxes(title=unit)
    return figure


def draw_training(job_id: int, smoothing: float) -> None:
    """Loss large, everything else small beside each other."""
    found = recorded(job_id)
    steps, losses = found.points("loss")
    if not steps:
        st.caption("The first step has not been measured yet.")
        return
    lines = {"training loss" + (" (smoothed)" if smoothing else ""): (steps, smooth(losses, smoothing))}
    if found.series.get("eval_loss"):
        lines["evaluation loss"] = found.points("eval_loss")
    chart = line_figure("Loss", "nats per answer token", lines, ".4f", height=360)
    st.plotly_chart(chart, key=f"loss_{job_id}", alt=f"Training and evaluation loss over {len(steps)} steps")
    with st.grid(4, min_column_width=200):
        for name, title, unit, number in (
            ("learning_rate", "Learning rate", "step size", ".2e"),
            ("grad_norm", "Gradient norm", "L2 norm", ".3f"),
            ("tokens_per_s", "Speed", "tokens/s", ".0f"),
            ("memory_gb", "Memory", "GB", ".2f"),
        ):
            if found.series.get(name):
                figure = line_figure(title, unit, {title.lower(): found.points(name)}, number, height=220)
                st.plotly_chart(figure, key=f"{name}_{job_id}", alt=f"{title} in {unit} over {len(steps)} steps")

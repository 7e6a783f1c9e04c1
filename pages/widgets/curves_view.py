"""The curves of a training: what they say in words, and the charts, which grow while it runs."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from core.jobs import queue
from core.store.tables import Job
from core.train.measured import By, Measured
from pages.widgets import live_figures
from pages.widgets.charts import FIRST, MOST_POINTS, SECOND, Line, line_figure, recorded, smooth, thin, traces

# Half the width, half the points.
FEWER = MOST_POINTS // 2
# Of what happened on the way: seen on light and on dark, and no rung's colour.
MARK = "#7D858C"


@dataclass(frozen=True)
class Shown:
    """How the charts are drawn, as a person has set it."""

    by: By = "step"
    log: bool = False
    smoothing: float = 0.6


@dataclass(frozen=True)
class Chart:
    """A small chart: the measurements on it, by the name they have in its legend."""

    title: str
    unit: str
    number: str
    names: Mapping[str, str]


BESIDE = (
    Chart("Learning rate", "step size", ".2e", {"learning_rate": "learning rate"}),
    Chart("Gradient norm", "L2 norm", ".3f", {"grad_norm": "gradient norm"}),
    # Told by providers alone.
    Chart("Accuracy", "share of tokens", ".3f", {"accuracy": "training", "eval_accuracy": "evaluation"}),
)
BELOW = (
    Chart("Speed", "tokens/s", ",.0f", {"tokens_per_s": "speed"}),
    Chart("Memory", "GB", ".2f", {"memory_gb": "in use", "gpu_memory_gb": "GPU, reserved"}),
    Chart("Use", "%", ".0f", {"cpu_percent": "processor (100 per core)", "gpu_percent": "GPU"}),
)


def shown(job_id: int) -> Shown:
    """The settings on the page; before they are drawn, their defaults."""
    state = st.session_state
    by = state.get("curves_by") or "step"
    return Shown(
        by if by in recorded(job_id).axes() else "step",
        state.get("curves_scale") == "Log",
        state.get("curves_smoothing", Shown.smoothing),
    )


def begin(job: Job) -> None:
    """Note what the charts of this drawing of the page will show, before anything on it asks `grow`."""
    st.session_state[f"curves_drawn_{job.id}"] = recorded(job.id).names


@st.fragment
def draw(job: Job) -> None:
    """The settings and all charts, with what has been measured up to now. `grow` adds what comes later."""
    found = recorded(job.id)
    if "loss" not in found.names:
        if job.status in queue.ACTIVE:
            st.caption("The charts begin with the first step.")
        return
    _settings(found)
    how = shown(job.id)
    count = len(found.points("loss")[0])
    wide, narrow = st.columns([2, 1])
    with wide:
        figure = _loss_figure(found, job, how)
        st.plotly_chart(figure, key=f"loss_{job.id}", alt=f"Training and evaluation loss over {count} steps")
    with narrow:
        _small(found, job, how, BESIDE)
    with st.grid(3, min_column_width=240):
        _small(found, job, how, BELOW)


def grow(job: Job) -> bool:
    """Hand the charts on the page the points measured since; false when the page must be drawn again to show them."""
    found, how = recorded(job.id), shown(job.id)
    if not found.names <= st.session_state[f"curves_drawn_{job.id}"]:
        return False
    if found.names:
        state = (found.last, len(job.notes.get("events", ())), how)
        kept = st.session_state.get(f"curves_packed_{job.id}")
        if kept is None or kept[0] != state:
            kept = st.session_state[f"curves_packed_{job.id}"] = (state, live_figures.packed(_figures(found, job, how)))
        live_figures.push(kept[1], f"curves_push_{job.id}")
    return True


def _settings(found: Measured) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Across",
            found.axes(),
            default="step",
            required=True,
            format_func=lambda by: "Minutes" if by == "time" else str(by).capitalize(),
            key="curves_by",
            persist_state="session",
            help="Minutes are those of the steps: evaluations and pauses are left out.",
        )
        st.segmented_control(
            "Loss and gradient",
            ["Linear", "Log"],
            default="Linear",
            required=True,
            key="curves_scale",
            persist_state="session",
        )
        st.slider(
            "Smoothing of the training loss",
            0.0,
            0.99,
            Shown.smoothing,
            0.01,
            key="curves_smoothing",
            persist_state="session",
            width=280,
            help="0 shows every step as measured; what was measured stays visible behind the smoothed line. "
            "The evaluation loss and what is downloaded are never smoothed.",
        )


def _small(found: Measured, job: Job, how: Shown, charts: Sequence[Chart]) -> None:
    for chart in charts:
        if lines := _lines(found, chart, how):
            log = how.log and chart is BESIDE[1]
            figure = line_figure(chart.title, chart.unit, lines, chart.number, 220, how.by, log=log, most=FEWER)
            st.plotly_chart(figure, key=_key(chart, job), alt=f"{chart.title} in {chart.unit}")


def _figures(found: Measured, job: Job, how: Shown) -> dict[str, dict[str, Any]]:
    """Every chart on the page by its key, as `live_figures` takes it: what `draw` draws, without its frame."""
    data, layout = _loss(found, job, how)
    # The loss first: it is what people look at.
    return {f"loss_{job.id}": {"data": data, "layout": layout}} | {
        _key(chart, job): {"data": traces(lines, chart.unit, chart.number, how.by, FEWER), "layout": {}}
        for chart in (*BESIDE, *BELOW)
        if (lines := _lines(found, chart, how))
    }


def _key(chart: Chart, job: Job) -> str:
    return f"{next(iter(chart.names))}_{job.id}"


def _lines(found: Measured, chart: Chart, how: Shown) -> dict[str, Line]:
    present = [(name, legend) for name, legend in chart.names.items() if name in found.names]
    return {
        legend: _line(found, name, how, FEWER, colour=colour)
        for (name, legend), colour in zip(present, (FIRST, SECOND), strict=False)
    }


def _line(found: Measured, name: str, how: Shown, most: int, weight: float = 0.0, **look: Any) -> Line:
    """Thinned before it is placed on its axis: a million places cost more than a million values."""
    steps, values = found.points(name)
    steps, values = thin(steps, smooth(values, weight), most)
    return Line(found.places(steps, how.by), values, **look)


def _loss(found: Measured, job: Job, how: Shown) -> tuple[list[Any], dict[str, Any]]:
    """Data and layout of the loss: as measured, smoothed, evaluated, its lowest point, and what happened on the way."""
    lines = {}
    if how.smoothing:
        lines["training loss, as measured"] = _line(found, "loss", how, MOST_POINTS, faint=True)
    name = "training loss" + (" (smoothed)" if how.smoothing else "")
    lines[name] = _line(found, "loss", how, MOST_POINTS, how.smoothing)
    if "eval_loss" in found.names:
        lines["evaluation loss"] = _line(found, "eval_loss", how, MOST_POINTS, colour=SECOND)
    data = traces(lines, "nats", ".4f", how.by)
    if (best := best_evaluation(found)) is not None:
        step, value = best
        (place,) = found.places(np.array([step]), how.by)
        data.append(
            _marks([place], [value], [f"lowest evaluation loss: {value:.4f}, step {step:,}"], "best", "star", SECOND)
        )
    events = [event for event in job.notes.get("events", ()) if event["step"] > 0]
    places = found.places(np.array([event["step"] for event in events], np.int64), how.by).tolist()
    said = [f"step {event['step']:,}: {html.escape(str(event['text']))}" for event in events]
    lines_down = [
        {
            "type": "line",
            "x0": place,
            "x1": place,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"color": MARK, "width": 1, "dash": "dot"},
            "layer": "below",
        }
        for place in places
    ]
    if events:
        # On an axis of their own, so that they stand at the top whatever the losses are.
        data.append(_marks(places, [1.0] * len(events), said, "events", "triangle-down", MARK) | {"yaxis": "y2"})
    return data, {"shapes": lines_down}


def _marks(
    xs: Sequence[Any], ys: Sequence[float], texts: list[str], name: str, symbol: str, colour: str
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": list(xs),
        "y": list(ys),
        "name": name,
        "mode": "markers",
        "marker": {"symbol": symbol, "size": 13 if symbol == "star" else 9, "color": colour},
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "cliponaxis": False,
    }


def best_evaluation(found: Measured) -> tuple[int, float] | None:
    """Step and value of the lowest evaluation loss so far."""
    steps, values = found.points("eval_loss")
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return None
    at = known[int(np.argmin(values[known]))]
    return int(steps[at]), float(values[at])


def _loss_figure(found: Measured, job: Job, how: Shown) -> go.Figure:
    data, layout = _loss(found, job, how)
    figure = line_figure("Loss", "nats per answer token", {}, ".4f", 456, how.by, log=how.log)
    figure.add_traces(data)
    figure.update_layout(
        showlegend=True,
        yaxis2={"overlaying": "y", "range": [0, 1.02], "visible": False, "fixedrange": True},
        **layout,
    )
    return figure

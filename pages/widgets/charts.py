"""Lines over the steps of a training: its measurements, shared by all who look, thinned for the eye only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import streamlit as st

from core.train.measured import By, Measured
from pages.widgets.look import ink

# Two per pixel of the widest chart; more of them only slow the browser down.
MOST_POINTS = 1600
# With fewer, a line alone would hide that there are points at all.
FEW_POINTS = 30
# The training is drawn in one neutral pair, so that it is never mistaken for a rung.
FIRST, SECOND = "#5B8DB8", "#D08C4A"
AXES: Mapping[By, str] = {
    "step": "step",
    "epoch": "epoch",
    "tokens": "tokens learned from",
    "time": "minutes of training",
}
_PLACE: Mapping[str, str] = {"step": ",d", "epoch": ".2f", "tokens": ",.0f", "time": ",.1f"}
Points = npt.NDArray[Any]


@dataclass(frozen=True)
class Line:
    """One line of a chart. A faint one is the background of another, and says nothing when pointed at."""

    xs: Points
    ys: Points
    colour: str = FIRST
    dash: str = "solid"
    faint: bool = False


# Few, since a run of a million steps takes some 150 MB.
@st.cache_resource(max_entries=8, show_spinner=False)
def _measured(job_id: int) -> Measured:
    return Measured(job_id)


def recorded(job_id: int) -> Measured:
    """A run's measurements, brought up to date: read once for everybody who looks at it."""
    kept = _measured(job_id)
    kept.update()
    return kept


def smooth(values: Points, weight: float) -> Points:
    """Exponential moving average without the bias towards zero; weight 0 leaves the values as they are.

    What is not a finite number is passed over.
    """
    if not weight:
        return values
    import pandas as pd

    series = pd.Series(np.where(np.isfinite(values), values, np.nan))
    return series.ewm(alpha=1 - weight, ignore_na=True).mean().to_numpy()


def thin(xs: Points, ys: Points, most: int = MOST_POINTS) -> tuple[Points, Points]:
    """At most `most` points: each stretch keeps its lowest and highest, so no spike disappears; both ends stay."""
    if len(xs) <= most:
        return xs, ys
    from tsdownsample import MinMaxDownsampler

    extremes = MinMaxDownsampler()  # type: ignore[no-untyped-call]
    inner = extremes.downsample(np.ascontiguousarray(ys, np.float64), n_out=(most - 2) // 2 * 2)
    kept = np.unique(np.concatenate(([0], inner.astype(np.int64), [len(xs) - 1])))
    return xs[kept], ys[kept]


def traces(lines: Mapping[str, Line], unit: str, number: str, by: By = "step", most: int = MOST_POINTS) -> list[Any]:
    """The lines as Plotly's data. `number`: Plotly's format of a value. Single precision is enough for a screen."""
    drawn = []
    for name, line in lines.items():
        xs, ys = thin(line.xs, line.ys, most)
        trace: dict[str, Any] = {
            "type": "scatter",
            "x": xs if np.issubdtype(xs.dtype, np.integer) else xs.astype(np.float32),
            "y": ys.astype(np.float32),
            "name": name,
            "mode": "lines+markers" if len(xs) < FEW_POINTS else "lines",
            "line": {"color": line.colour, "width": 1 if line.faint else 2, "dash": line.dash},
            "marker": {"color": line.colour, "size": 3 if line.faint else 6},
            "hovertemplate": f"{name}: %{{y:{number}}} {unit}<br>{AXES[by]} %{{x:{_PLACE[by]}}}<extra></extra>",
        }
        if line.faint:
            trace |= {"opacity": 0.35, "hoverinfo": "skip", "hovertemplate": None, "showlegend": False}
        drawn.append(trace)
    return drawn


def line_figure(
    title: str,
    unit: str,
    lines: Mapping[str, Line],
    number: str,
    height: int = 300,
    by: By = "step",
    *,
    log: bool = False,
    most: int = MOST_POINTS,
) -> go.Figure:
    """One chart; `lines`: legend -> line on the axis `by`. All of a run is shown, however long it is."""
    figure = go.Figure(traces(lines, unit, number, by, most))
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        font=ink(),
        height=height,
        margin={"l": 8, "r": 8, "t": 46, "b": 8},
        showlegend=sum(not line.faint for line in lines.values()) > 1,
        # At the foot of the chart: Plotly's buttons lie on top of what stands at its head.
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        # What a person has zoomed into stays in view when points are added.
        uirevision=title,
    )
    figure.update_xaxes(title=AXES[by], rangemode="tozero")
    # From 0, so that a speed that wavers by a percent looks like one; losses are told apart at their own level.
    bottom = "normal" if unit.startswith("nats") else "tozero"
    figure.update_yaxes(title=unit, rangemode=bottom, exponentformat="power")
    if log:
        # Few ticks, each with its whole value: by default many say but a digit of it.
        figure.update_yaxes(type="log", nticks=3, tickformat="~g")
    return figure

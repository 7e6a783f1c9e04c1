"""How quickly the server answers: in words, and as small charts that grow while it runs."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from core.jobs import queue
from core.store.tables import Job
from pages.widgets import live_figures
from pages.widgets.charts import FIRST, SECOND
from pages.widgets.look import ink
from pages.widgets.words import many

# The last hour, at a measurement every five seconds.
KEPT = 720
GROWS_S = 5.0
# A minute is what each point looks back over.
GAP_S = 70.0
HALF, MOST = "first_token_ms_p50", "first_token_ms_p95"
RATE, REQUESTS, RUNNING, WAITING = "tokens_per_s", "requests_per_min", "running", "waiting"
NAMES = (HALF, MOST, RATE, REQUESTS, RUNNING, WAITING)


@dataclass
class Series:
    """The latest measurements of one server by name, each with its moment; `last` is the newest row's id.

    Shared by all who look.
    """

    job_id: int
    last: int = 0
    points: dict[str, deque[tuple[float, float]]] = field(
        default_factory=lambda: {name: deque(maxlen=KEPT) for name in NAMES}
    )
    lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self) -> None:
        with self.lock:
            for row, _, name, value, moment in queue.metrics(self.job_id, self.last, NAMES):
                self.points[name].append((moment, value))
                self.last = row

    def latest(self, name: str) -> float | None:
        """The newest value that was a number."""
        return next((value for _, value in reversed(self.points[name]) if math.isfinite(value)), None)

    @property
    def answered(self) -> bool:
        """Whether anybody has been answered in the time kept."""
        return self.latest(HALF) is not None


@dataclass(frozen=True)
class Chart:
    """A small chart: its lines by legend, and what their values are multiplied by to be in its unit."""

    title: str
    unit: str
    number: str
    lines: tuple[tuple[str, str], ...]
    scale: float = 1.0


CHARTS = (
    Chart("Time to the first word", "seconds", ".2f", (("half of all within", HALF), ("95 of 100 within", MOST)), 1e-3),
    Chart("Tokens written", "tokens/s", ",.0f", (("tokens", RATE),)),
    Chart("Requests", "a minute", ",.0f", (("requests", REQUESTS),)),
)


@st.cache_resource(max_entries=8, show_spinner=False)
def _series(job_id: int) -> Series:
    return Series(job_id)


def measured(job: Job) -> Series:
    """What a server has measured, up to now; read once for everybody who looks."""
    kept = _series(job.id)
    kept.update()
    return kept


def speed(tokens_per_s: float) -> str:
    return f"{tokens_per_s:,.{0 if tokens_per_s >= 10 else 1}f} tokens/s"


def in_words(job: Job) -> str:
    """How it goes, in a sentence or two."""
    found = measured(job)
    half, most = found.latest(HALF), found.latest(MOST)
    if half is None or most is None:
        return "Nobody has asked it anything yet."
    said = f"First word after **{half / 1000:.2g} s**, 95 of 100 within **{most / 1000:.2g} s**"
    requests, rate = found.latest(REQUESTS) or 0, found.latest(RATE) or 0
    running, waiting = round(found.latest(RUNNING) or 0), round(found.latest(WAITING) or 0)
    if requests or rate:
        # Over a minute that was mostly idle the rate is far below the speed of any one answer.
        said += f"; {many(round(requests), 'request')} and {speed(rate)} over the last minute"
    said += "."
    if running or waiting:
        said += f" {many(running, 'answer')} being written, {waiting:,} waiting."
    elif not requests:
        said += " Nobody is asking at the moment."
    return said


def draw(job: Job | None) -> None:
    """The charts of this server; they grow by themselves."""
    if job is None or not measured(job).answered:
        st.info(
            "Talk to a model or send a request: how soon the first word comes and how fast answers are written will "
            "be drawn here.",
            title="Nothing measured yet",
        )
        if job is not None and job.status in queue.ACTIVE:
            st.fragment(lambda: st.rerun() if measured(job).answered else None, run_every=GROWS_S)()
        return
    found = measured(job)
    with st.grid(3, min_column_width=260):
        for number, chart in enumerate(CHARTS):
            st.plotly_chart(
                _figure(chart, found),
                key=_key(job, number),
                # Its buttons would lie on the title.
                config={"displayModeBar": False},
                alt=f"{chart.title}, {chart.unit}, over time",
            )
    st.caption("The last hour at most, measured every few seconds; each point looks back over the last minute.")
    if job.status in queue.ACTIVE:
        st.fragment(lambda: _grow(job), run_every=GROWS_S)()


def _grow(job: Job) -> None:
    """Hand the charts what has been measured since."""
    found = measured(job)
    figures = {_key(job, number): {"data": _traces(chart, found), "layout": {}} for number, chart in enumerate(CHARTS)}
    live_figures.push(live_figures.packed(figures), f"serve_push_{job.id}")


def _key(job: Job, number: int) -> str:
    return f"serve_chart_{job.id}_{number}"


def _traces(chart: Chart, found: Series) -> list[dict[str, Any]]:
    colours: Sequence[str] = (FIRST, SECOND)
    drawn = []
    for (legend, name), colour in zip(chart.lines, colours, strict=False):
        points = _with_gaps(list(found.points[name])) if name in (HALF, MOST) else list(found.points[name])
        drawn.append(
            {
                "type": "scatter",
                "x": [datetime.fromtimestamp(moment).isoformat(timespec="seconds") for moment, _ in points],
                "y": [value * chart.scale if math.isfinite(value) else None for _, value in points],
                "name": legend,
                "mode": "lines+markers" if len(points) < 30 else "lines",
                # What is measured again and again with the same result is noted once: it holds until the next.
                "line": {"color": colour, "width": 2, "shape": "hv"},
                "marker": {"color": colour, "size": 5},
                "hovertemplate": f"{legend}: %{{y:{chart.number}}} {chart.unit}<br>%{{x|%H:%M:%S}}<extra></extra>",
            }
        )
    return drawn


def _with_gaps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A break wherever nobody was answered for longer than a point looks back."""
    whole: list[tuple[float, float]] = []
    for moment, value in points:
        if whole and moment - whole[-1][0] > GAP_S:
            whole.append((whole[-1][0] + GAP_S, math.nan))
        whole.append((moment, value))
    return whole


def _figure(chart: Chart, found: Series) -> go.Figure:
    figure = go.Figure(_traces(chart, found))
    figure.update_layout(
        title={"text": chart.title, "font": {"size": 15}},
        font=ink(),
        height=220,
        margin={"l": 8, "r": 8, "t": 46, "b": 8},
        showlegend=len(chart.lines) > 1,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        uirevision=chart.title,
    )
    figure.update_xaxes(type="date", tickformat="%H:%M:%S", nticks=4)
    figure.update_yaxes(title=chart.unit, rangemode="tozero")
    return figure

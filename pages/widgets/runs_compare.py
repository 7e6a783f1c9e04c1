"""Training runs beside each other: their curves, their figures, and what of the recipe made the difference."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.data.dataset import datasets
from core.jobs import queue
from core.store.lists import adapters
from core.store.tables import Adapter, Job
from core.train.adapters import deleted
from core.train.measured import By
from core.train.recipe import Recipe
from pages.widgets.charts import AXES, Line, line_figure, recorded, smooth
from pages.widgets.errors import plain
from pages.widgets.progress import STATES, live
from pages.widgets.tables import csv_button, shown, table
from pages.widgets.words import duration

# Paul Tol's "bright" scheme, told apart with every kind of colour vision, and legible on light and dark. More lines
# than it has colours could not be told apart anyway.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377")
USUAL = 3
PARAM = "runs"
# Seen on light and on dark.
HIGHLIGHT = "background-color: rgba(204, 187, 68, 0.28)"
# An evaluation loss is a mean over tokens; these decide over which tokens, and in which words they are counted.
MEASURED_ON = {
    "data": "Their data sets differ",
    "data content": "The data was changed between them",
    "model": "Their base models differ, and with them what a token is",
    "answers only": "Some learn the answers alone, others the questions as well",
    "passages": "Some are shown passages beside the questions, others are not",
}
FORMATS = {"best evaluation loss": "%.4f", "last training loss": "%.4f", "tokens/s": "%d", "memory, GB": "%.2f"}
Row = dict[str, str]


def draw(jobs: Sequence[Job]) -> None:
    """Choose among these trainings, newest first, and see them side by side; follows those that run."""
    begun = {job.id: job for job in jobs if job.status != "queued" or job.done}
    if len(begun) < 2:
        st.info("Train a second time with another recipe, and both will be compared here.", title="Nothing to compare")
        return
    chosen = _choose(begun)
    if len(chosen) < 2:
        st.caption("Choose at least two runs.")
        return
    live(_compare, lambda: [queue.get(job_id) for job_id in chosen])


def _choose(begun: Mapping[int, Job]) -> list[int]:
    """The runs, kept in the address: `?runs=3,5`; by default the last ones on the newest run's data."""
    address = st.query_params.get(PARAM, "")
    if "compared_runs" not in st.session_state or address != st.session_state.get("compared_address"):
        wanted = [int(part) for part in address.split(",") if part.isdigit() and int(part) in begun]
        st.session_state["compared_runs"] = (wanted or _usual(begun))[: len(COLOURS)]
    st.session_state["compared_runs"] = [i for i in st.session_state["compared_runs"] if i in begun]
    chosen: list[int] = st.multiselect(
        "Runs",
        list(begun),
        format_func=lambda i: _name(begun[i]) if i in begun else str(i),
        key="compared_runs",
        max_selections=len(COLOURS),
        help="The first one is what the others are held against.",
    )
    st.query_params[PARAM] = st.session_state["compared_address"] = ",".join(map(str, chosen))
    return chosen


def _usual(begun: Mapping[int, Job]) -> list[int]:
    newest = next(iter(begun.values()))
    data = newest.spec.get("dataset_id")
    same = [job.id for job in begun.values() if job.spec.get("dataset_id") == data][:USUAL]
    return sorted(same if len(same) > 1 else list(begun)[:USUAL])


def _name(job: Job) -> str:
    return f"{job.spec.get('name') or job.title} (run {job.id})"


def _compare(jobs: list[Job]) -> None:
    made = {adapter.job_id: adapter for adapter in adapters()}
    gone = {adapter.job_id: adapter for adapter in deleted()}
    names = {dataset.id: dataset.name for dataset in datasets()}
    settings = {job.id: settings_of(job, (made | gone).get(job.id), names) for job in jobs}
    differing, equal = differences({_name(job): settings[job.id] for job in jobs})
    doubts = incomparable(list(settings.values()))
    figures = [figures_of(job) | {"adapter": _left(made.get(job.id), gone.get(job.id))} for job in jobs]
    if doubts:
        st.warning("  \n".join(f"{doubt}." for doubt in doubts), title="These losses do not compare")
    else:
        _best(figures)
    _curves(jobs)
    st.subheader("Figures", anchor=False)
    formats = {name: st.column_config.NumberColumn(format=form) for name, form in FORMATS.items()}
    table(figures, "Figures of the runs, one row each", key="runs_figures", column_config=formats)
    st.subheader("What differs", anchor=False)
    if differing:
        _settings_table(differing, "Settings that differ between the runs")
        st.caption("Highlighted: what differs from the first run.")
    else:
        st.caption("Nothing: recipe and data are the same, so the runs should agree to the last digit on one machine.")
    with st.expander(f"The same in all: {len(equal)} settings", icon=":material/equal:"):
        _settings_table(equal, "Settings that are the same in all runs")
    rows = [figure | settings[job.id] for job, figure in zip(jobs, figures, strict=True)]
    csv_button(rows, "runs.csv", "Figures and settings (CSV)", "runs_csv")


def _left(made: Adapter | None, gone: Adapter | None) -> str:
    if made is not None:
        return f"{made.name} (adapter {made.id})"
    return "none" if gone is None else "deleted"


def _curves(jobs: Sequence[Job]) -> None:
    """Evaluation loss above, training loss below, each run in the same colour in both."""
    # Only what all of them have recorded can be drawn for all.
    axes = [by for by in AXES if all(by in recorded(job.id).axes() for job in jobs)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by: By = st.segmented_control(
            "Over",
            axes,
            default="step",
            required=True,
            format_func=lambda name: AXES[name],
            key="runs_by",
            persist_state="session",
        )
        smoothing = st.slider(
            "Smoothing of the training loss",
            0.0,
            0.95,
            0.6,
            0.05,
            key="runs_smoothing",
            persist_state="session",
            width=260,
        )
        log = st.toggle("Logarithmic", key="runs_log", persist_state="session", help="Shows small losses apart.")
    for title, name, weight in (("Evaluation loss", "eval_loss", 0.0), ("Training loss", "loss", smoothing)):
        lines = {}
        for colour, job in zip(COLOURS, jobs, strict=False):
            xs, ys = recorded(job.id).points(name, by)
            if len(xs):
                # Plotly reads tags and its own placeholders in names.
                legend = html.escape(_name(job)).replace("%{", "% {")
                lines[legend] = Line(xs, smooth(ys, weight), colour)
        if not lines:
            st.caption(f"{title}: no run has measured it yet.")
            continue
        figure = line_figure(title, "nats per answer token", lines, ".4f", 380, by, log=log)
        figure.update_layout(showlegend=True)  # a single run is named, too
        st.plotly_chart(figure, key=f"runs_{name}", alt=f"{title} of {len(lines)} runs over {AXES[by]}")


def settings_of(job: Job, adapter: Adapter | None, names: Mapping[int, str]) -> Row:
    """Everything that determined a run, in words: the data first, then the recipe field by field.

    `names` are those of the data sets there are. What nobody noted is an empty text, which differs from nothing.
    """
    number = int(job.spec["dataset_id"])
    content = adapter.notes.get("data_hash", "") if adapter is not None else ""
    data = {"data": f"{names.get(number, 'deleted')} (number {number})", "data content": content[:12]}
    # A run from before a setting existed had what is its default now.
    recipe = Recipe().model_dump(mode="json") | job.spec["recipe"]
    return data | {name.replace("_", " "): _in_words(value) for name, value in recipe.items()}


def _in_words(value: Any) -> str:
    match value:
        case None | []:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case dict():
            return ", ".join(f"{name.replace('_', ' ')} {_in_words(inner)}" for name, inner in value.items())
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def differences(settings: Mapping[str, Row]) -> tuple[list[Row], list[Row]]:
    """(rows that differ, rows that are equal): a row per setting, a column per run."""
    names = dict.fromkeys(name for row in settings.values() for name in row)
    rows = [{"setting": name} | {run: row.get(name, "") for run, row in settings.items()} for name in names]
    differing = [row for row in rows if _differ(row[run] for run in settings)]
    return differing, [row for row in rows if row not in differing]


def incomparable(settings: Sequence[Row]) -> list[str]:
    """Why the losses of these runs are not of one kind; empty when they are."""
    return [doubt for name, doubt in MEASURED_ON.items() if _differ(row[name] for row in settings)]


def _differ(values: Iterable[str]) -> bool:
    return len({value for value in values if value}) > 1


def figures_of(job: Job) -> dict[str, Any]:
    """What a run came to, from what it recorded, so that one that did not end has figures as well."""
    found = recorded(job.id)
    steps, losses = found.points("eval_loss")
    best = int(np.nanargmin(losses)) if np.isfinite(losses).any() else None
    training, speed, memory = (found.points(name)[1] for name in ("loss", "tokens_per_s", "memory_gb"))
    seconds = job.result.get("seconds")
    return {
        "run": _name(job),
        "state": STATES[job.status][0],
        "best evaluation loss": None if best is None else float(losses[best]),
        "at step": None if best is None else int(steps[best]),
        "steps": int(job.done),
        "last training loss": float(training[-1]) if len(training) else None,
        "time": duration(seconds) if seconds is not None else "",
        "tokens/s": float(np.nanmedian(speed)) if np.isfinite(speed).any() else None,
        "memory, GB": float(np.nanmax(memory)) if np.isfinite(memory).any() else None,
    }


def _best(figures: Sequence[Mapping[str, Any]]) -> None:
    """Which run came lowest, and how much that says."""
    ranked = sorted(
        (row for row in figures if row["best evaluation loss"] is not None), key=lambda row: row["best evaluation loss"]
    )
    if len(ranked) < 2:
        return
    first, second = ranked[:2]
    ahead = second["best evaluation loss"] - first["best evaluation loss"]
    st.markdown(
        f":material/trophy: **{plain(first['run'])}** has the lowest evaluation loss: "
        f"{first['best evaluation loss']:.4f} at step {first['at step']:,}, {ahead:.4f} below {plain(second['run'])}."
    )
    st.caption(
        "One run each: the same recipe with another seed shows how much of a difference is chance. "
        "A lower loss need not mean better answers; Compare measures those."
    )


def _settings_table(rows: Sequence[Row], alt: str) -> None:
    if not rows:
        return
    frame = pd.DataFrame([{name: shown(value) for name, value in row.items()} for row in rows]).set_index("setting")
    first = frame.columns[0]
    marks = frame.apply(lambda column: np.where(column == frame[first], "", HIGHLIGHT))
    st.dataframe(frame.style.apply(lambda _: marks, axis=None), alt=alt)

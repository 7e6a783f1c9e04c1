"""The demo project on Home: what each task asks, how far it is, and what it found."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import streamlit as st

from core.demo import DemoTask, demo_experiments, load_demo, start_demo
from core.jobs import queue
from core.jobs.background import in_background
from core.store.lists import experiment as stored
from core.store.tables import Experiment, Job
from pages.widgets.charts import recorded, thin
from pages.widgets.errors import plain
from pages.widgets.ladder import Mark, draw_ladder, ladder_figure
from pages.widgets.partial import partial_marks
from pages.widgets.progress import active, live, progress_bar, trouble
from pages.widgets.words import duration

# Two tabs may press the button together; the second must find the first one's work.
_STARTING = threading.Lock()


def start(again: bool = False) -> None:
    """Start the demo, once: unless `again` is meant, nothing happens when it is there already."""
    with st.spinner("Reading the demo's data"), _STARTING:
        if again or not demo_experiments():
            start_demo(in_background)


def draw_demo(experiments: Mapping[str, Experiment]) -> None:
    """One card per task, kept up to date while any of their jobs moves."""
    live(lambda jobs: _draw(experiments, {job.id: job for job in jobs}), lambda: _jobs(experiments))


def _jobs(experiments: Mapping[str, Experiment]) -> list[Job]:
    """Every job of the demo that still exists: its index, the trainings, the comparisons."""
    wanted = {job_id for e in experiments.values() for job_id in (e.train_job_id, e.job_id)}
    indexes = {e.index_id for e in experiments.values()}
    return [
        job
        for job in reversed(queue.jobs(limit=1000))
        if job.id in wanted or (job.kind == "index" and job.spec.get("index_id") in indexes)
    ]


def _draw(experiments: Mapping[str, Experiment], jobs: Mapping[int, Job]) -> None:
    st.header("The demo project")
    listed = list(jobs.values())
    if active(listed):
        left = [queue.time_left(job) for job in listed if job.status in queue.ACTIVE]
        st.markdown(
            f"Running on this machine: **about {duration(sum(s or 0 for s in left))} left** in all. "
            "You may close this page; the work goes on."
        )
    elif all(job.status == "done" for job in listed):
        st.markdown("All three tasks are measured, with the same model and the same recipe.")
    for job in listed:
        if job.kind == "index" and job.status != "done":
            progress_bar(job, "Reading the documents")
            trouble(job)
    columns = st.columns(3, gap="medium")
    for column, task in zip(columns, load_demo().tasks, strict=True):
        if task.key in experiments:
            with column.container(border=True, height="stretch"):
                _draw_task(task, experiments[task.key].id, jobs, task.advised)


def _draw_task(task: DemoTask, experiment_id: int, jobs: Mapping[int, Job], expected: str) -> None:
    experiment = stored(experiment_id)
    st.subheader(plain(task.title))
    st.markdown(plain(task.question))
    st.caption(f"Expected: {plain(task.expectation)}")
    training, comparing = jobs.get(experiment.train_job_id or 0), jobs.get(experiment.job_id or 0)
    if experiment.report is None:
        for job, label in ((training, "Train"), (comparing, "Compare")):
            if job is not None:
                progress_bar(job, label)
                trouble(job)
        if training is not None and training.status == "running":
            _, losses = thin(*recorded(training.id).points("loss"))
            if len(losses) > 1:
                latest = f"{losses[-1]:.3f}"
                st.metric("Training loss, nats per token", latest, chart_data=losses.tolist(), chart_type="line")
        marks = partial_marks(experiment)
        if any(mark.score is not None for mark in marks):
            _ladder(marks, experiment, "Scores so far")
        stages = [jobs.get(job_id) for job_id in (experiment.train_job_id, experiment.job_id) if job_id is not None]
        if any(job is None or job.status in queue.RESUMABLE for job in stages):
            st.page_link("pages/jobs.py", label="Resume or look into it on Jobs", icon=":material/checklist:")
    else:
        _found(experiment, expected)
    st.space("stretch")
    st.page_link(
        "pages/compare.py",
        label="Full comparison",
        icon=":material/balance:",
        query_params={"experiment": str(experiment.id)},
    )


def _found(experiment: Experiment, expected: str) -> None:
    report = experiment.report or {}
    rung = report["verdict"]["rung"]
    if report["verdict"]["outcome"] == "cannot tell yet" or rung is None:
        st.badge(f"Open: {plain(expected)} was expected", icon=":material/help:", color="gray")
    elif rung == expected:
        st.badge(f"Expectation confirmed: {plain(rung)}", icon=":material/check:", color="green")
    else:
        st.badge(
            f"Expectation overturned: {plain(rung)}, not {plain(expected)}",
            icon=":material/swap_vert:",
            color="orange",
        )
    marks = [Mark(row["rung"], row["score"], row["interval"], chosen=row["rung"] == rung) for row in report["rungs"]]
    _ladder(marks, experiment, "Scores")
    st.markdown(plain(report["verdict"]["reason"]))


def _ladder(marks: list[Mark], experiment: Experiment, title: str) -> None:
    best = ", ".join(f"{m.rung} {m.score:.0%}" for m in marks if m.score is not None)
    draw_ladder(
        ladder_figure(marks, title, "score with 95% interval", compact=True),
        f"demo_{experiment.id}",
        f"{title} of each rung: {best}",
    )

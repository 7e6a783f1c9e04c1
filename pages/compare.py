"""Compare: the rungs on the same questions, the verdict, and every answer side by side."""

from __future__ import annotations

import streamlit as st

from core.evaluate.experiment import delete_experiment
from core.jobs import queue
from core.store.lists import experiment as stored
from core.store.lists import experiments
from core.store.tables import Experiment, Job
from pages.widgets.choose import choose, go_to_view, view
from pages.widgets.compare_form import new_comparison
from pages.widgets.errors import guard
from pages.widgets.log import log_fold
from pages.widgets.outputs import side_by_side
from pages.widgets.partial import partial_ladder
from pages.widgets.progress import (
    badge,
    confirmed,
    controls,
    first_active,
    live,
    progress_bar,
    trouble,
)
from pages.widgets.result import downloads, result

st.title("Compare")
listed = experiments()
if st.query_params.get("new"):
    go_to_view("compare_view", "New comparison")
    del st.query_params["new"]
part = view("compare_view", ["Results", "New comparison"] if listed else ["New comparison"])


def jobs_of(experiment: Experiment) -> list[Job]:
    """The jobs an experiment hangs on, in the order they run: index, training, comparison."""
    wanted = {experiment.train_job_id, experiment.job_id}
    return [
        job
        for job in reversed(queue.jobs(limit=1000))
        if job.id in wanted
        or (job.kind == "index" and experiment.index_id is not None and job.spec.get("index_id") == experiment.index_id)
    ]


def show(experiment_id: int) -> None:
    experiment = stored(experiment_id)
    st.caption(f"Model {experiment.model} · metric {experiment.metric} · seed {experiment.seed}".replace("_", r"\_"))
    if experiment.report is None:
        live(lambda jobs: running(experiment, jobs), lambda: jobs_of(experiment))
    else:
        result(experiment)
    busy = any(job.id == experiment.job_id and job.status in queue.ACTIVE for job in jobs_of(experiment))
    side_by_side(experiment, busy)
    with st.container(horizontal=True):
        if experiment.report is not None:
            downloads(experiment)
        if confirmed(
            "Delete this comparison",
            "Its answers, scores and verdict go. Data and adapter stay.",
            f"experiment_{experiment.id}",
        ):
            with guard():
                if busy:
                    st.warning("It is still being measured: stop its job first.")
                else:
                    delete_experiment(experiment.id)
                    st.rerun()


def running(experiment: Experiment, jobs: list[Job]) -> None:
    """Every stage with its progress, then the scores so far."""
    titles = {"index": "Documents", "train": "Train", "compare": "Compare"}
    for job in jobs:
        if job.status == "done" and job.id != experiment.job_id:
            continue
        with st.container(border=True):
            badge(job)
            progress_bar(job, titles[job.kind])
            trouble(job)
            controls(job, "compare", deletable=False)
            if job.kind == "compare" and job.status not in queue.ACTIVE:
                log_fold(job, "compare")
    if not any(job.id == experiment.job_id for job in jobs):
        st.warning("The job that would measure it was deleted. Delete this comparison and start it anew.")
    partial_ladder(experiment)


if part == "New comparison":
    new_comparison()
else:
    busy = first_active([job for job in queue.jobs("compare") if job.spec.get("experiment_id")])
    chosen = choose(
        "experiment",
        "Experiment",
        {e.id: f"{e.name} (number {e.id})" for e in listed},
        preferred=busy.spec["experiment_id"] if busy else None,
    )
    if chosen is not None:
        show(chosen)

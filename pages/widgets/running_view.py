"""A comparison that is not finished: every stage and every rung with its progress, and the scores so far."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.jobs import queue
from core.store.tables import Experiment, Job
from pages.widgets.log import log_fold
from pages.widgets.partial import partial_ladder
from pages.widgets.progress import badge, controls, live, progress_bar, trouble
from pages.widgets.tables import table

TITLES = {"index": "Documents", "train": "Train", "compare": "Compare"}
STATES = {"waiting": "waits", "running": "is asked now", "done": "done", "failed": "could not be asked"}


def jobs_of(experiment: Experiment) -> list[Job]:
    """The jobs an experiment hangs on, in the order they run: index, training, comparison."""
    wanted = {experiment.train_job_id, experiment.job_id}
    return [
        job
        for job in reversed(queue.jobs(limit=1000))
        if job.id in wanted
        or (job.kind == "index" and experiment.index_id is not None and job.spec.get("index_id") == experiment.index_id)
    ]


def being_measured(experiment: Experiment) -> bool:
    if experiment.job_id is None:
        return False
    return any(job.id == experiment.job_id and job.status in queue.ACTIVE for job in queue.jobs("compare"))


def running(experiment: Experiment) -> None:
    """Followed while something moves; when the last job has ended, the page is drawn once more."""
    live(lambda jobs: _stages(experiment, jobs), lambda: jobs_of(experiment))


def _stages(experiment: Experiment, jobs: Sequence[Job]) -> None:
    stages, scores = st.columns([5, 6], gap="large")
    with stages:
        for job in jobs:
            if job.status == "done" and job.id != experiment.job_id:
                continue
            with st.container(border=True):
                badge(job)
                progress_bar(job, TITLES[job.kind])
                trouble(job)
                if job.id == experiment.job_id:
                    _rungs(job)
                controls(job, "compare", deletable=False)
                if job.kind == "compare" and job.status not in queue.ACTIVE:
                    log_fold(job, "compare")
        if not any(job.id == experiment.job_id for job in jobs):
            st.warning("The job that would measure it was deleted. Delete this comparison and start it anew.")
    with scores:
        partial_ladder(experiment)


def _rungs(job: Job) -> None:
    """How far each rung is; nothing before the first answer."""
    noted = job.notes.get("rungs", {})
    if not noted:
        return
    rows = [
        {
            "rung": rung,
            "answered": 100 * found["done"] / max(1, found["total"]),
            "answers": f"{found['done']:,} of {found['total']:,}",
            "state": STATES[found["state"]]
            if job.status in queue.ACTIVE or found["state"] != "running"
            else "is not done",
            "taken over": found.get("reused", 0),
        }
        for rung, found in noted.items()
    ]
    if not any(row["taken over"] for row in rows):
        rows = [{name: value for name, value in row.items() if name != "taken over"} for row in rows]
    table(
        rows,
        "How many questions each rung has answered",
        column_config={
            "answered": st.column_config.ProgressColumn("answered", format="%.0f %%", min_value=0, max_value=100),
            "taken over": st.column_config.NumberColumn(
                help="Answers of an earlier comparison that asked exactly the same."
            ),
        },
    )

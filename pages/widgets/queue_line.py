"""What a device has before it: the job at work and those that wait, so that a new one's place is known."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.jobs import queue
from core.store.tables import Job
from pages.widgets.errors import plain
from pages.widgets.progress import badge, live
from pages.widgets.words import duration


def line(device: str) -> list[Job]:
    """The jobs of a device that run or wait, in the order of their turn."""
    running = [job for job in queue.jobs() if job.status == "running" and job.device == device]
    return [*running, *queue.waiting(device)]


def show_line(device: str) -> None:
    """The line as it moves, a row each. Draws nothing while nothing runs or waits."""
    if line(device):
        with st.container(border=True):
            live(lambda jobs: _rows(jobs, device), lambda: line(device))


def _rows(jobs: Sequence[Job], device: str) -> None:
    st.markdown(f"**In line on {plain(device)}**")
    for place, job in enumerate(jobs):
        left = queue.time_left(job)
        words = [f"place {place + 1}"] if job.status == "queued" else []
        if left is not None:
            words.append(f"about {duration(left)}" + (" left" if job.status == "running" else ""))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            badge(job)
            _title(job)
            st.caption(" · ".join(words), width="content")
    known = [left for left in map(queue.time_left, jobs) if left is not None]
    after = f", in about {duration(sum(known))}" if len(known) == len(jobs) else ""
    if sum(job.status == "queued" for job in jobs) > 1:
        st.page_link("pages/jobs.py", label="Change the order on Jobs", icon=":material/swap_vert:", width="content")
    # One that waits for a job that failed holds nobody up.
    if any(job.status == "running" for job in jobs):
        st.caption(f"A run started now waits for its turn behind {'it' if len(jobs) == 1 else 'them'}{after}.")


def _title(job: Job) -> None:
    """A training's title leads to it."""
    if job.kind == "train":
        st.page_link(
            "pages/train.py",
            label=plain(job.title, 60),
            icon=":material/monitoring:",
            query_params={"run": str(job.id)},
            width="content",
        )
    else:
        st.markdown(plain(job.title, 60), width="content")

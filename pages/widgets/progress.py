"""Jobs on screen: state, progress, time left, and the buttons that act on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from core.jobs import queue
from core.store.tables import Job
from pages.widgets.errors import guard, plain
from pages.widgets.words import ago, duration

# Often enough to feel live; each look is a few reads of a local database.
POLL_S = 2.0
STATES = {
    "queued": ("Waiting", ":material/schedule:", "gray"),
    "running": ("Running", ":material/play_arrow:", "blue"),
    "done": ("Done", ":material/check:", "green"),
    "stopped": ("Stopped", ":material/stop_circle:", "orange"),
    "failed": ("Failed", ":material/error:", "red"),
    "interrupted": ("Interrupted", ":material/power_off:", "orange"),
}


def active(jobs: Sequence[Job]) -> bool:
    return any(job.status in queue.ACTIVE for job in jobs)


def live(draw: Callable[[list[Job]], None], jobs: Callable[[], list[Job]]) -> None:
    """Draw what these jobs do, and again every two seconds while one of them waits or runs.

    Looking moves the queue on. When the last one has ended, the whole page is drawn once more.
    """
    queue.dispatch()
    polling = active(jobs())

    def fragment() -> None:
        with guard():
            queue.dispatch()
            current = jobs()
            draw(current)
            if polling and not active(current):
                st.rerun()

    st.fragment(fragment, run_every=POLL_S if polling else None)()


def badge(job: Job) -> None:
    label, icon, colour = STATES[job.status]
    if job.status == "running" and job.stop_requested_at is not None:
        label = "Stopping"
    st.badge(label, icon=icon, color=colour)  # type: ignore[arg-type]


def progress_bar(job: Job, label: str = "") -> None:
    """How far a job is, what it does, and how long it will still take."""
    share = min(1.0, job.done / job.total) if job.total else 0.0
    if job.status == "done":
        share = 1.0
    words = [label] if label else []
    if job.status == "queued":
        words.append(job.message or "Waits for its turn.")
    elif job.status == "running":
        words.append(job.message or "Starting")
        words.append(f"{share:.0%}")
        left = queue.time_left(job)
        if left is not None:
            words.append(f"about {duration(left)} left")
    elif job.status == "done":
        words.append(f"done in {duration((job.finished_at or 0) - (job.started_at or 0))}")
    else:
        words.append(f"{STATES[job.status][0].lower()} at {share:.0%}, {ago(job.finished_at)}")
    text = " · ".join(words)
    st.progress(share, text=plain(text[:1].upper() + text[1:]))


def trouble(job: Job) -> None:
    """Why a job ended early, what to do, and the traceback behind a fold."""
    if job.error:
        st.error(plain(job.remedy) or "See its log.", title=plain(job.error), icon=":material/error:")
    if job.traceback:
        with st.expander("Traceback, for developers"):
            st.code(job.traceback, language=None, wrap_lines=True)


def stop_button(job: Job, where: str) -> None:
    stopping = job.stop_requested_at is not None
    if st.button(
        "Stopping" if stopping else "Stop",
        key=f"{where}_stop_{job.id}",
        icon=":material/stop:",
        disabled=stopping,
    ):
        _act(queue.request_stop, job.id)


def controls(job: Job, where: str, deletable: bool = True) -> None:
    """Stop, resume and delete. `where` makes the keys unique on a page."""
    with st.container(horizontal=True, width="content"):
        if job.status in queue.ACTIVE:
            stop_button(job, where)
        if job.status in queue.RESUMABLE and st.button(
            "Resume", key=f"{where}_resume_{job.id}", icon=":material/resume:", type="primary"
        ):
            _act(queue.resume, job.id)
        if (
            deletable
            and job.status != "running"
            and confirmed(
                "Delete",
                "The record, its measurements, its log and its checkpoints go.",
                f"{where}_delete_{job.id}",
            )
        ):
            with guard():
                queue.delete(job.id)
                st.rerun()


def first_active(jobs: Sequence[Job]) -> Job | None:
    """The job at work, else the one whose turn is next; None when nothing moves."""
    moving = [job for job in jobs if job.status in queue.ACTIVE]
    return min(moving, key=lambda job: (job.status != "running", job.id), default=None)


def confirmed(label: str, question: str, key: str) -> bool:
    """A button that asks before it is meant."""
    with st.popover(label, icon=":material/delete:", key=f"{key}_ask"):
        st.text(question)
        return st.button("Delete for good", key=key, type="primary", icon=":material/delete_forever:")


def log_fold(job: Job, where: str) -> None:
    """The end of the log, read only when unfolded."""
    fold = st.expander("Log", icon=":material/article:", key=f"{where}_log_{job.id}", on_change="rerun")
    if fold.open:
        with fold:
            st.code(queue.log_tail(job.id, 60) or "Nothing yet.", language=None, wrap_lines=True, height=320)


def _act(what: Callable[[int], None], job_id: int) -> None:
    with guard():
        what(job_id)
        st.rerun()

"""Jobs on screen: state, progress, time left, and the buttons that act on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from core.jobs import queue
from core.managed import runs as managed
from core.managed.remote_jobs import ENDED
from core.store.tables import Job
from core.train.adapters import keep_checkpoint
from core.train.checkpoints import best_checkpoint, newest_checkpoint, step_of
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
STOPPING = {"": "Pausing", "keep": "Stopping, to keep", "discard": "Stopping, to discard"}


def active(jobs: Sequence[Job]) -> bool:
    return any(job.status in queue.ACTIVE for job in jobs)


def live(draw: Callable[[list[Job]], None], jobs: Callable[[], list[Job]], every: float = POLL_S) -> None:
    """Draw what these jobs do, and again `every` so many seconds while one of them waits or runs.

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

    st.fragment(fragment, run_every=every if polling else None)()


def badge(job: Job) -> None:
    label, icon, colour = state(job)
    st.badge(label, icon=icon, color=colour)  # type: ignore[arg-type]


def state(job: Job) -> tuple[str, str, str]:
    """Label, icon and colour; of a stop, also what is to become of the job."""
    label, icon, colour = STATES[job.status]
    training = job.kind == "train"
    if job.status == "running" and job.stop_requested_at is not None:
        label = STOPPING[job.stop_then] if training else "Stopping"
    elif job.status == "stopped" and job.stop_then == "discard":
        label = "Discarded"
    elif job.status == "stopped" and training and job.started_at is not None and not job.stop_then:
        label, icon = "Paused", ":material/pause_circle:"
    return _bought(job, label), icon, colour


def _bought(job: Job, label: str) -> str:
    """A training at a provider goes on there when this computer looks away: then it is not followed, not stopped."""
    if job.kind != "managed":
        return label
    if job.status == "running" and job.stop_requested_at is not None:
        return "Cancelling" if job.stop_then == "discard" else "Looking away"
    if job.status == "stopped" and job.notes.get("remote_job_id"):
        return "Cancelled" if job.notes.get("remote_status") == "cancelled" else "Not followed"
    return label


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
        # Nobody knows what is left of what takes longer than expected, or shall stop.
        if left is not None and left >= 1 and job.stop_requested_at is None:
            words.append(f"about {duration(left)} left")
    elif job.status == "done":
        # A training was at work for all its attempts; the clock of the job tells the last one's.
        took = (job.result or {}).get("seconds", (job.finished_at or 0) - (job.started_at or 0))
        words.append(f"done in {duration(took)}")
    else:
        words.append(f"{state(job)[0].lower()} at {share:.0%}, {ago(job.finished_at)}")
    text = " · ".join(words)
    st.progress(share, text=plain(text[:1].upper() + text[1:]))


def trouble(job: Job) -> None:
    """Why a job ended early, what to do, and the traceback behind a fold."""
    if job.error:
        st.error(plain(job.remedy) or "See its log.", title=plain(job.error), icon=":material/error:")
    if job.traceback:
        with st.expander("Traceback, for developers"):
            st.code(job.traceback, language=None, wrap_lines=True)


def controls(job: Job, where: str, deletable: bool = True) -> None:
    """What can be done with a job in its state. `where` makes the keys unique on a page."""
    with st.container(horizontal=True, width="content"):
        if job.kind == "managed" and job.status != "queued":
            _bought_stops(job, where)
        elif job.status == "running" and job.kind == "train":
            _training_stops(job, where)
        elif job.status in queue.ACTIVE:
            stop_button(job, where)
        elif job.status in queue.RESUMABLE:
            _go_on(job, where)
        lost = (
            "The record here goes. What the provider has, the job, the files and the model, stays there."
            if job.kind == "managed"
            else "The record, its measurements, its log and its checkpoints go. An adapter it has produced stays."
        )
        if deletable and job.status != "running" and confirmed("Delete", lost, f"{where}_delete_{job.id}"):
            _act(queue.delete, job.id)


def stop_button(job: Job, where: str) -> None:
    """For a job that is merely stopped; one that waits leaves the queue."""
    waits, stopping = job.status == "queued", job.stop_requested_at is not None
    if st.button(
        "Cancel" if waits else "Stopping" if stopping else "Stop",
        key=f"{where}_stop_{job.id}",
        icon=":material/playlist_remove:" if waits else ":material/stop:",
        disabled=stopping,
        help="Takes it out of the queue. It can be resumed later."
        if waits
        else "Stops at its next step, keeping what it has saved. It can be resumed later.",
    ):
        _act(queue.request_stop, job.id)


def _training_stops(job: Job, where: str) -> None:
    """The three ways out of a running training. Until it has stopped, another one can still be chosen."""
    asked = job.stop_then if job.stop_requested_at is not None else None
    if st.button(
        "Pause",
        key=f"{where}_stop_{job.id}",
        icon=":material/pause:",
        disabled=asked == "",
        help="Saves a checkpoint after this step and ends. Resume goes on from there, to the same adapter as without "
        "the pause.",
    ):
        _act(queue.request_stop, job.id)
    if st.button(
        "Stop and keep",
        key=f"{where}_keep_{job.id}",
        icon=":material/download_done:",
        disabled=asked == "keep",
        help="Ends after this step and makes an adapter of what was learned so far. The rest is not trained.",
    ):
        _act(partial(queue.request_stop, then="keep"), job.id)
    if asked != "discard" and confirmed(
        "Stop and discard",
        "It ends after this step and its checkpoints are removed: nothing it learned stays. The curves and the log do.",
        f"{where}_discard_{job.id}",
        yes="Discard for good",
    ):
        _act(partial(queue.request_stop, then="discard"), job.id)


def _bought_stops(job: Job, where: str) -> None:
    """A training at a provider: look away while it goes on there, follow it again, or end it there."""
    stopping = job.stop_requested_at is not None
    there = job.notes.get("remote_status")
    goes_on = there is not None and there not in ENDED
    # One whose cancellation did not get through can be followed again.
    over = job.status == "done" or (job.stop_then == "discard" and not goes_on)
    if job.status == "running":
        if st.button(
            "Stop following",
            key=f"{where}_stop_{job.id}",
            icon=":material/visibility_off:",
            disabled=stopping,
            help="The training goes on at the provider, and is paid for. Follow it again at any time.",
        ):
            _act(queue.request_stop, job.id)
    elif not over and st.button(
        "Follow again" if goes_on else "Try again",
        key=f"{where}_resume_{job.id}",
        icon=":material/visibility:" if goes_on else ":material/refresh:",
        type="primary",
        help="Goes on where it was: what the provider has already is looked for there, and nothing is sent twice."
        if goes_on or not there
        else "It ended at the provider without a model: the same is asked of it once more.",
    ):
        _act(queue.resume, job.id)
    if managed.can_cancel(managed.run_of(job.id)) and confirmed(
        "Cancel at the provider",
        "The training ends there. What it has used until then may still be charged; no model comes of it.",
        f"{where}_cancel_{job.id}",
        yes="Cancel it there",
    ):
        with guard():
            st.toast(plain(managed.cancel(job.id)), icon=":material/cancel:")
            st.rerun()


def _go_on(job: Job, where: str) -> None:
    """Resume, and for a training that has a whole checkpoint, keep."""
    training = job.kind == "train"
    newest, best = _saved(job.id, job.finished_at) if training and job.stop_then != "discard" else (None, None)
    kept = "adapter_id" in job.result
    anew = job.stop_then == "discard" or (training and newest is None)
    how = (
        "Nothing of it was saved: begins anew."
        if anew
        else f"Goes on from the checkpoint at step {newest:,}."
        if training
        else "Goes on from what it saved."
    )
    if st.button(
        "Start again" if anew else "Resume",
        key=f"{where}_resume_{job.id}",
        icon=":material/restart_alt:" if anew else ":material/resume:",
        type="secondary" if kept or job.stop_then == "keep" else "primary",
        help=f"{how} It takes the last place in the queue.",
    ):
        _act(queue.resume, job.id)
    if (
        best is not None
        and not kept
        and st.button(
            "Keep what it learned",
            key=f"{where}_keep_{job.id}",
            icon=":material/download_done:",
            type="primary" if job.stop_then == "keep" else "secondary",
            help=f"Makes an adapter of the checkpoint at step {best:,}: the best by evaluation loss, or the newest "
            "where none was evaluated. The run can still be resumed; what comes of it then is another adapter.",
        )
    ):
        with st.spinner("Copying the weights"):
            _act(keep_checkpoint, job.id)


@st.cache_data(max_entries=500, show_spinner=False)
def _saved(job_id: int, finished_at: float | None) -> tuple[int | None, int | None]:
    """Steps of the newest and the best whole checkpoint; looked up once per end of the job (`finished_at`)."""
    folder = queue.folder(job_id)
    newest, best = newest_checkpoint(folder), best_checkpoint(folder)
    return (step_of(newest) if newest else None), (step_of(best) if best else None)


def turn_buttons(job: Job, line: Sequence[Job], where: str) -> None:
    """Move a waiting job within `line`, those that wait for its device in the order of their turn."""
    ids = [other.id for other in line]
    if len(ids) < 2 or job.id not in ids:
        return
    place, last = ids.index(job.id), len(ids) - 1
    # Before which job it goes; None is the end of the line.
    after_next = ids[place + 2] if place + 2 <= last else None
    with st.container(horizontal=True, width="content"):
        for label, icon, before, useless, meaning in (
            ("First", "vertical_align_top", ids[0], place == 0, "To the front: it starts once the device is free."),
            ("Sooner", "arrow_upward", ids[max(0, place - 1)], place == 0, "One place nearer to the front."),
            ("Later", "arrow_downward", after_next, place == last, "One place nearer to the end."),
        ):
            if st.button(
                label,
                key=f"{where}_{label.lower()}_{job.id}",
                icon=f":material/{icon}:",
                type="tertiary",
                disabled=useless,
                help=meaning,
            ):
                _act(partial(queue.move, before=before), job.id)


def in_turn(job: Job) -> tuple[bool, str, float, int]:
    """Sorts jobs that move: what runs first, then by device in the order of their turn."""
    return job.status != "running", job.device, job.turn, job.id


def first_active(jobs: Sequence[Job]) -> Job | None:
    """The job at work, else the one whose turn is next; None when nothing moves."""
    return min((job for job in jobs if job.status in queue.ACTIVE), key=in_turn, default=None)


def confirmed(label: str, question: str, key: str, yes: str = "Delete for good") -> bool:
    """A button that asks before it is meant."""
    with st.popover(label, icon=":material/delete:", key=f"{key}_ask"):
        st.text(question)
        return st.button(yes, key=key, type="primary", icon=":material/delete_forever:")


def _act(what: Callable[[int], object], job_id: int) -> None:
    with guard():
        what(job_id)
        st.rerun()

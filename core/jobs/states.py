"""From state to state: what ends, what is next and what starts, inside a transaction that excludes all others."""

from __future__ import annotations

import time

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.jobs import launcher
from core.jobs.folders import empty, log_path, log_tail
from core.settings import get_settings
from core.store.tables import Job

ACTIVE = ("queued", "running")
# A job that was asked to stop, and goes on giving signs of life, is ended after so many seconds all the same.
LONGEST_STOP_S = 900.0


def moving(opened: Session) -> list[Job]:
    """What runs or waits, in the order of turn."""
    return list(opened.scalars(sa.select(Job).where(Job.status.in_(ACTIVE)).order_by(Job.turn, Job.id)))


def waiting(opened: Session, device: str) -> list[Job]:
    return [job for job in moving(opened) if job.status == "queued" and job.device == device]


def settle(opened: Session) -> None:
    """Make the record true: jobs whose process is gone are ended, overdue stops are enforced."""
    settings, now = get_settings(), time.time()
    for job in moving(opened):
        if job.pid is None:
            continue
        if job.process_started is None or not launcher.current().is_alive(job.pid, job.process_started):
            _bury(job, now)
        elif job.status == "running" and job.stop_requested_at is not None:
            overdue = now - _waited_since(job) - settings.stop_grace_s
            if overdue >= settings.kill_grace_s:
                launcher.current().kill(job.pid)
            elif overdue >= 0:
                launcher.current().terminate(job.pid)


def _waited_since(job: Job) -> float:
    """When a job that should stop last gave a sign of life; one that never ends in spite of them is ended as well."""
    assert job.stop_requested_at is not None
    return max(job.stop_requested_at, min(job.progress_at or 0.0, job.stop_requested_at + LONGEST_STOP_S))


def _bury(job: Job, now: float) -> None:
    """End a job whose process is gone without having said why."""
    if job.stop_requested_at is not None:
        end(job, "stopped", now)
    elif job.status == "queued":
        end(job, "interrupted", now)
        job.error = "The program that was to run this job ended before its turn came."
        job.remedy = "Resume it to run it in the background."
    elif job.heartbeat_at is None:
        end(job, "failed", now)
        job.error = "The job's process ended before it could begin."
        job.remedy = "The end of its log says why; resume it once that is mended."
        job.traceback = log_tail(job.id)
    else:
        end(job, "interrupted", job.heartbeat_at)
        job.error = "The job's process is gone: it was killed, the machine restarted, or the memory ran out."
        job.remedy = "Resume it: it goes on from what it saved."


def next_up(opened: Session) -> list[Job]:
    """The job whose turn it is on each free device; every other waiting job is told what it waits for."""
    jobs = moving(opened)
    holder = {job.device: job for job in jobs if job.status == "running"}
    ready = []
    for job in jobs:
        if job.status != "queued":
            continue
        message = _unmet(opened, job)
        if not message and job.device in holder:
            other = holder[job.device]
            verb = "runs" if other.status == "running" else "is next"
            message = f"Waits for job {other.id} ({other.title}), which {verb} on {job.device}."
        if not message:
            holder[job.device] = job
            ready.append(job)
        if job.message != message:
            job.message = message
    return ready


def _unmet(opened: Session, job: Job) -> str:
    """The first reason among the jobs that must be done before; empty when there is none."""
    if not job.after:
        return ""
    others = opened.scalars(sa.select(Job).where(Job.id.in_(job.after)))
    states = {other.id: other.status for other in others}
    for other_id in job.after:
        match states.get(other_id):
            case "done":
                continue
            case "queued" | "running":
                return f"Waits for job {other_id}."
            case "failed":
                return f"Waits for job {other_id}, which failed: resume it or cancel this one."
            case "stopped" | "interrupted" as state:
                return f"Waits for job {other_id}, which was {state}: resume it or cancel this one."
            case _:
                return f"Waits for job {other_id}, which was deleted: cancel this one."
    return ""


def start(job: Job) -> bool:
    """Start the job's process. One that cannot be started fails at once, rather than blocking its device."""
    try:
        pid, started = launcher.current().start(job.id, log_path(job.id))
    except OSError as error:
        end(job, "failed", time.time())
        job.error = f"The job's process could not be started: {error}."
        job.remedy = "Check that the home folder can be written to and memory is free, then resume it."
        return False
    mark_running(job, pid, started)
    return True


def mark_running(job: Job, pid: int, process_started: float) -> None:
    job.status, job.pid, job.process_started = "running", pid, process_started
    job.started_at, job.message = time.time(), ""


def end(job: Job, status: str, at: float) -> None:
    """End a job on behalf of its process."""
    job.status, job.finished_at, job.pid, job.process_started = status, at, None, None
    job.message = ""
    throw_away_discarded(job)


def throw_away_discarded(job: Job) -> None:
    """Remove what a job saved, if it was stopped to be discarded."""
    if job.status == "stopped" and job.stop_then == "discard":
        empty(job.id)

"""The queue: one table, and functions that anyone may call. There is no daemon; whoever looks moves it on.

States: `queued` -> `running` -> `done`, `stopped`, `failed` or `interrupted`; the last three can be resumed.
Every change of state happens in a transaction that excludes all others, so the page, the command line and the
ending job may all dispatch at once and each job still starts once. One job runs per device.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.errors import UserError
from core.jobs import launcher
from core.jobs.kinds import HANDLERS
from core.settings import get_settings
from core.store.database import lock, session
from core.store.tables import Job, Metric

ACTIVE = ("queued", "running")
RESUMABLE = ("stopped", "failed", "interrupted")
MetricRow = tuple[int, int, str, float, float]


def submit(
    kind: str,
    spec: dict[str, Any],
    *,
    title: str = "",
    device: str = "cpu",
    after: Sequence[int] = (),
    expected_s: float | None = None,
    start: bool = True,
    reserve: bool = False,
) -> int:
    """Queue a job and return its id; dispatches unless `start` is false.

    `after` names jobs that must be done first. `spec` is stored as it is and shown on screen: JSON only, and
    never a secret. `reserve` keeps the job for the calling process, which will `claim` it.
    """
    if kind not in HANDLERS:
        raise ValueError(f"Unknown kind of job: {kind!r}. Known: {', '.join(HANDLERS)}.")
    json.dumps(spec)
    job = Job(kind=kind, title=title or kind, spec=spec, device=device, after=list(after), expected_s=expected_s)
    if reserve:
        job.pid, job.process_started = os.getpid(), launcher.start_time(os.getpid())
    with _alone() as opened:
        opened.add(job)
    if start:
        dispatch()
    return job.id


def dispatch() -> list[int]:
    """Settle what has ended, start the oldest job that may run on each free device; ids of those started."""
    started = []
    with _alone() as opened:
        _settle(opened)
        # Again after each start, since one that could not be started leaves its device to the next.
        while ready := [job for job in _next_up(opened) if job.pid is None]:
            for job in ready:
                if _start(job):
                    started.append(job.id)
    return started


def reconcile() -> None:
    """Make the record true: jobs whose process is gone are ended, overdue stops are enforced."""
    with _alone() as opened:
        _settle(opened)


def claim(job_id: int) -> bool:
    """Take a job reserved for this process, if its turn has come. Its `message` says what it waits for."""
    with _alone() as opened:
        _settle(opened)
        job = next((job for job in _next_up(opened) if job.id == job_id), None)
        if job is None or job.pid != os.getpid():
            return False
        _mark_running(job, os.getpid(), launcher.start_time(os.getpid()))
        return True


def take_over(job_id: int) -> Job | None:
    """The job's own process begins: from here on it answers for it. None if the job is not this process's.

    Waits for the transaction that started the process: when that failed, the job is still queued and this
    process must do nothing.
    """
    with _alone() as opened:
        job = opened.get(Job, job_id)
        # On Windows, the python of a virtual environment is a small program that starts the real one.
        if job is None or job.status != "running" or job.pid not in (os.getpid(), os.getppid()):
            return None
        job.pid, job.process_started = os.getpid(), launcher.start_time(os.getpid())
        job.heartbeat_at = time.time()
        return job


def request_stop(job_id: int) -> None:
    """Stop a job: at once if it waits; if it runs, at its next step, or by force after the grace periods."""
    with _alone() as opened:
        job = _row(opened, job_id)
        if job.status == "queued":
            _end(job, "stopped", time.time())
        elif job.status == "running" and job.stop_requested_at is None:
            job.stop_requested_at = time.time()


def resume(job_id: int) -> None:
    """Queue an ended job again; it goes on from what it saved. Its progress and metrics are kept."""
    with _alone() as opened:
        job = _row(opened, job_id)
        if job.status not in RESUMABLE:
            raise UserError(f"Job {job_id} is {job.status}.", "Only an ended, unfinished job can be resumed.")
        job.status = "queued"
        job.started_at = job.finished_at = job.heartbeat_at = job.stop_requested_at = None
        job.pid = job.process_started = job.progress_at = job.attempt_since = None
        job.message = job.error = job.remedy = job.traceback = ""
        job.result = {}
    dispatch()


def delete(job_id: int) -> None:
    """Forget a job that does not run: its record, metrics, log and checkpoints."""
    with _alone() as opened:
        job = _row(opened, job_id)
        if job.status == "running":
            raise UserError(f"Job {job_id} is running.", "Stop it first.")
        opened.delete(job)
    shutil.rmtree(_path(job_id), ignore_errors=True)


def get(job_id: int) -> Job:
    """The job as it is now; raises UserError when there is none."""
    with session(read_only=True) as opened:
        return _row(opened, job_id)


def jobs(kind: str | None = None, limit: int = 200) -> list[Job]:
    """The newest jobs, newest first."""
    query = sa.select(Job).order_by(Job.id.desc()).limit(limit)
    if kind is not None:
        query = query.where(Job.kind == kind)
    with session(read_only=True) as opened:
        return list(opened.scalars(query))


def metrics(job_id: int, after_id: int = 0, names: Sequence[str] | None = None) -> list[MetricRow]:
    """(id, step, name, value, time) of everything measured after row `after_id`, in the order it came."""
    query = (
        sa.select(Metric.id, Metric.step, Metric.name, Metric.value, Metric.time)
        .where(Metric.job_id == job_id, Metric.id > after_id)
        .order_by(Metric.id)
    )
    if names is not None:
        query = query.where(Metric.name.in_(names))
    with session(read_only=True) as opened:
        return [
            (id, step, name, float("nan") if value is None else value, at)
            for id, step, name, value, at in opened.execute(query)
        ]


def folder(job_id: int) -> Path:
    """The job's own folder, made if need be: log and checkpoints. `delete` removes it."""
    path = _path(job_id)
    path.mkdir(parents=True, exist_ok=True)
    return path


def log_path(job_id: int) -> Path:
    """The job's log: what it reported and everything its process printed, over all attempts."""
    return folder(job_id) / "log.txt"


def log_tail(job_id: int, lines: int = 40) -> str:
    """The last lines of the log; empty when there is none yet."""
    path = _path(job_id) / "log.txt"
    if not path.exists():
        return ""
    with path.open("rb") as file:
        # A progress bar can make a log long; nobody reads more than its end here.
        file.seek(max(0, path.stat().st_size - 64_000))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])


def time_left(job: Job) -> float | None:
    """Seconds until the job is done, at this attempt's own speed; None when nothing is known yet."""
    if job.status == "queued":
        return job.expected_s
    if job.status != "running" or job.started_at is None:
        return None
    now = time.time()
    if job.attempt_since is not None and job.progress_at is not None and job.done > job.attempt_done:
        speed = (job.done - job.attempt_done) / max(job.progress_at - job.attempt_since, 1e-3)
        return max(0.0, (job.total - job.done) / speed - (now - job.progress_at))
    return None if job.expected_s is None else max(0.0, job.expected_s - (now - job.started_at))


def _path(job_id: int) -> Path:
    return get_settings().home / "jobs" / str(job_id)


@contextmanager
def _alone() -> Iterator[Session]:
    with session() as opened:
        lock(opened)
        yield opened


def _row(opened: Session, job_id: int) -> Job:
    job = opened.get(Job, job_id)
    if job is None:
        raise UserError(f"There is no job {job_id}.", "It may have been deleted; see the list of jobs.")
    return job


def _active(opened: Session) -> list[Job]:
    return list(opened.scalars(sa.select(Job).where(Job.status.in_(ACTIVE)).order_by(Job.id)))


def _settle(opened: Session) -> None:
    settings, now = get_settings(), time.time()
    for job in _active(opened):
        if job.pid is None:
            continue
        if job.process_started is None or not launcher.current().is_alive(job.pid, job.process_started):
            _bury(job, now)
        elif job.status == "running" and job.stop_requested_at is not None:
            overdue = now - job.stop_requested_at - settings.stop_grace_s
            if overdue >= settings.kill_grace_s:
                launcher.current().kill(job.pid)
            elif overdue >= 0:
                launcher.current().terminate(job.pid)


def _bury(job: Job, now: float) -> None:
    """End a job whose process is gone without having said why."""
    if job.stop_requested_at is not None:
        _end(job, "stopped", now)
    elif job.status == "queued":
        _end(job, "interrupted", now)
        job.error = "The program that was to run this job ended before its turn came."
        job.remedy = "Resume it to run it in the background."
    elif job.heartbeat_at is None:
        _end(job, "failed", now)
        job.error = "The job's process ended before it could begin."
        job.remedy = "The end of its log says why; resume it once that is mended."
        job.traceback = log_tail(job.id)
    else:
        _end(job, "interrupted", job.heartbeat_at)
        job.error = "The job's process is gone: it was killed, the machine restarted, or the memory ran out."
        job.remedy = "Resume it: it goes on from what it saved."


def _next_up(opened: Session) -> list[Job]:
    """The job whose turn it is on each free device; every other waiting job is told what it waits for."""
    active = _active(opened)
    holder = {job.device: job for job in active if job.status == "running"}
    ready = []
    for job in active:
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


def _start(job: Job) -> bool:
    """Start the job's process. One that cannot be started fails at once, rather than blocking its device."""
    try:
        pid, started = launcher.current().start(job.id, log_path(job.id))
    except OSError as error:
        _end(job, "failed", time.time())
        job.error = f"The job's process could not be started: {error}."
        job.remedy = "Check that the home folder can be written to and memory is free, then resume it."
        return False
    _mark_running(job, pid, started)
    return True


def _mark_running(job: Job, pid: int, process_started: float) -> None:
    job.status, job.pid, job.process_started = "running", pid, process_started
    job.started_at, job.message = time.time(), ""


def _end(job: Job, status: str, at: float) -> None:
    job.status, job.finished_at, job.pid, job.process_started = status, at, None, None
    job.message = ""

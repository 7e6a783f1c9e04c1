"""The queue: one table, and functions that anyone may call. There is no daemon; whoever looks moves it on.

States: `queued` -> `running` -> `done`, `stopped`, `failed` or `interrupted`; the last three can be resumed.
Waiting jobs of a device start in the order of their turn, which a person can change.
Every change of state happens in a transaction that excludes all others, so the page, the command line and the
ending job may all dispatch at once and each job still starts once. One job runs per device.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.errors import UserError
from core.jobs import launcher, states
from core.jobs.folders import folder as folder
from core.jobs.folders import log_path as log_path
from core.jobs.folders import log_tail as log_tail
from core.jobs.folders import remove
from core.jobs.kinds import HANDLERS
from core.jobs.states import ACTIVE as ACTIVE
from core.store.database import lock, session
from core.store.tables import Job, Metric

RESUMABLE = ("stopped", "failed", "interrupted")
Then = Literal["", "keep", "discard"]
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
    """Settle what has ended, start the next job that may run on each free device; ids of those started."""
    started = []
    with _alone() as opened:
        states.settle(opened)
        # Again after each start, since one that could not be started leaves its device to the next.
        while ready := [job for job in states.next_up(opened) if job.pid is None]:
            for job in ready:
                if states.start(job):
                    started.append(job.id)
    return started


def reconcile() -> None:
    """Make the record true, without starting anything."""
    with _alone() as opened:
        states.settle(opened)


def claim(job_id: int) -> bool:
    """Take a job reserved for this process, if its turn has come. Its `message` says what it waits for."""
    with _alone() as opened:
        states.settle(opened)
        job = next((job for job in states.next_up(opened) if job.id == job_id), None)
        if job is None or job.pid != os.getpid():
            return False
        states.mark_running(job, os.getpid(), launcher.start_time(os.getpid()))
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


def request_stop(job_id: int, then: Then = "") -> None:
    """Stop a job: at once if it waits; if it runs, at its next step, or by force after the grace periods.

    `then` says what becomes of it; a later request may change that:

    - "": it ends `stopped` and can be resumed from what it saved.
    - "keep": its handler finishes with what it has and the job ends `done`. One that waits, knows no such end or had
      to be killed ends `stopped`; what it had saved is still there, to be resumed or kept.
    - "discard": it ends `stopped`, and all it saved in its folder is removed, except the log. Resumed, it starts
      from the beginning.
    """
    with _alone() as opened:
        job = _row(opened, job_id)
        if job.status not in ACTIVE:
            return
        job.stop_then = then
        if job.status == "queued":
            states.end(job, "stopped", time.time())
        elif job.stop_requested_at is None:
            job.stop_requested_at = time.time()


def throw_away_discarded(job_id: int) -> None:
    """Remove what a job saved, if it was stopped to be discarded: the last deed of its process."""
    with _alone() as opened:
        job = opened.get(Job, job_id)
        if job is not None:
            states.throw_away_discarded(job)


def resume(job_id: int) -> None:
    """Queue an ended job again, behind those that wait; it goes on from what it saved.

    Its progress, notes and metrics are kept, unless it was discarded: then it begins anew.
    """
    with _alone() as opened:
        job = _row(opened, job_id)
        if job.status not in RESUMABLE:
            raise UserError(f"Job {job_id} is {job.status}.", "Only an ended, unfinished job can be resumed.")
        if job.stop_then == "discard":
            # Its process may have been killed before it came to that.
            states.throw_away_discarded(job)
            opened.execute(sa.delete(Metric).where(Metric.job_id == job_id))
            job.done = job.total = 0.0
            job.notes = {}
        job.status, job.turn, job.stop_then = "queued", time.time(), ""
        job.started_at = job.finished_at = job.heartbeat_at = job.stop_requested_at = None
        job.pid = job.process_started = job.progress_at = job.attempt_since = None
        job.message = job.error = job.remedy = job.traceback = ""
        job.result = {}
    dispatch()


def waiting(device: str) -> list[Job]:
    """The jobs that wait for this device, the next one first."""
    with session(read_only=True) as opened:
        return states.waiting(opened, device)


def move(job_id: int, before: int | None) -> None:
    """Give a waiting job its turn just before another one that waits for the same device; None: after all of them.

    Raises UserError when either of them does not wait any more. A job still starts only after those it needs.
    """
    with _alone() as opened:
        job = _row(opened, job_id)
        line = states.waiting(opened, job.device)
        others = [other for other in line if other is not job]
        if job not in line:
            raise UserError(f"Job {job_id} is {job.status}.", "Only a job that waits can be moved.")
        place = len(others)
        if before is not None:
            ids = [other.id for other in others]
            if before not in ids:
                raise UserError(f"Job {before} does not wait for {job.device}.", "It may have started; look again.")
            place = ids.index(before)
        others.insert(place, job)
        # The same turns, dealt anew: whoever comes later still comes after them all.
        turns = [other.turn for other in line]
        for i, moved in enumerate(others):
            moved.turn = turns[i] = max(turns[i], math.nextafter(turns[i - 1], math.inf)) if i else turns[0]


def delete(job_id: int) -> None:
    """Forget a job that does not run: its record, metrics, log and checkpoints."""
    with _alone() as opened:
        job = _row(opened, job_id)
        if job.status == "running":
            raise UserError(f"Job {job_id} is running.", "Stop it first.")
        opened.delete(job)
    remove(job_id)


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

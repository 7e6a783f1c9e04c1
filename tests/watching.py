"""Jobs in processes of their own, watched by tests as a page watches them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from core.jobs import queue
from core.store.tables import Job


def until(job_id: int, described: Callable[[Job], bool], seconds: float = 60) -> Job:
    """The job once it is as described; moves the queue on like a page that looks."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        queue.dispatch()
        job = queue.get(job_id)
        if described(job):
            return job
        time.sleep(0.05)
    raise AssertionError(f"job {job_id} is {job.status}: {job.error} {job.traceback} {queue.log_tail(job_id)}")


def kill_survivors() -> None:
    """No job outlives its test."""
    for job in queue.jobs():
        if job.status == "running" and job.pid is not None and job.pid != os.getpid():
            with suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)

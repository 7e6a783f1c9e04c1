"""Jobs of the tests run in real processes; none outlives its test."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from core.jobs import kinds, launcher, queue
from core.store.tables import Job
from tests.jobs import runner

Wait = Callable[[int, Callable[[Job], bool]], Job]


@pytest.fixture(autouse=True)
def kinds_of_the_tests(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The handlers of the tests, and a quick heartbeat."""
    monkeypatch.setenv("LOWEST_RUNG_HEARTBEAT_S", "0.5")
    before, usual = dict(kinds.HANDLERS), launcher.current()
    runner.prepare()
    yield
    for job in queue.jobs():
        if job.status == "running" and job.pid is not None and job.pid != os.getpid():
            with suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
    launcher.use(usual)
    kinds.HANDLERS.clear()
    kinds.HANDLERS.update(before)


@pytest.fixture
def wait() -> Wait:
    """Wait until the job is as described, moving the queue on like a page that looks; at most 20 s."""

    def until(job_id: int, described: Callable[[Job], bool]) -> Job:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            queue.dispatch()
            job = queue.get(job_id)
            if described(job):
                return job
            time.sleep(0.05)
        raise AssertionError(f"job {job_id} is {job.status}: {job.error} {job.traceback} {queue.log_tail(job_id)}")

    return until

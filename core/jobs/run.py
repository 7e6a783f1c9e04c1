"""The process of a job: `python -m core.jobs.run ID`, or the same in the foreground of the command line.

Runs the handler, records how it ended in words a person can act on, then dispatches the next job.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.jobs import kinds, queue
from core.jobs.context import JobContext, OnProgress, Stopped
from core.jobs.failures import explain
from core.jobs.recorder import Recorder
from core.store.tables import Job

WAIT_S = 0.5
# Enough for the database to take in the last record, freed when the disk has filled up meanwhile.
RESERVE_BYTES = 512 * 1024


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; the fields are columns of the job."""

    status: str
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    remedy: str = ""
    traceback: str = ""


def execute(job_id: int, on_progress: OnProgress | None = None) -> str:
    """Run a job that has been given to this process, to its end; returns the status it ended with.

    Raises LookupError when the job is not this process's.
    """
    job = queue.take_over(job_id)
    if job is None:
        raise LookupError(f"Job {job_id} was not given to this process.")
    context = JobContext(job.id, job.spec, queue.folder(job.id), job.device, job.notes)
    if on_progress is not None:
        context.on_progress.append(on_progress)
    context.log(f"Job {job.id} begins: {job.title} ({job.kind}, {job.device}).")
    recorder = Recorder(context)
    with _signals_ask_to_stop(context), _reserve(context.folder) as reserve:
        recorder.start()
        outcome = _run(job.kind, context)
        reserve.unlink(missing_ok=True)
        context.log(f"Job {job.id} ends: {outcome.status}. {outcome.error} {outcome.remedy}".rstrip())
        # The message said what was going on; once nothing is, it would only mislead.
        recorder.finish(
            status=outcome.status,
            finished_at=time.time(),
            message="",
            pid=None,
            process_started=None,
            error=outcome.error,
            remedy=outcome.remedy,
            traceback=outcome.traceback,
            result=outcome.result,
        )
    queue.throw_away_discarded(job_id)
    queue.dispatch()
    return queue.get(job_id).status if recorder.lost else outcome.status


def run_foreground(
    kind: str,
    spec: dict[str, Any],
    *,
    title: str = "",
    device: str = "cpu",
    after: Sequence[int] = (),
    expected_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> Job:
    """Queue a job, wait for its turn, run it in this process, and return it as it ended.

    While it waits, `on_progress` gets (0, 0, what it waits for). Ctrl-C stops it at its next step and keeps
    what it saved; a second Ctrl-C stops it at once.
    """
    job_id = queue.submit(
        kind,
        spec,
        title=title,
        device=device,
        after=after,
        expected_s=expected_s,
        start=False,
        reserve=True,
    )
    try:
        while not queue.claim(job_id):
            job = queue.get(job_id)
            if job.status != "queued":
                return job
            if on_progress is not None:
                on_progress(0, 0, job.message)
            time.sleep(WAIT_S)
    except KeyboardInterrupt:
        queue.request_stop(job_id)
        return queue.get(job_id)
    execute(job_id, on_progress)
    return queue.get(job_id)


def _run(kind: str, context: JobContext) -> Outcome:
    try:
        result = kinds.load(kind)(context) or {}
        # Refused here, where the handler can still be blamed, and not in the last write.
        json.dumps(result)
        return Outcome("done", result)
    except (Stopped, KeyboardInterrupt):
        return Outcome("stopped")
    except BaseException as error:
        what, remedy = explain(error)
        text = traceback.format_exc()
        context.log(text)
        return Outcome("failed", error=what, remedy=remedy, traceback=text)


@contextmanager
def _signals_ask_to_stop(context: JobContext) -> Iterator[None]:
    """SIGTERM and Ctrl-C become a stop request; a second Ctrl-C interrupts. Signals need the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _frame: object) -> None:
        if number == signal.SIGINT:
            if context.stop_requested():
                raise KeyboardInterrupt
            sys.stderr.write("Stopping at the next step; press Ctrl-C again to stop at once.\n")
        context.request_stop()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _reserve(folder: Path) -> Iterator[Path]:
    """A file that keeps some of the disk back, so that a job that fills it can still record that it did."""
    path = folder / "reserve.bin"
    # On a disk that is full already, the job will find out by itself.
    with suppress(OSError):
        path.write_bytes(b"\0" * RESERVE_BYTES)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def main(job_id: int) -> int:
    """Exit code 0 if the job is done, 1 if it ended otherwise, 2 if it was not this process's."""
    try:
        return 0 if execute(job_id) == "done" else 1
    except LookupError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

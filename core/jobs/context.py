"""What a job's handler holds in its hands: it reports here, and asks here whether it should stop.

Nothing here waits for the database: reports are collected, and the recorder's thread writes them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

OnProgress = Callable[[float, float, str], None]


class Stopped(Exception):
    """Raised in the handler when the job was asked to stop; what should be kept is saved before it leaves."""


class JobContext:
    """One attempt at one job.

    `folder` is the job's own and survives from attempt to attempt: checkpoints go there. Functions appended
    to `on_progress` are called with (done, total, message), in the handler's thread.
    """

    def __init__(self, job_id: int, spec: dict[str, Any], folder: Path, device: str = "cpu") -> None:
        self.job_id = job_id
        self.spec = spec
        self.folder = folder
        self.device = device
        self.on_progress: list[OnProgress] = []
        self._stopping = False
        self._lock = threading.Lock()
        self._metrics: list[dict[str, Any]] = []
        self._progress: dict[str, Any] = {}
        self._phase: tuple[float, float, float] | None = None
        self._latest = (0.0, 0.0)

    def progress(self, done: float, total: float, message: str = "") -> None:
        """`done` of `total`, in the job's own unit, and what is happening, for a person to read.

        Report the starting point too: the speed, and so the time left, is measured from the first report of
        an attempt, and afresh when `total` changes or `done` goes back.
        """
        now = time.time()
        with self._lock:
            if self._phase is None or self._latest[1] != total or done < self._latest[0]:
                self._phase = (done, total, now)
            self._latest = (done, total)
            self._progress = {
                "done": float(done),
                "total": float(total),
                "message": message,
                "progress_at": now,
                "attempt_done": float(self._phase[0]),
                "attempt_since": self._phase[2],
            }
        for callback in self.on_progress:
            callback(done, total, message)

    def metric(self, step: int, **values: float) -> None:
        """Values measured at a step, by name. Cheap enough for every step."""
        now = time.time()
        rows = [
            {"job_id": self.job_id, "step": step, "name": name, "value": _number(value), "time": now}
            for name, value in values.items()
        ]
        with self._lock:
            self._metrics += rows

    def stop_requested(self) -> bool:
        """Whether the job should stop; known at most half a second after the request, and free to ask.

        A handler that ends early because of it must leave through `check_stop`, or it will be taken for done.
        """
        return self._stopping

    def check_stop(self) -> None:
        """Raise Stopped if the job should stop."""
        if self._stopping:
            raise Stopped

    def request_stop(self) -> None:
        """Make `stop_requested` true. A plain assignment, since signal handlers call it."""
        self._stopping = True

    def log(self, text: str) -> None:
        """Append to the job's log, with the time."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        # Hours of training are worth more than a line about them: a full disk costs the line, not the job.
        with suppress(OSError), (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {text}\n")

    def has_news(self) -> bool:
        """Whether there is anything to collect."""
        return bool(self._metrics or self._progress)

    def collected(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Metric rows, and the job's columns about progress, reported since the last call."""
        with self._lock:
            rows, progress = self._metrics, self._progress
            self._metrics, self._progress = [], {}
        return rows, progress

    def give_back(self, rows: list[dict[str, Any]], progress: dict[str, Any]) -> None:
        """Keep for later what `collected` gave and could not be written."""
        with self._lock:
            self._metrics = rows + self._metrics
            self._progress = self._progress or progress


def _number(value: float) -> float | None:
    """NaN becomes None: SQLite has no NaN, and PostgreSQL's would be another thing on the same chart."""
    number = float(value)
    return None if math.isnan(number) else number

"""What a job's handler holds in its hands: it reports here, and asks here whether it should stop.

Nothing here waits for the database: reports are collected, and the recorder's thread writes them.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

LOG = "log.txt"
OnProgress = Callable[[float, float, str], None]


class Stopped(Exception):
    """Raised in the handler when the job was asked to stop; what should be kept is saved before it leaves."""


class JobContext:
    """One attempt at one job.

    `folder` is the job's own and survives from attempt to attempt: checkpoints go there. `notes` is what was noted
    so far, by this attempt and those before it. Functions appended to `on_progress` are called with
    (done, total, message), in the handler's thread.
    """

    def __init__(
        self,
        job_id: int,
        spec: dict[str, Any],
        folder: Path,
        device: str = "cpu",
        notes: dict[str, Any] | None = None,
    ) -> None:
        self.job_id = job_id
        self.spec = spec
        self.folder = folder
        self.device = device
        self.notes: dict[str, Any] = dict(notes or {})
        self.on_progress: list[OnProgress] = []
        self._stopping = False
        self._then = ""
        self._lock = threading.Lock()
        self._metrics: list[dict[str, Any]] = []
        self._columns: dict[str, Any] = {}
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
            self._columns |= {
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

    def note(self, **fields: Any) -> None:
        """What the job found along the way, for its screen: each field replaces the one of that name.

        Plain data, as JSON takes it; NaN and infinity become None. For moments, not for every step: all notes are
        written anew each time.
        """
        # Copied by way of JSON: what the handler does to its lists later is not noted, nor seen half done.
        copied = json.loads(json.dumps(fields), parse_constant=lambda _: None)
        with self._lock:
            self.notes = self.notes | copied
            self._columns["notes"] = self.notes

    def stop_requested(self) -> bool:
        """Whether the job should stop; known at most half a second after the request, and free to ask.

        A handler that ends early because of it must leave through `check_stop`, or it will be taken for done.
        """
        return self._stopping

    @property
    def stop_then(self) -> str:
        """What becomes of it once stopped: "" to be resumed later, "keep" or "discard"; see `queue.request_stop`."""
        return self._then

    def check_stop(self) -> None:
        """Raise Stopped if the job should stop."""
        if self._stopping:
            raise Stopped

    def request_stop(self, then: str | None = None) -> None:
        """Make `stop_requested` true, and set `stop_then` unless it is None. Takes no lock: signal handlers call it."""
        if then is not None:
            self._then = then
        self._stopping = True

    def log(self, text: str) -> None:
        """Append to the job's log, with the time."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        # Hours of training are worth more than a line about them: a full disk costs the line, not the job.
        with suppress(OSError), (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {text}\n")

    def has_news(self) -> bool:
        """Whether there is anything to collect."""
        return bool(self._metrics or self._columns)

    def collected(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Metric rows, and the job's columns about progress and notes, reported since the last call."""
        with self._lock:
            rows, columns = self._metrics, self._columns
            self._metrics, self._columns = [], {}
        return rows, columns

    def give_back(self, rows: list[dict[str, Any]], columns: dict[str, Any]) -> None:
        """Keep for later what `collected` gave and could not be written."""
        with self._lock:
            self._metrics = rows + self._metrics
            self._columns = columns | self._columns


def _number(value: float) -> float | None:
    """NaN becomes None: SQLite has no NaN, and PostgreSQL's would be another thing on the same chart."""
    number = float(value)
    return None if math.isnan(number) else number

"""How far a running experiment is: one bar for the whole, and a line for each rung."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

# All notes of a job are written anew each time.
NOTE_EVERY_S = 1.0


class Board:
    """`note` is given {rung: {"done", "total", "state", "reused"}}; states are waiting, running, failed and done."""

    def __init__(self, progress: Callable[[float, float, str], None], note: Callable[[dict[str, Any]], None]) -> None:
        self._progress, self._note = progress, note
        self._rungs: dict[str, dict[str, Any]] = {}
        self._done = self._total = 0
        self._noted_at = 0.0

    def say(self, message: str) -> None:
        """Something other than answering is going on."""
        self._progress(self._done, self._total, message)

    def add(self, rung: str, total: int, missing: Sequence[int]) -> None:
        """A rung that needs `total` answers, with the effort of each that is still missing.

        Those that are there count as much as the missing ones do on average.
        """
        done = total - len(missing)
        self._rungs[rung] = {"done": done, "total": total, "state": "waiting" if missing else "done", "reused": 0}
        before = round(done * sum(missing) / len(missing)) if missing else done
        self._done += before
        self._total += before + sum(missing)

    def begin(self, rungs: Iterable[str]) -> None:
        self._enter(rungs, "running")
        self._tell(now=True)

    def fail(self, rungs: Iterable[str]) -> None:
        self._enter(rungs, "failed")
        self._tell(now=True)

    def advance(self, answers: Iterable[tuple[str, int, bool]]) -> None:
        """Answers were stored: (rung, effort, whether it was known already)."""
        for rung, effort, reused in answers:
            row = self._rungs[rung]
            row["done"] += 1
            row["reused"] += reused
            self._done += effort
            if row["done"] == row["total"]:
                row["state"] = "done"
        self._tell(now=False)

    def finish(self) -> None:
        self._tell(now=True)

    def _enter(self, rungs: Iterable[str], state: str) -> None:
        for rung in set(rungs):
            self._rungs[rung]["state"] = state

    def _tell(self, *, now: bool) -> None:
        counts = Counter[str]()
        for row in self._rungs.values():
            counts["done"] += row["done"]
            counts["total"] += row["total"]
        running = [rung for rung, row in self._rungs.items() if row["state"] == "running"]
        of = f"{counts['done']} of {counts['total']} answers"
        self._progress(self._done, self._total, f"{', '.join(running)}: {of}" if running else of)
        if now or time.monotonic() - self._noted_at >= NOTE_EVERY_S:
            self._noted_at = time.monotonic()
            self._note(self._rungs)

"""Who listens to a run, and what it is told. Light: screens import it by way of the job."""

from __future__ import annotations

import time
from typing import Any, Protocol

from core.train.samples import Question


class Recorder(Protocol):
    """Who listens to a run: a job's context with the samples' table behind it, or a list in memory."""

    @property
    def notes(self) -> dict[str, Any]: ...
    @property
    def stop_then(self) -> str: ...
    def progress(self, done: float, total: float, message: str = "") -> None: ...
    def metric(self, step: int, **values: float) -> None: ...
    def note(self, **fields: Any) -> None: ...
    def stop_requested(self) -> bool: ...
    def sample(self, step: int, questions: list[Question], answers: list[str]) -> None: ...


def add_event(recorder: Recorder, step: int, text: str) -> None:
    """Something worth a mark on the curves, in words."""
    event = {"step": step, "time": time.time(), "text": text}
    recorder.note(events=[*recorder.notes.get("events", []), event])

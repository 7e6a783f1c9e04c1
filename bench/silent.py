"""A recorder that writes nothing down: what a benchmark measures is then the training alone."""

from __future__ import annotations

from typing import Any


class Silent:
    """To be subclassed for what a benchmark does want to know."""

    stop_then = ""

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}

    def progress(self, done: float, total: float, message: str = "") -> None: ...

    def metric(self, step: int, **values: float) -> None: ...

    def note(self, **fields: Any) -> None:
        self.notes |= fields

    def sample(self, step: int, questions: list[Any], answers: list[str]) -> None: ...

    def stop_requested(self) -> bool:
        return False

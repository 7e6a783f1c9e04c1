"""A recorder that keeps in memory what a run tells it."""

from __future__ import annotations

from typing import Any


class Notes:
    """May ask for a stop at a step, to go on later or (`then`) to keep or discard what there is."""

    def __init__(self, stop_at: int | None = None, then: str = "") -> None:
        self.stop_at = stop_at
        self.stop_then = then
        self.done = 0.0
        self.messages: list[str] = []
        self.values: dict[int, dict[str, float]] = {}
        self.answers: dict[int, list[str]] = {}
        self.notes: dict[str, Any] = {}

    def progress(self, done: float, total: float, message: str = "") -> None:
        self.done = done
        self.messages.append(message)

    def metric(self, step: int, **values: float) -> None:
        self.values.setdefault(step, {}).update(values)

    def note(self, **fields: Any) -> None:
        self.notes |= fields

    def sample(self, step: int, questions: list[Any], answers: list[str]) -> None:
        self.answers[step] = answers

    def stop_requested(self) -> bool:
        return self.stop_at is not None and self.done >= self.stop_at

    def losses(self, name: str = "loss") -> dict[int, float]:
        return {step: values[name] for step, values in sorted(self.values.items()) if name in values}

    def checks(self) -> dict[str, dict[str, Any]]:
        return {check["name"]: check for check in self.notes["preflight"]}

    def events(self) -> list[str]:
        return [event["text"] for event in self.notes.get("events", [])]

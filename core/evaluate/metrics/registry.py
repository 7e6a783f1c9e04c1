"""How a metric makes itself known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Score = Callable[[str, str], float]
REGISTERED: dict[str, Metric] = {}


@dataclass(frozen=True)
class Metric:
    """A score from 0 to 1 for one prediction, higher being better. `kind` decides which statistics apply."""

    name: str
    title: str
    kind: Literal["binary", "continuous"]
    score: Score

    @property
    def phrase(self) -> str:
        """The title as it stands inside a sentence: "exact match", but "JSON keys matched"."""
        return self.title if self.title[:2].isupper() else self.title[0].lower() + self.title[1:]

    @property
    def explanation(self) -> str:
        """The first sentence of the function's docstring, for tooltips."""
        return (self.score.__doc__ or "").strip().split("\n")[0]


def metric(name: str, *, title: str, kind: Literal["binary", "continuous"]) -> Callable[[Score], Score]:
    """Register the decorated function as the metric `name`."""

    def register(score: Score) -> Score:
        REGISTERED[name] = Metric(name, title, kind, score)
        return score

    return register

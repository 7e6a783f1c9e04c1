"""How a metric makes itself known."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from core.errors import UserError

Kind = Literal["binary", "continuous"]
Family = Literal["text", "labels", "json", "facts", "retrieval", "format", "language", "code", "judge", "own"]
Need = Literal["reference", "passages", "label", "context"]
Cost = Literal["cheap", "slow", "paid"]


@dataclass(frozen=True)
class Answer:
    """What a metric sees of one answer. `passages`: what was retrieved, as predictions store it."""

    output: str
    reference: str
    messages: Sequence[Mapping[str, Any]] = ()
    label: str | None = None
    context: str | None = None
    passages: Sequence[Mapping[str, Any]] = ()
    retrieval: bool = False
    output_tokens: int = 0
    finish_reason: str | None = None
    example_id: int = 0


@dataclass(frozen=True)
class Scored:
    """A value from 0 to 1, None where the metric does not apply to the rung; and why, as plain data."""

    value: float | None
    notes: Mapping[str, Any] = field(default_factory=dict)


class Unfinished(Exception):
    """A metric had to end early, for the reason it is raised from. `values`: one per answer, None where it did not get.

    What was paid for by then is stored, and not asked again.
    """

    def __init__(self, values: Sequence[Scored | None]) -> None:
        super().__init__(f"{sum(value is None for value in values)} of {len(values)} answers are not scored yet")
        self.values = values


Value = float | Scored | None
# All metrics end up in this form: answers and their settings in, a value for each out.
ScoreAll = Callable[[Sequence[Answer], Any], Sequence[Value]]
REGISTERED: dict[str, Metric] = {}


@dataclass(frozen=True)
class Metric:
    """A score from 0 to 1 for each answer, higher being better. `kind` decides which statistics apply.

    `needs`: what an example must have for it to make sense. `cost`: cheap ones are reckoned while answers come in.
    """

    name: str
    title: str
    kind: Kind
    family: Family
    needs: frozenset[Need]
    settings: type[BaseModel] | None
    cost: Cost
    explanation: str
    """One sentence, for tooltips."""
    run: ScoreAll
    version: str = ""
    """Part of its identity: hash of what may change while name and settings stay, as the code of one's own function."""

    @property
    def phrase(self) -> str:
        """The title as it stands inside a sentence: "exact match", but "JSON keys matched"."""
        return self.title if self.title[:2].isupper() else self.title[0].lower() + self.title[1:]

    def read_settings(self, settings: Mapping[str, Any] | BaseModel | None) -> BaseModel | None:
        """The settings checked, defaults filled in; None for a metric without. Raises UserError."""
        if self.settings is None:
            if settings:
                raise UserError(f"The metric {self.name} has no settings.", "Leave them out.")
            return None
        if isinstance(settings, BaseModel):
            return settings
        try:
            return self.settings.model_validate(dict(settings or {}))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "settings"
            raise UserError(
                f"The metric {self.name}: {place} is not usable: {str(first['msg']).removeprefix('Value error, ')}.",
                f"Known settings: {', '.join(self.settings.model_fields)}.",
            ) from error

    def score_all(
        self, answers: Sequence[Answer], settings: Mapping[str, Any] | BaseModel | None = None
    ) -> list[Scored]:
        """One value per answer, in their order."""
        values = self.run(answers, self.read_settings(settings))
        return [value if isinstance(value, Scored) else Scored(value) for value in values]

    def score(self, output: str, reference: str) -> float:
        """One answer by its two texts alone, for metrics that see nothing else; 0 where it does not apply."""
        return self.score_all([Answer(output, reference)])[0].value or 0.0


def metric(
    name: str,
    *,
    title: str,
    kind: Kind,
    family: Family = "text",
    needs: Sequence[Need] = ("reference",),
    cost: Cost = "cheap",
) -> Callable[[Callable[[str, str], float]], Callable[[str, str], float]]:
    """Register f(prediction, reference) -> value."""

    def register(score: Callable[[str, str], float]) -> Callable[[str, str], float]:
        registered = answer_metric(name, title=title, kind=kind, family=family, needs=needs, cost=cost)
        registered(wraps(score)(lambda answer: score(answer.output, answer.reference)))
        return score

    return register


def answer_metric(
    name: str,
    *,
    title: str,
    kind: Kind,
    family: Family,
    needs: Sequence[Need] = (),
    settings: type[BaseModel] | None = None,
    cost: Cost = "cheap",
) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """Register f(answer) -> value, or f(answer, settings) -> value where there are settings."""

    def register(score: Callable[..., Value]) -> Callable[..., Value]:
        @wraps(score)
        def run(answers: Sequence[Answer], chosen: Any) -> list[Value]:
            return [score(answer) if settings is None else score(answer, chosen) for answer in answers]

        batch_metric(name, title=title, kind=kind, family=family, needs=needs, settings=settings, cost=cost)(run)
        return score

    return register


def batch_metric(
    name: str,
    *,
    title: str,
    kind: Kind,
    family: Family,
    needs: Sequence[Need] = (),
    settings: type[BaseModel] | None = None,
    cost: Cost = "slow",
    version: str = "",
) -> Callable[[ScoreAll], ScoreAll]:
    """Register f(answers, settings) -> a value for each, for what is cheaper many at a time."""

    def register(score: ScoreAll) -> ScoreAll:
        explanation = (inspect.getdoc(score) or "").split("\n")[0]
        needed = frozenset(needs)
        REGISTERED[name] = Metric(name, title, kind, family, needed, settings, cost, explanation, score, version)
        return score

    return register


def identity_of(metric: Metric, settings: Mapping[str, Any]) -> str:
    """What scores are stored under: the name, and a hash of the settings that differ from the usual ones."""
    read = metric.read_settings(settings)
    changed = read.model_dump(mode="json", exclude_defaults=True) if read is not None else {}
    if not changed and not metric.version:
        return metric.name
    written = json.dumps([changed, metric.version], sort_keys=True, ensure_ascii=True)
    return f"{metric.name}:{hashlib.sha256(written.encode()).hexdigest()[:8]}"

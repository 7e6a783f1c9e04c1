"""What stands in the wizard's files: questions, thresholds, rules and texts (assets/decide)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# A condition as it stands in the files; core.decide.conditions says what it means.
Condition = dict[str, Any]
Number = float | dt.date
Kind = Literal["choice", "yes_no", "number"]
TODAY = "today"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Question(_Strict):
    """One question. `options` are the answers of a choice; `typical` the buttons of a number, value to words.

    `presume` is what an open question counts as; `likely` only weighs ways to answer it when confidence is told.
    """

    id: str
    kind: Kind
    text: str
    short: str
    help: str
    example: str
    ask: Condition = Field(default_factory=dict)
    presume: bool | None = None
    likely: bool | None = None
    options: dict[str, str] = Field(default_factory=dict)
    unit: str = ""
    most: float = 0
    typical: dict[float, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Question:
        if self.kind == "choice" and not self.options:
            raise ValueError(f"{self.id} is a choice without options")
        if self.kind == "number" and not (self.typical and self.unit and self.most):
            raise ValueError(f"{self.id} is a number and needs unit, most and typical")
        return self

    def values(self) -> list[str | bool | float]:
        """Every answer that can be given by one click."""
        if self.kind == "choice":
            return list(self.options)
        return [True, False] if self.kind == "yes_no" else list(self.typical)


class Threshold(_Strict):
    value: float | dt.date
    unit: str
    why: str


class Branch(_Strict):
    """Where a test leads (`to` a test or a rung) and `because` of what; `less_flexible` defends a climb."""

    to: str
    because: str
    less_flexible: str = ""


class Test(_Strict):
    """One yes-or-no test of the tree: `then` when it holds."""

    asks: str
    short: str
    when: Condition
    then: Branch
    otherwise: Branch


class Said(_Strict):
    """A text that is said when its condition holds."""

    text: str
    title: str = ""
    when: Condition = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value


class Next(_Strict):
    rungs: list[str]
    when: Condition = Field(default_factory=dict)


class RungText(_Strict):
    """What is said about a rung.

    `spoken`: its name within a sentence; `stand_in`: the rung that Compare measures for it; `ladder`: the rung of the
    ladder it is drawn on; `measure`: what Compare runs; `next`: the first list whose
    condition holds, less the rungs that are not `possible`.
    """

    title: str
    meaning: str
    spoken: str
    retrieval: bool
    tuned: Literal["lora", "qlora", "managed"] | None
    stand_in: str | None
    ladder: Literal["base", "prompt", "rag", "lora", "rag+lora", "managed"]
    measure: list[Literal["base", "prompt", "rag", "lora", "rag+lora"]]
    next: list[Next]
    possible: Condition = Field(default_factory=dict)
    instead: str
    risks: list[Said]
    data: list[Said]
    steps: list[Said]


class Texts(_Strict):
    """texts.yaml. `rungs` in the order of the ladder, from cheap and flexible to costly and rigid."""

    examples_needed: dict[str, int]
    risks: dict[str, Any]
    data: dict[str, Any]
    steps: dict[str, Any]
    rungs: dict[str, RungText]
    full_fine_tuning: Said


class Rules(_Strict):
    """rules.yaml."""

    numbers: dict[str, list[str]]
    facts: dict[str, Condition]
    root: str
    tree: dict[str, Test]
    conflicts: dict[str, Said]
    remarks: dict[str, Said]


class Rulebook(_Strict):
    """All four files; core.decide.checks says whether they agree."""

    questions: list[Question]
    thresholds: dict[str, Threshold]
    rules: Rules
    texts: Texts

    @property
    def rungs(self) -> list[str]:
        return list(self.texts.rungs)

    def question(self, key: str) -> Question:
        return next(question for question in self.questions if question.id == key)

    def threshold(self, name: str) -> Number:
        return self.thresholds[name].value

    def presumed(self) -> dict[str, bool]:
        """What unanswered questions count as, where they count at all."""
        return {q.id: q.presume for q in self.questions if q.presume is not None}

    def conditions(self) -> Iterator[tuple[str, Condition]]:
        """Every condition with the name of where it stands."""
        for question in self.questions:
            yield question.id, question.ask
        yield from self.rules.facts.items()
        for name, test in self.rules.tree.items():
            yield name, test.when
        for name, said in (*self.rules.conflicts.items(), *self.rules.remarks.items()):
            yield name, said.when
        for rung, text in self.texts.rungs.items():
            yield rung, text.possible
            yield from ((rung, said.when) for said in (*text.risks, *text.data, *text.steps))
            yield from ((rung, following.when) for following in text.next)

    def breakpoints(self, key: str) -> list[float]:
        """The thresholds that tests of the tree compare this number with."""
        tests = (*self.rules.facts.values(), *(test.when for test in self.rules.tree.values()))
        found = {
            float(value)
            for name in _thresholds_of(key, tests)
            if not isinstance(value := self.threshold(name), dt.date)
        }
        return sorted(found)


def _thresholds_of(key: str, conditions: Iterable[Condition]) -> Iterator[str]:
    for condition in conditions:
        for name, wanted in condition.items():
            if name in ("any", "all"):
                yield from _thresholds_of(key, wanted)
            elif name == "not":
                yield from _thresholds_of(key, [wanted])
            elif name == key and isinstance(wanted, dict):
                yield from (wanted[matcher] for matcher in ("at_least", "below") if matcher in wanted)

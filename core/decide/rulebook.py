"""The data of the wizard, checked as it is read: questions, thresholds, rules and texts in assets/decide.

A question, rung, threshold or fact that is named somewhere and defined nowhere is found here, at the start, and not
by the person whose answer first leads there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import UserError
from core.settings import REPOSITORY

FOLDER = REPOSITORY / "assets" / "decide"

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

    `ladder`: the rung of the ladder it is drawn on; `measure`: what Compare runs; `next`: the first list whose
    condition holds, less the rungs that are not `possible`.
    """

    title: str
    meaning: str
    ladder: str
    measure: list[str]
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
    """All four files, consistent with each other."""

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

    @model_validator(mode="after")
    def _names_exist(self) -> Rulebook:
        targets = {*self.rules.tree, *self.texts.rungs}
        if self.rules.root not in self.rules.tree:
            raise ValueError(f"root names the test {self.rules.root}, which is not in the tree")
        for name, test in self.rules.tree.items():
            for branch in (test.then, test.otherwise):
                if branch.to not in targets:
                    raise ValueError(f"{name} leads to {branch.to}, which is neither a test nor a rung")
        for name, factors in self.rules.numbers.items():
            for factor in factors:
                if factor not in {q.id for q in self.questions if q.kind == "number"}:
                    raise ValueError(f"{name} multiplies {factor}, which is no question with a number")
        for rung, text in self.texts.rungs.items():
            for following in text.next:
                if not set(following.rungs) <= set(self.texts.rungs):
                    raise ValueError(f"{rung} is followed by a rung that is not described")
        for where, condition in self._conditions():
            self._check(where, condition)
        return self

    def _conditions(self) -> Iterator[tuple[str, Condition]]:
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

    def _check(self, where: str, condition: Condition) -> None:
        for key, wanted in condition.items():
            if key in ("any", "all"):
                for part in wanted:
                    self._check(where, part)
            elif key == "not":
                self._check(where, wanted)
            elif key == "fact":
                if wanted not in self.rules.facts:
                    raise ValueError(f"{where} names the fact {wanted}, which is not defined")
            else:
                self._check_leaf(where, key, wanted)

    def _check_leaf(self, where: str, key: str, wanted: Any) -> None:
        known: Mapping[str, Question] = {question.id: question for question in self.questions}
        if key not in (*known, *self.rules.numbers, TODAY):
            raise ValueError(f"{where} names {key}, which is neither a question nor a number")
        if isinstance(wanted, list):
            unknown = set(wanted) - set(known[key].options) if key in known else set(wanted)
            if unknown:
                raise ValueError(f"{where} expects {sorted(unknown)} of {key}, which is no answer to it")
        elif isinstance(wanted, dict):
            for matcher, name in wanted.items():
                if matcher in ("at_least", "below"):
                    if name not in self.thresholds:
                        raise ValueError(f"{where} names the threshold {name}, which is not defined")
                elif matcher != "answered":
                    raise ValueError(f"{where} compares {key} by {matcher}; there are at_least, below and answered")
        elif not isinstance(wanted, bool):
            raise ValueError(f"{where} compares {key} with {wanted!r}; a list, true, false or a comparison is needed")

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


def read_rulebook(folder: Path = FOLDER) -> Rulebook:
    """Read and check the four files. Raises UserError naming the place that is wrong."""
    parts = {}
    for name in ("questions", "thresholds", "rules", "texts"):
        path = folder / f"{name}.yaml"
        try:
            parts[name] = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"{path.name} cannot be read: {error}", "Correct the file in assets/decide.") from error
    try:
        return Rulebook.model_validate(parts)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "rules"
        raise UserError(
            f"The wizard's rules are not consistent ({where}): {first['msg']}.", "Correct assets/decide."
        ) from error


@cache
def rulebook() -> Rulebook:
    """The rulebook of the product, read once."""
    return read_rulebook()

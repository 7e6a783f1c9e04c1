"""Answers in, advice out: the first rule that holds names the rung."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from core.errors import UserError

QUESTIONS_FILE = Path(__file__).parent / "questions.yaml"
When = dict[str, list[str]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Question(_Strict):
    """One question; `answers` maps the name of an answer to its text."""

    id: str
    text: str
    help: str
    answers: dict[str, str]


class Rule(_Strict):
    """Advises `rung` when every named question has one of the listed answers; `next` are rungs to measure with it."""

    when: When
    rung: str
    reason: str
    next: list[str]


class Remark(_Strict):
    when: When
    text: str


class Rulebook(_Strict):
    """questions.yaml."""

    questions: list[Question]
    rules: list[Rule]
    remarks: list[Remark]
    flips: dict[str, str]
    demo: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Advice:
    """The rung to try, why, what would change that, and the rungs worth measuring beside it."""

    rung: str
    reasons: tuple[str, ...]
    flip: str
    measure: tuple[str, ...]


@cache
def rulebook() -> Rulebook:
    return Rulebook.model_validate(yaml.safe_load(QUESTIONS_FILE.read_text(encoding="utf-8")))


def advise(answers: Mapping[str, str]) -> Advice:
    """Advice for one answer to each question. Raises UserError naming a question that is not answered."""
    book = rulebook()
    for question in book.questions:
        if answers.get(question.id) not in question.answers:
            raise UserError(f'"{question.text}" is not answered.', "Choose one of its answers.")
    rule = next(rule for rule in book.rules if _holds(rule.when, answers))
    remarks = [remark.text for remark in book.remarks if _holds(remark.when, answers)]
    # The bare model and the prompt are what any advice has to beat.
    measure = (
        "base",
        "prompt",
        *(name for name in (*rule.next, rule.rung) if name not in ("base", "prompt")),
    )
    return Advice(rule.rung, (rule.reason, *remarks), book.flips[rule.rung], measure)


def demo_advice() -> dict[str, Advice]:
    """What the rules advise for each task of the demo project, by the task's key."""
    return {key: advise(answers) for key, answers in rulebook().demo.items()}


def _holds(when: When, answers: Mapping[str, str]) -> bool:
    return all(answers[question] in accepted for question, accepted in when.items())

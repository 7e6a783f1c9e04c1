"""Whether the wizard's files agree with each other.

A question, rung, threshold or fact that is named somewhere and defined nowhere is found at the start, and not by the
person whose answer first leads there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from string import Formatter
from typing import Any

from core.decide.schema import TODAY, Condition, Rulebook

# Thresholds that code names, and not a rule.
NEEDED = (
    "corpus_fits_tokens",
    "confidence_most",
    "confidence_conflict",
    "confidence_high",
    "confidence_low",
    "confidence_likely",
)
# What a text of a rung may hold in curly brackets.
WORDS = {"examples_needed"}


def check(book: Rulebook) -> None:
    """Raises ValueError that names the place of the first thing that does not fit."""
    _check_targets(book)
    for where, condition in book.conditions():
        _check_condition(book, where, condition)
    _check_ends(book)
    _check_texts(book)


def _check_targets(book: Rulebook) -> None:
    if book.rules.root not in book.rules.tree:
        raise ValueError(f"root names the test {book.rules.root}, which is not in the tree")
    for name, test in book.rules.tree.items():
        for branch in (test.then, test.otherwise):
            if branch.to not in {*book.rules.tree, *book.texts.rungs}:
                raise ValueError(f"{name} leads to {branch.to}, which is neither a test nor a rung")
    numbers = {question.id for question in book.questions if question.kind == "number"}
    for name, factors in book.rules.numbers.items():
        for factor in factors:
            if factor not in numbers:
                raise ValueError(f"{name} multiplies {factor}, which is no question with a number")
    for rung, text in book.texts.rungs.items():
        for following in text.next:
            if not set(following.rungs) <= set(book.texts.rungs):
                raise ValueError(f"{rung} is followed by a rung that is not described")


def _check_condition(book: Rulebook, where: str, condition: Any) -> None:
    if not isinstance(condition, dict):
        raise ValueError(f"{where} holds {condition!r} where a condition is needed")
    for key, wanted in condition.items():
        if key in ("any", "all"):
            if not isinstance(wanted, list):
                raise ValueError(f"{where} needs a list of conditions after {key}")
            for part in wanted:
                _check_condition(book, where, part)
        elif key == "not":
            _check_condition(book, where, wanted)
        elif key == "fact":
            if wanted not in list(book.rules.facts):
                raise ValueError(f"{where} names the fact {wanted}, which is not defined")
        else:
            _check_leaf(book, where, key, wanted)


def _check_leaf(book: Rulebook, where: str, key: str, wanted: Any) -> None:
    """A choice is compared with a list, a yes or no with true or false, a number and the date with thresholds."""
    known = {question.id: question for question in book.questions}
    if key not in (*known, *book.rules.numbers, TODAY):
        raise ValueError(f"{where} names {key}, which is neither a question nor a number")
    kind = known[key].kind if key in known else "number"
    if isinstance(wanted, dict) and wanted.keys() == {"answered"} and isinstance(wanted["answered"], bool):
        return
    if isinstance(wanted, list) and kind == "choice":
        unknown = [value for value in wanted if value not in list(known[key].options)]
        if unknown:
            raise ValueError(f"{where} expects {unknown} of {key}, which is no answer to it")
    elif isinstance(wanted, dict) and wanted and kind == "number":
        for matcher, name in wanted.items():
            if matcher not in ("at_least", "below"):
                raise ValueError(f"{where} compares {key} by {matcher}; there are at_least, below and answered")
            if name not in list(book.thresholds):
                raise ValueError(f"{where} names the threshold {name}, which is not defined")
            if isinstance(book.threshold(name), dt.date) != (key == TODAY):
                raise ValueError(f"{where} compares {key} with {name}, and only one of them is a date")
    elif not (isinstance(wanted, bool) and kind == "yes_no"):
        raise ValueError(f"{where} compares {key} with {wanted!r}, which does not go with a {kind}")


def _check_ends(book: Rulebook) -> None:
    """No test leads back to itself, and no fact rests on itself."""
    tree = {name: [test.then.to, test.otherwise.to] for name, test in book.rules.tree.items()}
    facts = {name: list(_facts_of(condition)) for name, condition in book.rules.facts.items()}
    for what, following in (("leads back", tree), ("rests on", facts)):
        try:
            TopologicalSorter(following).prepare()
        except CycleError as error:
            raise ValueError(f"a rule {what} to itself: {', '.join(error.args[1])}") from error


def _check_texts(book: Rulebook) -> None:
    missing = [name for name in NEEDED if name not in book.thresholds]
    if missing:
        raise ValueError(f"the engine needs the threshold {missing[0]}, which is not defined")
    kinds = {"unknown", *book.question("behavior_kind").options}
    if set(book.texts.examples_needed) != kinds:
        differs = sorted(set(book.texts.examples_needed) ^ kinds)
        raise ValueError(f"examples_needed differs from the forms: {differs}")
    for rung, text in book.texts.rungs.items():
        for said in (*text.risks, *text.data, *text.steps):
            unknown = {name for _, name, _, _ in Formatter().parse(said.text) if name} - WORDS
            if unknown:
                raise ValueError(f"{rung} says {{{unknown.pop()}}}, which is not known")


def _facts_of(condition: Condition) -> Iterator[str]:
    for key, wanted in condition.items():
        if key == "fact":
            yield wanted
        elif key in ("any", "all", "not"):
            for part in wanted if isinstance(wanted, list) else [wanted]:
                yield from _facts_of(part)

"""Answers in, advice out: a walk through the tree of the rules, why it went that way, and what would turn it.

The engine knows no question and no rung by name; assets/decide does.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.decide.answers import Answer, settled
from core.decide.conditions import depends_on, holds
from core.decide.rulebook import rulebook
from core.decide.schema import TODAY, Branch, Question, Rulebook, Said

# Ways to answer the open questions that are looked at for the confidence: all of them up to this many, then a sample.
COMPLETIONS = 300


@dataclass(frozen=True)
class Step:
    """One test of the tree and the branch taken; `assumed` when an open question could still turn it."""

    test: str
    holds: bool
    assumed: bool

    @property
    def branch(self) -> Branch:
        test = rulebook().rules.tree[self.test]
        return test.then if self.holds else test.otherwise


@dataclass(frozen=True)
class Reason:
    """A rule that fired, and what it says. `trade_off` defends a rung that is less flexible than its neighbour."""

    rule: str
    text: str
    trade_off: str = ""
    assumed: bool = False


@dataclass(frozen=True)
class Flip:
    """A single changed answer that leads to another rung. `text` says it; a number is the nearest one that does."""

    key: str
    value: Answer
    rung: str
    text: str


@dataclass(frozen=True)
class Advice:
    """The rung to try first and everything that follows from the same answers."""

    rung: str
    path: tuple[Step, ...]
    reasons: tuple[Reason, ...]
    conflicts: tuple[Reason, ...]
    flips: tuple[Flip, ...]
    next: tuple[str, ...]
    confidence: float

    @property
    def confidence_word(self) -> str:
        """high, medium or low."""
        book = rulebook()
        if self.confidence >= _share("confidence_high", book):
            return "high"
        return "medium" if self.confidence >= _share("confidence_low", book) else "low"


def advise(answers: Mapping[str, Answer], *, today: dt.date | None = None, trust: float = 1.0) -> Advice:
    """Advice for some answers; every question may be open. `trust` (0 to 1) is how sure the answers themselves are."""
    book = rulebook()
    given = {**settled(answers), TODAY: today or dt.date.today()}
    path = tuple(_walk(given, book))
    rung = path[-1].branch.to
    closed = _closed(given, book)
    reasons = [Reason(step.test, step.branch.because, step.branch.less_flexible, step.assumed) for step in path]
    reasons += [Reason(name, said.text) for name, said in book.rules.remarks.items() if _said(said.when, closed, book)]
    conflicts = tuple(
        Reason(name, said.text) for name, said in book.rules.conflicts.items() if _said(said.when, closed, book)
    )
    following = next((n.rungs for n in book.texts.rungs[rung].next if _said(n.when, closed, book)), [])
    return Advice(
        rung=rung,
        path=path,
        reasons=tuple(reasons),
        conflicts=conflicts,
        flips=tuple(_flips(given, rung, book)),
        next=tuple(other for other in following if _said(book.texts.rungs[other].possible, closed, book)),
        confidence=_confidence(given, rung, len(conflicts), book) * trust,
    )


def rung_of(answers: Mapping[str, Answer], today: dt.date | None = None) -> str:
    """The rung alone, for callers who ask many times."""
    book = rulebook()
    return _rung({**settled(answers), TODAY: today or dt.date.today()}, book)


def open_questions(answers: Mapping[str, Answer], today: dt.date | None = None) -> list[Question]:
    """The questions still worth asking: those that can change the rung, or whose `ask` holds, in the file's order.

    A question answered with "not sure" is not put again.
    """
    book = rulebook()
    given = {**settled(answers), TODAY: today or dt.date.today()}
    worth = _relevant(given, book)
    closed = _closed(given, book)
    return [
        question
        for question in book.questions
        if question.id not in answers and (question.id in worth or (question.ask and _said(question.ask, closed, book)))
    ]


def texts_for(
    rung: str, part: str, answers: Mapping[str, Answer], today: dt.date | None = None
) -> list[tuple[str, str]]:
    """What is said about a rung's `part` (risks, data, steps) given the answers, as (title, text)."""
    book = rulebook()
    closed = _closed({**settled(answers), TODAY: today or dt.date.today()}, book)
    words = {"examples_needed": f"{examples_needed(answers):,}"}
    said: list[Said] = getattr(book.texts.rungs[rung], part)
    # What depends on an open question is said: it may well apply.
    return [
        (one.title, one.text.format(**words))
        for one in said
        if holds(one.when, closed, book, settled=True) is not False
    ]


def examples_needed(answers: Mapping[str, Answer]) -> int:
    """How many training examples the wanted kind of form usually takes."""
    needed = rulebook().texts.examples_needed
    return needed.get(str(answers.get("behavior_kind")), needed["unknown"])


def _walk(given: Mapping[str, Any], book: Rulebook) -> Iterator[Step]:
    closed = _closed(given, book)
    name = book.rules.root
    while name in book.rules.tree:
        test = book.rules.tree[name]
        outcome = _said(test.when, closed, book)
        yield Step(name, outcome, assumed=holds(test.when, given, book) is None)
        name = (test.then if outcome else test.otherwise).to


def _rung(given: Mapping[str, Any], book: Rulebook) -> str:
    closed = _closed(given, book)
    name = book.rules.root
    while name in book.rules.tree:
        test = book.rules.tree[name]
        name = (test.then if _said(test.when, closed, book) else test.otherwise).to
    return name


def _closed(given: Mapping[str, Any], book: Rulebook) -> dict[str, Any]:
    return {**book.presumed(), **given}


def _said(condition: dict[str, Any], closed: Mapping[str, Any], book: Rulebook) -> bool:
    return holds(condition, closed, book, settled=True) is True


def _relevant(given: Mapping[str, Any], book: Rulebook) -> set[str]:
    """Open questions that can turn a test which can still be reached."""
    found: set[str] = set()
    reached = [book.rules.root]
    while reached:
        name = reached.pop()
        if name not in book.rules.tree:
            continue
        test = book.rules.tree[name]
        outcome = holds(test.when, given, book)
        if outcome is None:
            found |= set(depends_on(test.when, given, book))
        if outcome is not False:
            reached.append(test.then.to)
        if outcome is not True:
            reached.append(test.otherwise.to)
    return found


def _flips(given: Mapping[str, Any], rung: str, book: Rulebook) -> Iterator[Flip]:
    for question in book.questions:
        seen = {rung}
        for value, words in _alternatives(question, given, book):
            other = _rung({**given, question.id: value}, book)
            if other not in seen:
                seen.add(other)
                yield Flip(question.id, value, other, f"{question.short}: {words}")


def _alternatives(question: Question, given: Mapping[str, Any], book: Rulebook) -> Iterable[tuple[Answer, str]]:
    """Other answers with their words; of a number, the nearest value of each stretch that leads to one rung."""
    if question.kind == "choice":
        return list(question.options.items())
    if question.kind == "yes_no":
        return [(True, "yes"), (False, "no")]
    points = {_whole(point) for point in _breakpoints(question.id, given, book)}
    starts = [0, *sorted(point for point in points if 0 < point <= question.most)]
    rungs = [_rung({**given, question.id: start}, book) for start in starts]
    # Thresholds that change nothing for these answers do not end a stretch.
    edges = [start for i, start in enumerate(starts) if i == 0 or rungs[i] != rungs[i - 1]]
    current = given.get(question.id, 0)
    found: list[tuple[float, str]] = []
    for low, high in itertools.pairwise([*edges, math.inf]):
        nearest = _just_below(high) if current >= high or (low == 0 and high < math.inf) else low
        found.append((nearest, f"{_stretch(low, high)} {question.unit}"))
    return sorted(found, key=lambda stretch: abs(stretch[0] - current)) if question.id in given else found


def _stretch(low: float, high: float) -> str:
    if high == math.inf:
        return f"at least {low:,.10g}"
    return f"below {high:,.10g}" if low == 0 else f"{low:,.10g} up to {high:,.10g}"


def _whole(point: float) -> float:
    """Counts are whole; only a limit below one, such as half a second, is not."""
    return math.ceil(point) if point >= 1 else point


def _just_below(point: float) -> float:
    return point - 1 if point >= 1 else round(point * 0.9, 6)


def _breakpoints(key: str, given: Mapping[str, Any], book: Rulebook) -> list[float]:
    points = set(book.breakpoints(key))
    for product, factors in book.rules.numbers.items():
        others = [given.get(factor) for factor in factors if factor != key]
        if key in factors and all(others):
            points |= {point / math.prod(others) for point in book.breakpoints(product)}  # type: ignore[arg-type]
    return sorted(points)


def _confidence(given: Mapping[str, Any], rung: str, conflicts: int, book: Rulebook) -> float:
    """The share of ways to answer the open questions that lead to the same place on the ladder, less for each conflict.

    A question with a likely answer gets it with the weight `confidence_likely`; all other answers count alike.
    """
    worth = _relevant(given, book)
    asked = [question for question in book.questions if question.id in worth]
    place = book.texts.rungs[rung].ladder
    same = total = 0.0
    for way, weight in _completions(asked, book):
        total += weight
        same += weight * (book.texts.rungs[_rung({**given, **way}, book)].ladder == place)
    return min(same / total, _share("confidence_most", book)) * _share("confidence_conflict", book) ** conflicts


def _completions(asked: list[Question], book: Rulebook) -> Iterator[tuple[dict[str, Answer], float]]:
    """Ways to answer these questions with their weights; a fixed sample of them where there are too many."""
    choices = [question.values() for question in asked]
    likely = _share("confidence_likely", book)
    weights = [
        [1.0 if q.likely is None else likely if value == q.likely else 1 - likely for value in values]
        for q, values in zip(asked, choices, strict=True)
    ]
    keys = [question.id for question in asked]
    if math.prod(map(len, choices)) <= COMPLETIONS:
        for way, weight in zip(itertools.product(*choices), itertools.product(*weights), strict=True):
            yield dict(zip(keys, way, strict=True)), math.prod(weight)
    else:
        draw = random.Random(0)
        for _ in range(COMPLETIONS):
            drawn = [draw.choices(values, weight)[0] for values, weight in zip(choices, weights, strict=True)]
            yield dict(zip(keys, drawn, strict=True)), 1.0


def _share(name: str, book: Rulebook) -> float:
    value = book.threshold(name)
    assert isinstance(value, float)
    return value

"""What a condition of the rules says of some answers: true, false, or that it depends on an open question.

Logic is Kleene's with three values: `None` stands for "depends". A condition is a mapping whose parts must all hold:
`{gap: [knowledge]}`, `{changes_often: true}`, `{budget_usd: {at_least: NAME}}`, `{fact: NAME}`, `{not: {...}}`,
`{any: [...]}`, `{all: [...]}`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from core.decide.schema import Condition, Rulebook

# Answers by question, and `today`; a question that is not there is open.
Values = Mapping[str, Any]


def holds(condition: Condition, values: Values, book: Rulebook, settled: bool = False) -> bool | None:
    """Whether the condition holds, or None if it depends on an open question.

    With `settled`, open questions will stay open, so `answered: false` holds of them.
    """
    return _all(_part(key, wanted, values, book, settled) for key, wanted in condition.items())


def depends_on(condition: Condition, values: Values, book: Rulebook) -> Iterator[str]:
    """The open questions that can still change the outcome of a condition."""
    for key, wanted in condition.items():
        if _part(key, wanted, values, book, settled=False) is not None:
            continue
        if key in ("any", "all"):
            for part in wanted:
                if holds(part, values, book) is None:
                    yield from depends_on(part, values, book)
        elif key == "not":
            yield from depends_on(wanted, values, book)
        elif key == "fact":
            yield from depends_on(book.rules.facts[wanted], values, book)
        else:
            yield from (factor for factor in book.rules.numbers.get(key, [key]) if factor not in values)


def _part(key: str, wanted: Any, values: Values, book: Rulebook, settled: bool) -> bool | None:
    if key == "all":
        return _all(holds(part, values, book, settled) for part in wanted)
    if key == "any":
        return _any(holds(part, values, book, settled) for part in wanted)
    if key == "not":
        found = holds(wanted, values, book, settled)
        return None if found is None else not found
    if key == "fact":
        return holds(book.rules.facts[wanted], values, book, settled)
    value = _value(key, values, book)
    if isinstance(wanted, dict) and "answered" in wanted:
        if value is None and not settled:
            return None
        return bool((value is not None) == wanted["answered"])
    if value is None:
        return None
    if isinstance(wanted, list):
        return value in wanted
    if isinstance(wanted, bool):
        return bool(value == wanted)
    return all(
        value >= book.threshold(name) if matcher == "at_least" else value < book.threshold(name)
        for matcher, name in wanted.items()
    )


def _value(key: str, values: Values, book: Rulebook) -> Any:
    factors = book.rules.numbers.get(key)
    if factors is None:
        return values.get(key)
    if any(factor not in values for factor in factors):
        return None
    return math.prod(values[factor] for factor in factors)


def _all(found: Iterable[bool | None]) -> bool | None:
    unknown = False
    for value in found:
        if value is False:
            return False
        unknown = unknown or value is None
    return None if unknown else True


def _any(found: Iterable[bool | None]) -> bool | None:
    unknown = False
    for value in found:
        if value:
            return True
        unknown = unknown or value is None
    return None if unknown else False

"""Shares and differences in words: percent and points, the words of the people who decide."""

from __future__ import annotations

from core.evaluate.statistics import Interval


def figure(share: float) -> str:
    """In hundredths, one decimal where there is one to tell, so that 99.6% does not read as 100%."""
    # Adding zero turns the -0.0 that rounding leaves into 0.0.
    return f"{round(100 * share, 1) + 0.0:.1f}".removesuffix(".0")


def percent(share: float) -> str:
    return f"{figure(share)}%"


def points(difference: float) -> str:
    told = figure(difference)
    return f"{told} point" + ("" if told == "1" else "s")


def plausible(interval: Interval) -> str:
    """The ends of a difference: "3 to 21 points more", "anything from 2 points less to 5 points more"."""
    low, high = interval.low, interval.high
    if low >= 0:
        return f"{figure(low)} to {points(high)} more"
    if high <= 0:
        return f"{figure(-high)} to {points(-low)} less"
    return f"anything from {points(-low)} less to {points(high)} more"


def tests(n: int) -> str:
    return f"{n:,} test example" + ("" if n == 1 else "s")


def listed(names: list[str]) -> str:
    """Names in a row: "a, b and c"."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)

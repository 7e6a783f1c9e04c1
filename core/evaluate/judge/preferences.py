"""How often one rung's answer is preferred to another's, and how far two who prefer agree: people or a judge.

A preference is "a", "b" or "tie". A rate counts ties half, so 0.5 is even. Examples are the units and groups the
clusters, as everywhere in the statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluate.statistics import Interval, interval

CHOICES = ("a", "b", "tie")
WORTH = {"a": 0.0, "tie": 0.5, "b": 1.0}
# Landis and Koch (1977), whose words for kappa everybody uses; each holds up to its number.
WORDS = ((0.0, "no better than chance"), (0.2, "slight"), (0.4, "fair"), (0.6, "moderate"), (0.8, "substantial"))
KAPPA = (
    "Cohen's κ is the share of agreement beyond what chance alone would bring: 1 means always the same choice, 0 no "
    "more often than chance. Above 0.6 people call it substantial."
)


@dataclass(frozen=True)
class Rate:
    """A share of preference with its 95% interval, over n examples."""

    rate: float
    interval: Interval
    n: int


@dataclass(frozen=True)
class Agreement:
    """κ over n choices of two or more; None where everybody always chose the same, so that chance explains all.

    `observed`: the share of choices that agree. `text` says it in words.
    """

    kappa: float | None
    interval: Interval | None
    n: int
    observed: float
    text: str


def rate(values: Sequence[float], groups: Sequence[str], seed: int = 0) -> Rate:
    """The mean of preferences, one per example, each from 0 (never b) to 1 (always b). Needs one at least."""
    scores = np.asarray(values, dtype=float)
    return Rate(float(scores.mean()), interval(scores, groups, "continuous", seed), len(scores))


def outcome(found: Rate) -> str:
    """ "better" or "worse" (b against a) where the interval leaves out an even preference."""
    if found.interval.low > 0.5:
        return "better"
    return "worse" if found.interval.high < 0.5 else "cannot tell yet"


def majority(choices: Sequence[str]) -> str:
    """What more voters prefer; a tie where neither side has more."""
    lead = sum(choice == "b" for choice in choices) - sum(choice == "a" for choice in choices)
    return "b" if lead > 0 else "a" if lead < 0 else "tie"


def cohen(first: Sequence[str], second: Sequence[str], groups: Sequence[str], seed: int = 0) -> Agreement | None:
    """Cohen's κ of two who chose on the same items; None without any. Source: Cohen 1960."""
    if not first:
        return None
    agree = np.array([one == other for one, other in zip(first, second, strict=True)], dtype=float)
    shares = [np.array([list(side).count(choice) for choice in CHOICES]) / len(first) for side in (first, second)]
    return _agreement(agree, float(shares[0] @ shares[1]), groups, seed)


def fleiss(items: Sequence[Sequence[str]], groups: Sequence[str], seed: int = 0) -> Agreement | None:
    """Fleiss' κ of any number of voters, over the items on which at least two chose; None without any.

    Fleiss (1971) had the same number of voters on each item; here an item's agreement is over the pairs it has.
    """
    kept = [(choices, group) for choices, group in zip(items, groups, strict=True) if len(choices) > 1]
    if not kept:
        return None
    counts = np.array([[list(choices).count(choice) for choice in CHOICES] for choices, _ in kept], dtype=float)
    voters = counts.sum(axis=1)
    agree = (counts * (counts - 1)).sum(axis=1) / (voters * (voters - 1))
    shares = counts.sum(axis=0) / counts.sum()
    return _agreement(agree, float(shares @ shares), [group for _, group in kept], seed)


def in_words(kappa: float) -> str:
    """ "substantial agreement" and the like."""
    word = next((word for upto, word in WORDS if kappa <= upto), "almost perfect")
    return f"{word} agreement" if kappa > 0 else f"agreement {word}"


def _agreement(agree: np.ndarray, chance: float, groups: Sequence[str], seed: int) -> Agreement:
    """From each item's agreement, 0 to 1. The interval is that of the observed share, chance taken as known (Cohen)."""
    observed, n = float(agree.mean()), len(agree)
    told = f"the same choice on {observed:.0%} of {n}"
    if chance > 1 - 1e-9:
        return Agreement(None, None, n, observed, f"{told}; all choices are alike, so κ says nothing")

    def beyond(share: float) -> float:
        return (share - chance) / (1 - chance)

    span = interval(agree, groups, "continuous", seed)
    kappa = beyond(observed)
    low, high = max(-1.0, beyond(span.low)), beyond(span.high)
    text = f"κ {kappa:.2f} ({low:.2f} to {high:.2f}), {in_words(kappa)}: {told}".replace("-", "\u2212")
    return Agreement(kappa, Interval(low, high), n, observed, text)

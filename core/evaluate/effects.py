"""What shots, retrieval and tuning each bought, and whether they compose, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from core.evaluate.rungs import Rung
from core.evaluate.statistics import Contrast, Effect, Interval, contrasts
from core.evaluate.statistics.factorial import FACTORS
from core.evaluate.words import figure, listed, plausible, points

NAMES: dict[str, str] = {"shots": "worked examples", "retrieval": "retrieval", "adapter": "tuning"}


def told(effect: Effect, delta: float) -> str:
    """One effect as one or two sentences, with its interval and what it was measured from."""
    said = _interplay(effect, delta) if len(effect.contrast.factors) == 2 else _bought(effect, delta)
    return f"{said} {_measured(effect.contrast)}"


def gaps(rungs: Sequence[Rung]) -> list[str]:
    """What these rungs cannot tell about the switches they use, and which kind of rung would."""
    known = {contrast.factors for contrast in contrasts(rungs)}
    used = [factor for factor in FACTORS if any(getattr(rung, factor) for rung in rungs)]
    alone = [NAMES[factor] for factor in used if (factor,) not in known]
    missing = []
    if alone:
        missing.append(
            f"What {listed(alone)} bought cannot be told: no two rungs of one model with a score differ in that alone."
        )
    apart = [
        f"whether {NAMES[first]} and {NAMES[second]} add up"
        for first, second in combinations(used, 2)
        if (first, second) not in known and (first,) in known and (second,) in known
    ]
    if apart:
        missing.append(f"Not measured: {listed(apart)}. That takes rungs with neither, with each alone and with both.")
    return missing


def _bought(effect: Effect, delta: float) -> str:
    name = NAMES[effect.contrast.factors[0]].capitalize()
    size, span = points(abs(effect.effect)), _span(effect.interval)
    if effect.outcome == "better":
        return f"{name} bought {size} (plausibly {span})."
    if effect.outcome == "worse":
        return f"{name} lost {size} (plausibly {span})."
    if effect.outcome == "equivalent":
        return f"{name} changed the score by less than {points(delta)} (plausibly {plausible(effect.interval)})."
    if not effect.effect:
        return f"{name} made no difference here, which may be chance (plausibly {plausible(effect.interval)})."
    seen = "higher" if effect.effect > 0 else "lower"
    return (
        f"With {name.lower()} the score is {size} {seen}, which may be chance (plausibly {plausible(effect.interval)})."
    )


def _interplay(effect: Effect, delta: float) -> str:
    first, second = (NAMES[factor] for factor in effect.contrast.factors)
    both = f"{first.capitalize()} and {second}"
    size, span = points(abs(effect.effect)), _span(effect.interval)
    if effect.outcome == "better":
        return f"{both} help each other: together they bring {size} more than the sum of each alone (plausibly {span})."
    if effect.outcome == "worse":
        return (
            f"{both} do the same work in part: together they bring {size} less than the sum of each alone "
            f"(plausibly {span})."
        )
    if effect.outcome == "equivalent":
        return f"{both} add up: together they bring what each brings alone, to within {points(delta)}."
    return (
        f"Whether {first} and {second} add up cannot be told yet: together they bring "
        f"{plausible(effect.interval)} than the sum of each alone."
    )


def _span(interval: Interval) -> str:
    """The ends of a difference whose direction is shown: "4 to 20", of gains and losses alike."""
    ends = sorted((abs(interval.low), abs(interval.high)))
    return f"{figure(ends[0])} to {figure(ends[1])}"


def _measured(contrast: Contrast) -> str:
    if len(contrast.factors) == 2:
        groups = [f"{off}, {first}, {second} and {both}" for off, first, second, both in contrast.matched]
        return f"Measured on {'; and on '.join(groups)}."
    steps = [f"from {off} to {on}" for off, on in contrast.matched]
    return f"Measured {steps[0]}." if len(steps) == 1 else f"The mean of the steps {listed(steps)}."

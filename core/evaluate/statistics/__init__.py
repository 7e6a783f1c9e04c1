"""How sure the scores let us be: intervals, paired comparisons and planning.

docs/method.md gives every rule its reason, its source and what simulation shows of it.

Everywhere a score is a number in [0, 1], one per example, failures already counted as 0. Nothing is ever
dropped, so the denominator is the length of the array. Seeds are parameters: the same scores and seed give
the same answer.
"""

from core.evaluate.statistics.comparisons import ALPHA, DELTA, Comparison, compare, compare_all, judge
from core.evaluate.statistics.factorial import Contrast, Effect, contrasts, effects
from core.evaluate.statistics.intervals import Interval, interval, intervals
from core.evaluate.statistics.planning import (
    MORE_CAP,
    design_effect,
    detectable_effect,
    examples_to_settle,
    needed_examples,
    power,
)

__all__ = [
    "ALPHA",
    "DELTA",
    "MORE_CAP",
    "Comparison",
    "Contrast",
    "Effect",
    "Interval",
    "compare",
    "compare_all",
    "contrasts",
    "design_effect",
    "detectable_effect",
    "effects",
    "examples_to_settle",
    "interval",
    "intervals",
    "judge",
    "needed_examples",
    "power",
]

"""What each switch bought: effects over all rungs that differ in it alone, and whether two switches compose.

A rung is a model and three switches, so an experiment is a factorial design, whole or in part. A main effect is the
mean, over matched pairs of rungs, of what turning one switch on changes in an example's score. An interaction is the
mean, over matched quadruples, of what two switches change together less what each changes alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from core.evaluate.rungs import Rung
from core.evaluate.statistics.clusters import clusters_of
from core.evaluate.statistics.comparisons import DELTA, judge
from core.evaluate.statistics.intervals import Interval, check_kind
from core.evaluate.statistics.paired import Paired, holm, paired

Factor = Literal["shots", "retrieval", "adapter"]
FACTORS: tuple[Factor, ...] = ("shots", "retrieval", "adapter")
Switches = tuple[str, bool, bool, bool, bool, int | None]


@dataclass(frozen=True)
class Contrast:
    """One question that the design can answer.

    `factors`: one switch, or two whose interplay is asked. `matched`: names of the rungs compared, (off, on) for a
    switch and (neither, first, second, both) for two.
    """

    factors: tuple[Factor, ...]
    matched: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        return " x ".join(self.factors)

    def of(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """The contrast per example, (n,), in [-1, 1]; that of two switches is halved, since it reaches 2."""
        columns = [[scores[name] for name in rungs] for rungs in self.matched]
        if len(self.factors) == 1:
            return np.asarray(np.mean([on - off for off, on in columns], axis=0))
        return np.asarray(np.mean([both - first - second + off for off, first, second, both in columns], axis=0) / 2)


@dataclass(frozen=True)
class Effect:
    """A contrast's mean and how sure it is.

    `effect` is in [-1, 1], that of two switches in [-2, 2]. `p_adjusted`: Holm over all effects of the experiment.
    `outcome`: as for a comparison; of two switches "better" means that together they bring more than their sum.
    """

    contrast: Contrast
    effect: float
    interval: Interval
    p: float
    p_adjusted: float
    outcome: str


def contrasts(rungs: Sequence[Rung]) -> list[Contrast]:
    """What these rungs can tell: main effects in the order of `FACTORS`, then interactions."""
    by_switches = {_switches(rung): rung.name for rung in rungs}
    found = []
    for size in (1, 2):
        for factors in combinations(FACTORS, size):
            matched = []
            for rung in rungs:
                if not all(getattr(rung, factor) for factor in factors):
                    continue
                partners = [by_switches.get(_switches(rung, off)) for off in _subsets(factors)]
                named = tuple(name for name in partners if name is not None)
                if len(named) == len(partners):
                    matched.append((*named, rung.name))
            if matched:
                found.append(Contrast(factors, tuple(matched)))
    return found


def _subsets(factors: tuple[Factor, ...]) -> list[tuple[Factor, ...]]:
    """What is turned off in each partner: of one switch itself; of two both, the second, the first."""
    return [factors] if len(factors) == 1 else [factors, factors[1:], factors[:1]]


def _switches(rung: Rung, off: Sequence[Factor] = ()) -> Switches:
    shots, retrieval, adapter = (getattr(rung, factor) and factor not in off for factor in FACTORS)
    return rung.model, rung.tuned, shots, retrieval, adapter, rung.adapter_id if adapter else None


def effects(
    scores: Mapping[str, np.ndarray],
    rungs: Sequence[Rung],
    groups: Sequence[str] | None = None,
    kind: str = "continuous",
    seed: int = 0,
    delta: float = DELTA,
) -> list[Effect]:
    """Every effect that rungs with scores, (n,) each in [0, 1], can tell.

    Raises:
        ValueError: lengths differ, or kind is not "binary" or "continuous".
    """
    check_kind(kind)
    asked = contrasts([rung for rung in rungs if rung.name in scores])
    if not asked:
        return []
    columns = [contrast.of(scores) for contrast in asked]
    clusters = clusters_of(groups, len(columns[0]))
    # One pair of right-or-wrong rungs is tested as in the table of pairs; averages of several take more values.
    single = np.array([kind == "binary" and len(c.matched) == 1 and len(c.factors) == 1 for c in asked])
    seen: dict[int, tuple[Paired, int]] = {}
    for binary in (True, False):
        chosen = np.flatnonzero(single == binary)
        if len(chosen):
            part = paired(np.column_stack([columns[i] for i in chosen]), clusters, binary, seed)
            seen |= {int(i): (part, k) for k, i in enumerate(chosen)}
    found = [seen[i] for i in range(len(asked))]
    adjusted = holm(np.array([part.p[k] for part, k in found]))
    return [
        _effect(contrast, part, k, float(p), delta)
        for contrast, (part, k), p in zip(asked, found, adjusted, strict=True)
    ]


def _effect(contrast: Contrast, seen: Paired, k: int, p: float, delta: float) -> Effect:
    scale = len(contrast.factors)
    effect = scale * float(seen.effect[k])
    interval, interval_90 = _scaled(seen.interval(k), scale), _scaled(seen.interval_90(k), scale)
    return Effect(contrast, effect, interval, float(seen.p[k]), p, judge(effect, interval, interval_90, p, delta))


def _scaled(interval: Interval, scale: int) -> Interval:
    return Interval(scale * interval.low, scale * interval.high, interval.level)

"""Two rungs on the same examples: how much better, could it be chance, and what would settle it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from core.evaluate.statistics.clusters import clusters_of
from core.evaluate.statistics.intervals import Interval, check_kind
from core.evaluate.statistics.paired import holm, paired
from core.evaluate.statistics.planning import examples_to_settle

ALPHA = 0.05
# Five points: the gain below which a team would hardly accept a costlier rung. Every experiment may set its own.
DELTA = 0.05


@dataclass(frozen=True)
class Comparison:
    """Rung b relative to rung a, on the same examples.

    `effect`: mean(b) - mean(a). `interval`: its 95% interval; `interval_90`: the 90% one that shows
    equivalence. `p`: exact McNemar, or paired sign-flip permutation; `p_mid`: mid-p of McNemar where that
    is the test. `p_adjusted`: Holm over all pairs of the experiment, None for a pair on its own. `more`:
    about how many further examples would turn "cannot tell yet" into an answer, None when there is one.
    """

    a: str
    b: str
    effect: float
    interval: Interval
    interval_90: Interval
    p: float
    p_adjusted: float | None
    p_mid: float | None
    outcome: str
    more: int | None

    def within(self, delta: float) -> bool:
        """True when the difference is shown to be smaller than delta either way (TOST at 5%)."""
        return -delta < self.interval_90.low and self.interval_90.high < delta

    def flipped(self) -> Comparison:
        """The same comparison told from the other side: a relative to b."""
        mirror = {"better": "worse", "worse": "better"}
        return replace(
            self,
            a=self.b,
            b=self.a,
            effect=-self.effect,
            interval=_mirrored(self.interval),
            interval_90=_mirrored(self.interval_90),
            outcome=mirror.get(self.outcome, self.outcome),
        )


def _mirrored(interval: Interval) -> Interval:
    return Interval(-interval.high, -interval.low, interval.level)


def judge(effect: float, interval: Interval, interval_90: Interval, p: float, delta: float) -> str:
    """The outcome in words.

    A winner needs both the test and the interval to say so: with a handful of examples or groups the two
    can differ, and a "better" whose interval holds zero would be a claim we ourselves doubt.
    """
    if p < ALPHA and (interval.low > 0 or interval.high < 0):
        return "better" if effect > 0 else "worse"
    if -delta < interval_90.low and interval_90.high < delta:
        return "equivalent"
    return "cannot tell yet"


def compare(
    a_scores: np.ndarray,
    b_scores: np.ndarray,
    groups: Sequence[str] | None = None,
    kind: str = "continuous",
    seed: int = 0,
    delta: float = DELTA,
    names: tuple[str, str] = ("a", "b"),
) -> Comparison:
    """Compare two rungs on their own, so unadjusted. Scores: (n,) each, the same examples in the same order.

    Raises:
        ValueError: lengths differ, or kind is not "binary" or "continuous".
    """
    (only,) = compare_all({names[0]: a_scores, names[1]: b_scores}, groups, kind, seed, delta)
    return replace(only, p_adjusted=None)


def compare_all(
    scores: Mapping[str, np.ndarray],
    groups: Sequence[str] | None = None,
    kind: str = "continuous",
    seed: int = 0,
    delta: float = DELTA,
) -> list[Comparison]:
    """Every pair of rungs, the earlier as `a`, in the order of `scores`; p adjusted by Holm over all of them.

    Raises:
        ValueError: lengths differ, or kind is not "binary" or "continuous".
    """
    check_kind(kind)
    names = list(scores)
    pairs = list(combinations(range(len(names)), 2))
    if not pairs:
        return []
    columns = [np.asarray(scores[name], dtype=float) for name in names]
    if len({len(column) for column in columns}) > 1:
        raise ValueError("Every rung needs a score for the same examples.")
    differences = np.column_stack([columns[b] - columns[a] for a, b in pairs])
    clusters = clusters_of(groups, len(differences))
    seen = paired(differences, clusters, kind == "binary", seed)
    adjusted = holm(seen.p)
    found = []
    for k, (a, b) in enumerate(pairs):
        interval, interval_90, effect = seen.interval(k), seen.interval_90(k), float(seen.effect[k])
        outcome = judge(effect, interval, interval_90, float(adjusted[k]), delta)
        more = None
        if outcome == "cannot tell yet":
            # The level this pair has to reach is the one Holm held it to.
            level = ALPHA / int((seen.p >= seen.p[k]).sum())
            more = examples_to_settle(
                effect, float(seen.spread[k]), len(differences), delta, alpha=level, clusters=clusters.count
            )
        found.append(
            Comparison(
                names[a],
                names[b],
                effect,
                interval,
                interval_90,
                float(seen.p[k]),
                float(adjusted[k]),
                seen.p_mid[k],
                outcome,
                more,
            )
        )
    return found

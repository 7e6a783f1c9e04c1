"""Two rungs on the same examples: how much better, could it be chance, and what would settle it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from core.evaluate.statistics.clusters import Clusters, Estimate, clusters_of, estimate
from core.evaluate.statistics.intervals import (
    CHUNK,
    Interval,
    check_kind,
    normal_quantile,
    resampled,
    t_quantile,
)
from core.evaluate.statistics.planning import examples_to_settle

ALPHA = 0.05
# Five points: the gain below which a team would hardly accept a costlier rung. Every experiment may set its
# own.
DELTA = 0.05
LEVELS = (0.95, 0.90)
# Random sign flips when there are too many to try all; p is then known to about 0.003 at 0.05.
FLIPS = 4999
# Up to this many clusters all 2^14 sign flips are tried and p is exact.
ENUMERABLE = 14


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
    mid: Sequence[float | None]
    differences = np.column_stack([columns[b] - columns[a] for a, b in pairs])
    clusters = clusters_of(groups, len(differences))
    effects = differences.mean(axis=0) if len(differences) else np.zeros(len(pairs))
    if kind == "binary" and not clusters.repeat:
        tests = [_mcnemar(column) for column in differences.T]
        p, mid = np.array([exact for exact, _ in tests]), [middle for _, middle in tests]
    else:
        p, mid = _sign_flip(clusters.sums(differences), seed), [None] * len(pairs)
    adjusted = _holm(p)
    spreads, (at_95, at_90) = _differences(differences, clusters, kind, seed)
    found = []
    for k, (a, b) in enumerate(pairs):
        interval, interval_90 = _interval(at_95, k, 0.95), _interval(at_90, k, 0.90)
        effect = float(effects[k])
        outcome = judge(effect, interval, interval_90, float(adjusted[k]), delta)
        more = None
        if outcome == "cannot tell yet":
            # The level this pair has to reach is the one Holm held it to.
            level = ALPHA * float(p[k] / adjusted[k])
            more = examples_to_settle(
                effect, float(spreads[k]), len(differences), delta, alpha=level, clusters=clusters.count
            )
        found.append(
            Comparison(
                names[a],
                names[b],
                effect,
                interval,
                interval_90,
                float(p[k]),
                float(adjusted[k]),
                mid[k],
                outcome,
                more,
            )
        )
    return found


def _interval(ends: tuple[np.ndarray, np.ndarray], k: int, level: float) -> Interval:
    return Interval(float(np.clip(ends[0][k], -1, 1)), float(np.clip(ends[1][k], -1, 1)), level)


def _mcnemar(difference: np.ndarray) -> tuple[float, float]:
    """Exact McNemar p, and its mid-p (Fagerland et al. 2013): less the probability of what was seen."""
    from scipy.stats import binom
    from statsmodels.stats.contingency_tables import mcnemar

    gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
    exact = float(mcnemar([[0, gained], [lost, 0]], exact=True).pvalue)
    fewer, both = min(gained, lost), gained + lost
    return exact, float(min(1.0, 2 * binom.cdf(fewer, both, 0.5) - binom.pmf(fewer, both, 0.5)))


def _sign_flip(sums: np.ndarray, seed: int) -> np.ndarray:
    """Two-sided paired permutation p, shape (k,), for cluster sums of differences, shape (clusters, k).

    If two rungs are interchangeable, each cluster's difference could as well have had the other sign. All
    sign patterns up to 14 clusters, then random ones, with the pattern observed counted among them so that
    p is never 0. As `scipy.stats.permutation_test(permutation_type="samples")`, which the tests hold it to,
    with the flips shared.
    """
    count = len(sums)
    seen = np.abs(sums.sum(axis=0)) * (1 - 1e-9) - 1e-12
    if count <= ENUMERABLE:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return np.asarray((np.abs((2 * patterns - 1) @ sums) >= seen).mean(axis=0))
    rng = np.random.default_rng(seed)
    rows, extreme = max(1, CHUNK // count), np.ones(sums.shape[1])
    for start in range(0, FLIPS, rows):
        size = min(rows, FLIPS - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes((size * count + 7) // 8), np.uint8))[: size * count]
        signs = bits.reshape(size, count) * 2.0 - 1
        extreme += (np.abs(signs @ sums) >= seen).sum(axis=0)
    return np.asarray(extreme / (FLIPS + 1))


def _holm(p: np.ndarray) -> np.ndarray:
    """Holm (1979). As statsmodels' `multipletests`, which the tests hold it to, but that one collects all
    garbage on
    every call: a tenth of a second each time in a process with models loaded."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _differences(
    differences: np.ndarray, clusters: Clusters, kind: str, seed: int
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """The standard deviation one example contributes, (k,), and the 95% and 90% intervals of the mean
    differences.

    Binary, no repeated groups: Bonett and Price (2012), who add one imaginary gain and one imaginary loss.
    Otherwise BCa or t, widened where needed to hold the same idea for any score and any groups,
    `_plus_two`.
    """
    n, k = differences.shape
    if kind == "binary" and not clusters.repeat:
        gained = ((differences > 0).sum(axis=0) + 1) / (n + 2)
        lost = ((differences < 0).sum(axis=0) + 1) / (n + 2)
        spread = np.sqrt(gained + lost - (gained - lost) ** 2)
        reach = [normal_quantile(level) * spread / np.sqrt(n + 2) for level in LEVELS]
        return spread, [(gained - lost - r, gained - lost + r) for r in reach]
    if clusters.count < 2:
        return np.ones(k), [(-np.ones(k), np.ones(k)) for _ in LEVELS]
    sums, sizes = clusters.sums(differences), clusters.sizes
    plain, cautious = estimate(sums, sizes), _plus_two(sums, sizes)
    ends = []
    for level, (low, high) in zip(LEVELS, resampled(sums, sizes, plain, seed, LEVELS), strict=True):
        reach = t_quantile(level, clusters.count) * np.sqrt(cautious.variance)
        ends.append((np.minimum(low, cautious.mean - reach), np.maximum(high, cautious.mean + reach)))
    return np.sqrt(n * np.where(plain.variance > 0, plain.variance, cautious.variance)), ends


def _plus_two(sums: np.ndarray, sizes: np.ndarray) -> Estimate:
    """Means with two imaginary clusters added to each series, one gain and one loss of the size that
    differences have.

    Without them, rungs that hardly ever differ look more certain than n examples allow: with ten examples
    of which one in ten differs, bootstrap and t hold the truth 62% of the time instead of 95%. Where no
    example differs the imaginary ones are as large as a score can be, 1.
    """
    differ = sums != 0
    squares = ((sums / sizes[:, None]) ** 2).sum(axis=0)
    typical = np.where(differ.any(axis=0), np.sqrt(squares / np.maximum(differ.sum(axis=0), 1)), 1.0)
    imaginary = typical * sizes.mean()
    found = estimate(np.vstack([sums, imaginary, -imaginary]), np.append(sizes, [sizes.mean()] * 2))
    # The imaginary clusters are no evidence of precision: the jackknife's n - 1 becomes n, as in Bonett and
    # Price.
    return replace(found, variance=found.variance * (len(sizes) + 1) / (len(sizes) + 2))

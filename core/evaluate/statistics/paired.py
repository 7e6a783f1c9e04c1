"""Mean differences on the same examples, many at once: could they be chance, and how large may they be?

Every question about rungs is one column of differences per example: rung b less rung a, or a contrast of several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.evaluate.statistics.clusters import Clusters, Estimate, estimate
from core.evaluate.statistics.intervals import CHUNK, Interval, normal_quantile, resampled, t_quantile

LEVELS = (0.95, 0.90)
# Random sign flips when there are too many to try all; p is then known to about 0.003 at 0.05.
FLIPS = 4999
# Up to this many clusters all 2^14 sign flips are tried and p is exact.
ENUMERABLE = 14


@dataclass(frozen=True)
class Paired:
    """k mean differences, arrays (k,) of numbers in [-1, 1].

    `spread`: the standard deviation one example contributes. `p_mid`: mid-p of McNemar where that is the test.
    `ends`: low and high ends of the 95% and of the 90% intervals.
    """

    effect: np.ndarray
    spread: np.ndarray
    p: np.ndarray
    p_mid: Sequence[float | None]
    ends: list[tuple[np.ndarray, np.ndarray]]

    def interval(self, k: int) -> Interval:
        """The 95% interval of the k-th difference."""
        return Interval(float(self.ends[0][0][k]), float(self.ends[0][1][k]), LEVELS[0])

    def interval_90(self, k: int) -> Interval:
        """Its 90% interval, which shows equivalence."""
        return Interval(float(self.ends[1][0][k]), float(self.ends[1][1][k]), LEVELS[1])


def paired(differences: np.ndarray, clusters: Clusters, binary: bool, seed: int) -> Paired:
    """Test and intervals of k mean differences, from (n, k) differences per example in [-1, 1].

    `binary`: every difference is that of two right-or-wrong scores, so -1, 0 or 1.
    """
    mid: Sequence[float | None]
    effect = differences.mean(axis=0) if len(differences) else np.zeros(differences.shape[1])
    if binary and not clusters.repeat:
        tests = [_mcnemar(column) for column in differences.T]
        p, mid = np.array([exact for exact, _ in tests]), [middle for _, middle in tests]
    else:
        p, mid = _sign_flip(clusters.sums(differences), seed), [None] * differences.shape[1]
    spread, ends = _differences(differences, clusters, binary, seed)
    return Paired(effect, spread, p, mid, [(np.clip(low, -1, 1), np.clip(high, -1, 1)) for low, high in ends])


def holm(p: np.ndarray) -> np.ndarray:
    """p, shape (k,), adjusted for being one of k claims (Holm 1979).

    As statsmodels' `multipletests`, which the tests hold it to, but that one collects all garbage on every call: a
    tenth of a second each time in a process with models loaded.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


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
        patterns = 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1) - 1
        parts = np.array_split(patterns, -(-patterns.shape[0] * sums.shape[1] // CHUNK))
        return np.asarray(sum((np.abs(part @ sums) >= seen).sum(axis=0) for part in parts) / len(patterns))
    rng = np.random.default_rng(seed)
    rows, extreme = max(1, CHUNK // max(count, sums.shape[1])), np.ones(sums.shape[1])
    for start in range(0, FLIPS, rows):
        size = min(rows, FLIPS - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes((size * count + 7) // 8), np.uint8))[: size * count]
        signs = bits.reshape(size, count) * 2.0 - 1
        extreme += (np.abs(signs @ sums) >= seen).sum(axis=0)
    return np.asarray(extreme / (FLIPS + 1))


def _differences(
    differences: np.ndarray, clusters: Clusters, binary: bool, seed: int
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """The standard deviation one example contributes, (k,), and the 95% and 90% intervals of the mean
    differences.

    Binary, no repeated groups: Bonett and Price (2012), who add one imaginary gain and one imaginary loss.
    Otherwise BCa or t, widened where needed to hold the same idea for any score and any groups,
    `_plus_two`.
    """
    n, k = differences.shape
    if binary and not clusters.repeat:
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

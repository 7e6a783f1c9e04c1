"""Intervals for the mean score of one rung.

Binary, no repeated groups: Wilson. Otherwise BCa bootstrap over clusters (Student t below 20 clusters),
widened where needed to hold the Wilson interval at the effective sample size. The widening is what makes
the promise true: on the scores language models really get, many exact zeros and ones, bootstrap and t alone
cover as little as 76% instead of 95% (docs/method.md shows it), and when all scores agree they have no
width at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluate.statistics.clusters import Estimate, clusters_of, estimate

# Below this many clusters the bootstrap sees too few distinct resamples: Student t instead.
SMALL = 20
# Efron's advice for bootstrap intervals; the Monte Carlo error of an end is then about 3% of the width.
RESAMPLES = 2000
# Rows of random numbers held at once: 5 million float64 are 40 MB.
CHUNK = 5_000_000


@dataclass(frozen=True)
class Interval:
    low: float
    high: float
    level: float = 0.95


def interval(
    scores: np.ndarray,
    groups: Sequence[str] | None = None,
    kind: str = "continuous",
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The interval of the mean of `scores`, shape (n,), each in [0, 1]. Always within [0, 1].

    No scores, a single continuous score, or scores from a single repeated group tell nothing of a spread:
    (0, 1).

    Raises:
        ValueError: kind is not "binary" or "continuous", or groups and scores differ in length.
    """
    return intervals({"": scores}, groups, kind, seed, level)[""]


def intervals(
    scores: Mapping[str, np.ndarray],
    groups: Sequence[str] | None = None,
    kind: str = "continuous",
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """`interval` for several rungs on the same examples, sharing the bootstrap's draws: much faster."""
    check_kind(kind)
    values = np.column_stack([np.asarray(column, dtype=float) for column in scores.values()])
    clusters = clusters_of(groups, len(values))
    if kind == "binary" and not clusters.repeat and len(values):
        low, high = wilson(values.mean(axis=0), np.full(values.shape[1], float(len(values))), normal_quantile(level))
    elif clusters.count < 2:
        low, high = np.zeros(values.shape[1]), np.ones(values.shape[1])
    else:
        sums = clusters.sums(values)
        found = estimate(sums, clusters.sizes)
        low, high = score_interval(found, level)
        ((other_low, other_high),) = resampled(sums, clusters.sizes, found, seed, (level,))
        low, high = np.minimum(low, other_low), np.maximum(high, other_high)
    return {
        name: Interval(float(a), float(b), level)
        for name, a, b in zip(scores, np.clip(low, 0, 1), np.clip(high, 0, 1), strict=True)
    }


def check_kind(kind: str) -> None:
    if kind not in ("binary", "continuous"):
        raise ValueError(f'kind is "binary" or "continuous", not "{kind}"')


def normal_quantile(level: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + level) / 2))


def t_quantile(level: float, clusters: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, clusters - 1))


def wilson(mean: np.ndarray, n: np.ndarray, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval for means of n trials; n may be fractional, an effective sample size."""
    from scipy.stats import norm
    from statsmodels.stats.proportion import proportion_confint

    # statsmodels takes a level; a t quantile is handed over as the level at which the normal quantile
    # equals it.
    low, high = proportion_confint(mean * n, n, alpha=2 * norm.sf(quantile), method="wilson")
    return np.minimum(low, mean), np.maximum(high, mean)


def score_interval(found: Estimate, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval at the effective sample size: that of a coin whose mean is as uncertain as this one.

    The form Dean and Pagano (2015) recommend for proportions from clusters; for any score in [0, 1] a coin
    is the worst case. Scores that all agree show no variance: then each cluster counts as one trial.
    """
    varies, count = found.variance > 0, len(found.left_out)
    effective = np.where(varies, found.mean * (1 - found.mean) / np.where(varies, found.variance, 1.0), float(count))
    return wilson(found.mean, effective, t_quantile(level, count))


def resampled(
    sums: np.ndarray, sizes: np.ndarray, found: Estimate, seed: int, levels: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """BCa bootstrap intervals (Efron 1987) of k means, Student t below 20 clusters: (low, high) per level.

    As `scipy.stats.bootstrap`, which the tests hold it to, but over clusters, with one set of draws for all
    series and no n-by-n jackknife: five rungs of 5,000 examples take a fifth of a second. The level is
    first raised as Hesterberg (2015) advises, because a bootstrap of n examples is too narrow by sqrt((n -
    1) / n) and knows no t distribution. Series without variance come back with no width; the caller widens
    them.
    """
    count = len(sizes)
    if count < SMALL:
        reach = [t_quantile(level, count) * np.sqrt(found.variance) for level in levels]
        return [(found.mean - r, found.mean + r) for r in reach]
    totals = resampled_totals(np.column_stack([sums, sizes]), seed)
    return bca(totals[:, :-1] / totals[:, -1:], found, levels)


def bca(means: np.ndarray, found: Estimate, levels: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(low, high) per level from k series of resampled figures, (resamples, k), and the estimates they vary around."""
    from scipy.stats import norm

    means, count = np.sort(means, axis=0), len(found.left_out)
    pulls = found.left_out.mean(axis=0) - found.left_out
    ends = np.tile(found.mean, (len(levels), 2, 1))
    for k in np.flatnonzero(found.variance):
        bias, acceleration = _bias(means[:, k], found.mean[k]), _acceleration(pulls[:, k])
        for row, level in zip(ends, levels, strict=True):
            z = bias + np.array([-1, 1]) * np.sqrt(count / (count - 1)) * t_quantile(level, count)
            row[:, k] = np.quantile(means[:, k], norm.cdf(bias + z / (1 - acceleration * z)))
    return [(row[0], row[1]) for row in ends]


def _bias(ordered: np.ndarray, mean: float) -> float:
    """BCa's bias correction: where the mean falls among the resampled means, ties counted half."""
    from scipy.stats import norm

    rounding = 1e-12
    below, upto = np.searchsorted(ordered, [mean - rounding, mean + rounding])
    return float(norm.ppf((below + upto) / (2 * len(ordered))))


def _acceleration(pulls: np.ndarray) -> float:
    """BCa's acceleration: the skewness of each cluster's pull on the mean."""
    return float((pulls**3).sum() / (6 * (pulls**2).sum() ** 1.5))


def resampled_totals(rows: np.ndarray, seed: int) -> np.ndarray:
    """Column totals, (RESAMPLES, k), of as many rows drawn with replacement as there are, from (clusters, k) rows."""
    rng, count = np.random.default_rng(seed), len(rows)
    at_once, parts = max(1, min(RESAMPLES, CHUNK // count)), []
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
        draws = rng.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        # As floats: a product of integers would not use BLAS, and takes fifty times as long.
        times = np.bincount(draws.ravel(), minlength=size * count).reshape(size, count).astype(float)
        parts.append(times @ rows)
    return np.concatenate(parts)

"""Examples that share a group are not independent, so all arithmetic runs over clusters.

A single example is a cluster too. With no repeated group every cluster has size one and each formula below
is its textbook form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A variance of a mean below this is rounding, not data: scores lie in [0, 1].
NO_VARIANCE = 1e-16


@dataclass(frozen=True)
class Clusters:
    """Which cluster each example is in: `index` (n,) integers below `count`; `sizes` (count,) examples."""

    index: np.ndarray
    sizes: np.ndarray

    @property
    def count(self) -> int:
        return len(self.sizes)

    @property
    def repeat(self) -> bool:
        """True when some cluster holds more than one example."""
        return self.count < len(self.index)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Cluster totals, shape (count, k), of values with shape (n, k)."""
        if not self.repeat:
            return values
        totals = np.zeros((self.count, values.shape[1]))
        np.add.at(totals, self.index, values)
        return totals


def clusters_of(groups: Sequence[str] | None, n: int) -> Clusters:
    """The clusters of n examples; without groups each example is its own.

    Raises:
        ValueError: the number of groups is not the number of examples.
    """
    if groups is None:
        return Clusters(np.arange(n), np.ones(n))
    if len(groups) != n:
        raise ValueError(f"{len(groups)} groups for {n} scores")
    # In order of appearance, so that examples without repeated groups are treated as if no groups were given.
    first: dict[str, int] = {}
    index = np.array([first.setdefault(group, len(first)) for group in groups], dtype=int)
    return Clusters(index, np.bincount(index, minlength=len(first)).astype(float))


@dataclass(frozen=True)
class Estimate:
    """Means of k series over the same clusters, (k,) each; `left_out` (clusters, k): without each cluster."""

    mean: np.ndarray
    variance: np.ndarray
    left_out: np.ndarray


def estimate(sums: np.ndarray, sizes: np.ndarray) -> Estimate:
    """Means per example from (clusters, k) sums, and their variances by the delete-one-cluster jackknife.

    Needs two clusters. Over single examples the variance is s²/n exactly. Over clusters it is the robust
    variance that behaves best when clusters are few and unequal (CR3: Bell and McCaffrey 2002).
    """
    count, total, n = len(sizes), sums.sum(axis=0), sizes.sum()
    mean = total / n
    left_out = (total - sums) / (n - sizes)[:, None]
    variance = (count - 1) / count * ((left_out - mean) ** 2).sum(axis=0)
    return Estimate(mean, np.where(variance > NO_VARIANCE, variance, 0.0), left_out)

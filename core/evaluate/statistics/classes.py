"""Macro-F1 with its interval: not a mean over examples, so neither Wilson nor a test of pairs applies to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.evaluate.statistics.clusters import NO_VARIANCE, Estimate, clusters_of
from core.evaluate.statistics.intervals import SMALL, Interval, bca, resampled_totals, t_quantile, wilson


def macro_f1(
    actual: np.ndarray, predicted: Mapping[str, np.ndarray], groups: Sequence[str] | None = None, seed: int = 0
) -> dict[str, tuple[float, Interval]]:
    """By rung the mean F1 of the classes that occur in `actual`, and its 95% interval.

    `actual` and each rung's `predicted`: class numbers, (n,), negative for no class. What is answered to an example
    without a class is wrong; an answer that is no actual class is a miss and no more.
    BCa bootstrap over clusters (t below 20 clusters), widened to hold Wilson's interval for as many trials as the
    variance says, or the rarest classes where nothing varies: ten right answers of a class are no certainty.
    """
    classes, sizes_of = np.unique(actual[actual >= 0], return_counts=True)
    clusters = clusters_of(groups, len(actual))
    if not len(classes):
        return {rung: (0.0, Interval(0, 1)) for rung in predicted}
    is_actual = actual[:, None] == classes
    columns = []
    for given in predicted.values():
        is_given = given[:, None] == classes
        columns.append(np.hstack([is_actual & is_given, is_actual, is_given]).astype(float))
    rows = clusters.sums(np.hstack(columns))
    mean = _macro_f1(rows.sum(axis=0, keepdims=True), len(predicted))[0]
    if clusters.count < 2:
        return {rung: (float(value), Interval(0, 1)) for rung, value in zip(predicted, mean, strict=True)}
    left_out = _macro_f1(rows.sum(axis=0) - rows, len(predicted))
    variance = (clusters.count - 1) / clusters.count * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    found = Estimate(mean, np.where(variance > NO_VARIANCE, variance, 0.0), left_out)
    # A mean over classes varies as its smallest ones do: the harmonic mean of their sizes counts.
    trials = len(classes) ** 2 / (1 / sizes_of).sum() * clusters.count / len(actual)
    varies = found.variance > 0
    effective = np.where(varies, mean * (1 - mean) / np.where(varies, found.variance, 1.0), trials)
    quantile = t_quantile(0.95, clusters.count)
    low, high = wilson(mean, np.maximum(effective, 1e-9), quantile)
    if clusters.count < SMALL:
        reach = quantile * np.sqrt(found.variance)
        ends = mean - reach, mean + reach
    else:
        (ends,) = bca(_macro_f1(resampled_totals(rows, seed), len(predicted)), found, (0.95,))
    low, high = np.clip(np.minimum(low, ends[0]), 0, 1), np.clip(np.maximum(high, ends[1]), 0, 1)
    return {rung: (float(mean[k]), Interval(float(low[k]), float(high[k]))) for k, rung in enumerate(predicted)}


def _macro_f1(totals: np.ndarray, rungs: int) -> np.ndarray:
    """(m, rungs) from m rows of totals: per rung and class its hits, its examples and its answers.

    A class without examples in a row (a resample may miss a rare one) is left out of that row's mean.
    """
    hits, examples, given = np.moveaxis(totals.reshape(len(totals), rungs, 3, -1), 2, 0)
    f1 = 2 * hits / np.maximum(examples + given, 1)
    there = examples > 0
    return np.asarray((f1 * there).sum(axis=2) / np.maximum(there.sum(axis=2), 1))

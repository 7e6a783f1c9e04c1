"""The same scores, a part of the test at a time: by label, by group, by the length of the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from core.evaluate.metrics import metric_named
from core.evaluate.reading import Scores
from core.evaluate.statistics import intervals

By = Literal["label", "group", "length"]
# Beyond these the smallest are told together: nobody reads a table of a thousand groups.
MOST_SLICES = 50
# Fewer examples than this make no thirds worth looking at.
FEWEST_FOR_LENGTHS = 6


def by(
    scores: Scores, metric: str, what: By, seed: int = 0, labels: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """One row per slice: `slice`, `n`, and by rung `score` and `interval`, None where the metric does not apply.

    The largest slice comes first, lengths from short to long. Empty where there is only one slice. The intervals are
    of each slice on its own: where one of many stands out, it may be by chance. `labels`: those of the examples, where
    they carry none.
    """
    if what == "length":
        names = _lengths(scores.prompt_characters)
        order = list(dict.fromkeys(names[i] for i in np.argsort(scores.prompt_characters, kind="stable")))
    else:
        named_so = scores.labels if labels is None or any(scores.labels) else labels
        given = scores.groups if what == "group" else [label or "no label" for label in named_so]
        names, order = _largest(given)
    if len(order) < 2 or (what == "group" and len(set(scores.groups)) == scores.n):
        return []
    named = np.array(names)
    return [_slice(scores, metric, name, named == name, what, seed) for name in order]


def all_of(
    scores: Scores, metric: str, seed: int, labels: Sequence[str] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """By every way of slicing that there is something to tell of; seconds for thousands of examples."""
    return {what: rows for what in get_args(By) if (rows := by(scores, metric, what, seed, labels))}


def kind_of(scores: Scores, metric: str) -> str:
    """Binary where the metric is, unless means over samples lie between."""
    if metric_named(metric.split(":")[0]).kind == "continuous":
        return "continuous"
    whole = all(np.isin(column[~np.isnan(column)], (0, 1)).all() for column in scores.values[metric].values())
    return "binary" if whole else "continuous"


def _slice(scores: Scores, metric: str, name: str, chosen: np.ndarray, what: By, seed: int) -> dict[str, Any]:
    kind = kind_of(scores, metric)
    values = scores.values[metric]
    # Rungs that are scored on the same examples, which is nearly always all of them, share the bootstrap's draws.
    alike: dict[bytes, list[str]] = {}
    for rung in scores.rungs:
        alike.setdefault(np.isnan(values[rung]).tobytes(), []).append(rung)
    rungs: dict[str, Any] = dict.fromkeys(scores.rungs)
    for names in alike.values():
        known = np.flatnonzero(chosen & ~np.isnan(values[names[0]]))
        if known.size:
            # Within one group its examples are all there is; elsewhere groups are what was drawn.
            groups = [scores.groups[i] for i in known]
            drawn = None if what == "group" and len(set(groups)) == 1 else groups
            spans = intervals({rung: values[rung][known] for rung in names}, drawn, kind, seed)
            for rung, span in spans.items():
                rungs[rung] = {"score": float(values[rung][known].mean()), "interval": [span.low, span.high]}
    return {"slice": name, "n": int(chosen.sum()), "rungs": rungs}


def _largest(given: list[str]) -> tuple[list[str], list[str]]:
    """Each example's slice and the slices, largest first, the smallest together at the end."""
    counted = [name for name, _ in Counter(given).most_common()]
    if len(counted) <= MOST_SLICES:
        return given, counted
    kept = set(counted[: MOST_SLICES - 1])
    others = f"{len(counted) - len(kept)} others"
    return [name if name in kept else others for name in given], [*counted[: MOST_SLICES - 1], others]


def _lengths(characters: np.ndarray) -> list[str]:
    """Thirds of the test by the length of the prompt; fewer where lengths hardly differ."""
    if len(characters) < FEWEST_FOR_LENGTHS:
        return ["all"] * len(characters)
    first, second = (int(edge) for edge in np.quantile(characters, (1 / 3, 2 / 3), method="inverted_cdf"))
    short, long = f"short: up to {first:,} characters", f"long: over {second:,} characters"
    middle = f"medium: {first + 1:,} to {second:,} characters"
    return [short if count <= first else middle if count <= second else long for count in characters]

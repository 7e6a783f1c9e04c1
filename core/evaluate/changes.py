"""Over time: two experiments on the same test data, example by example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import aliased

from core.errors import UserError
from core.evaluate.metrics import metric_named
from core.evaluate.reading import Scores, read_values
from core.evaluate.slices import kind_of
from core.evaluate.statistics import Interval, judge
from core.evaluate.statistics.clusters import clusters_of
from core.evaluate.statistics.paired import holm, paired
from core.store.database import session
from core.store.tables import Experiment, Prediction

# Scores closer than this are equal, whatever the metric; rounding stays below it.
SAME = 1e-9


@dataclass(frozen=True)
class RungChange:
    """One rung then and now. Lists hold ids of examples in order of position.

    `gained` and `lost` score higher and lower than before; `reworded` are answered differently and score the same.
    `effect`: mean score now less then, with its 95% interval; `p_adjusted`: Holm over all rungs; `outcome` is
    "unchanged" where every answer reads and scores as before.
    """

    rung: str
    before: float
    now: float
    gained: list[int]
    lost: list[int]
    reworded: list[int]
    same: int
    effect: float
    interval: Interval
    p: float
    p_adjusted: float
    outcome: str


@dataclass(frozen=True)
class Changes:
    """`n` examples answered by both; rungs that only one of the experiments has are named and left out."""

    metric: str
    title: str
    n: int
    rungs: list[RungChange]
    only_earlier: list[str]
    only_later: list[str]

    @property
    def examples(self) -> list[int]:
        """Every example on which some rung's answer or score changed."""
        return sorted({i for rung in self.rungs for i in (*rung.gained, *rung.lost, *rung.reworded)})


def between(earlier_id: int, later_id: int, metric: str | None = None) -> Changes:
    """What changed, under a metric that both have; empty: the one that decides in the later.

    Raises UserError where the two cannot be held against each other.
    """
    with session(read_only=True) as db:
        earlier, later = db.get(Experiment, earlier_id), db.get(Experiment, later_id)
    if earlier is None or later is None:
        raise UserError("One of the two comparisons does not exist any more.", "Choose another.")
    if earlier.dataset_id != later.dataset_id:
        raise UserError("The two comparisons are of different datasets.", "Choose two of the same.")
    metric = metric or later.metric
    then, now = read_values(earlier_id, [metric]), read_values(later_id, [metric])
    if metric not in then.values or metric not in now.values:
        raise UserError(f"{metric} was not measured in both comparisons.", "Choose a metric that both have.")
    names = [rung for rung in now.rungs if rung in then.rungs]
    both = np.ones(now.n, dtype=bool)
    for rung in names:
        both &= then.answered[rung] & now.answered[rung]
    return Changes(
        metric,
        metric_named(metric.split(":")[0]).title,
        int(both.sum()),
        _rungs(then, now, metric, names, both, later) if names and both.any() else [],
        [rung for rung in then.rungs if rung not in names],
        [rung for rung in now.rungs if rung not in names],
    )


def _rungs(
    then: Scores, now: Scores, metric: str, names: Sequence[str], both: np.ndarray, later: Experiment
) -> list[RungChange]:
    before = {rung: np.nan_to_num(then.values[metric][rung][both]) for rung in names}
    after = {rung: np.nan_to_num(now.values[metric][rung][both]) for rung in names}
    differences = np.column_stack([after[rung] - before[rung] for rung in names])
    binary = {kind_of(then, metric), kind_of(now, metric)} == {"binary"}
    clusters = clusters_of([now.groups[i] for i in np.flatnonzero(both)], len(differences))
    seen = paired(differences, clusters, binary, later.seed)
    adjusted = holm(seen.p)
    ids = now.examples[both]
    differing = _differing(then.experiment_id, now.experiment_id)
    found = []
    for k, rung in enumerate(names):
        change = differences[:, k]
        other_text = np.array([(rung, int(example)) in differing for example in ids], dtype=bool)
        level = np.abs(change) <= SAME
        found.append(
            RungChange(
                rung,
                float(before[rung].mean()),
                float(after[rung].mean()),
                ids[change > SAME].tolist(),
                ids[change < -SAME].tolist(),
                ids[level & other_text].tolist(),
                int((level & ~other_text).sum()),
                float(seen.effect[k]),
                seen.interval(k),
                float(seen.p[k]),
                float(adjusted[k]),
                "unchanged"
                if (level & ~other_text).all()
                else judge(
                    float(seen.effect[k]), seen.interval(k), seen.interval_90(k), float(adjusted[k]), later.delta
                ),
            )
        )
    return found


def _differing(earlier_id: int, later_id: int) -> set[tuple[str, int]]:
    """(rung, example) pairs whose answers read differently, in any sample."""
    then, now = aliased(Prediction), aliased(Prediction)
    query = (
        sa.select(now.rung, now.example_id)
        .join(
            then,
            (then.rung == now.rung) & (then.example_id == now.example_id) & (then.sample == now.sample),
        )
        .where(then.experiment_id == earlier_id, now.experiment_id == later_id, then.output != now.output)
    )
    with session(read_only=True) as db:
        return {(rung, example_id) for rung, example_id in db.execute(query)}

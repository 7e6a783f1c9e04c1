"""Finding the examples worth looking at among an experiment's answers: filters, search and order, over columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from core.evaluate.reading import Scores
from core.store.database import session
from core.store.tables import Example, Experiment, Prediction, Score

Show = Literal["all", "answers differ", "scores differ", "wrong", "worse", "better", "failed", "cut", "noted"]
Order = Literal["position", "largest difference", "lowest score", "slowest"]
SHOWS: tuple[Show, ...] = get_args(Show)
ORDERS: tuple[Order, ...] = get_args(Order)
# Scores closer than this are equal, whatever the metric; rounding stays below it.
SAME = 1e-9
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Looking:
    """What somebody looks for.

    `of` is the rung that `wrong`, `worse`, `better`, `failed` and `cut` are about, empty for any rung; `against` is the
    one that `worse` and `better` compare it with. `find` may stand in the question, the reference, the label or an
    answer, in any case.
    """

    metric: str
    show: Show = "all"
    of: str = ""
    against: str = ""
    label: str | None = None
    group: str | None = None
    find: str = ""
    order: Order = "position"


def rows_of(scores: Scores, looking: Looking) -> Rows:
    """Which rows of `scores` fit, in the order asked for. An example that nobody has answered yet never fits."""
    fits = _any([scores.answered[rung] for rung in scores.rungs]) & _shown(scores, looking)
    if looking.label is not None:
        fits &= np.array([label == looking.label for label in scores.labels], dtype=bool)
    if looking.group is not None:
        fits &= np.array([group == looking.group for group in scores.groups], dtype=bool)
    if looking.find:
        fits &= np.isin(scores.examples, list(containing(scores.experiment_id, looking.find)))
    rows = np.flatnonzero(fits)
    return rows[np.argsort(_rank(scores, looking)[rows], kind="stable")]


def values_of(scores: Scores, metric: str) -> dict[str, Values]:
    """By rung the metric's values, nan where it does not apply or an answer is not there or not scored yet."""
    return {rung: np.where(scores.scored[metric][rung], scores.values[metric][rung], np.nan) for rung in scores.rungs}


def containing(experiment_id: int, text: str) -> set[int]:
    """Ids of the examples whose texts or answers contain `text`, in any case."""
    with session(read_only=True) as db:
        output = Prediction.output
        folded: sa.ColumnElement[str] = sa.func.lower(output)
        wanted = text.casefold()
        if db.get_bind().dialect.name == "sqlite":
            # SQLite knows the case of ASCII letters only; Python knows all.
            driver = db.connection().connection.driver_connection
            assert driver is not None
            driver.create_function("casefolded", 1, str.casefold, deterministic=True)
            folded = sa.func.casefolded(output)
        dataset = sa.select(Experiment.dataset_id).where(Experiment.id == experiment_id).scalar_subquery()
        asked = sa.select(Example.id).where(
            Example.dataset_id == dataset,
            Example.split == "test",
            Example.folded.contains(wanted, autoescape=True),
        )
        answered = sa.select(Prediction.example_id).where(
            Prediction.experiment_id == experiment_id, folded.contains(wanted, autoescape=True)
        )
        return set(db.scalars(asked)) | set(db.scalars(answered))


def state(experiment_id: int) -> tuple[int, int, int]:
    """Differs as soon as an answer or a score has come or gone: what read scores may be remembered under."""
    with session(read_only=True) as db:
        mine = sa.select(sa.func.count(), sa.func.max(Prediction.id)).where(Prediction.experiment_id == experiment_id)
        count, newest = db.execute(mine).one()
        # Of all experiments: its own could only be told by going through every one of its answers.
        return count, newest or 0, db.scalar(sa.select(sa.func.max(Score.id))) or 0


def _shown(scores: Scores, looking: Looking) -> Mask:
    rungs = [looking.of] if looking.of in scores.rungs else scores.rungs
    values = values_of(scores, looking.metric)
    if looking.show == "answers differ":
        return _differ({rung: np.where(scores.answered[rung], scores.outputs[rung], np.nan) for rung in scores.rungs})
    if looking.show == "scores differ":
        return _differ(values)
    if looking.show == "wrong":
        return _any([values[rung] < 1 - SAME for rung in rungs])
    if looking.show == "failed":
        return _any([scores.failed[rung] for rung in rungs])
    if looking.show == "cut":
        return _any([scores.cut[rung] for rung in rungs])
    if looking.show in ("worse", "better") and {looking.of, looking.against} <= set(scores.rungs):
        sign = 1 if looking.show == "better" else -1
        return sign * (values[looking.of] - values[looking.against]) > SAME
    if looking.show == "noted":
        return np.isin(scores.examples, _noted(scores.experiment_id))
    return np.ones(scores.n, dtype=bool)


def _any(masks: Sequence[Mask]) -> Mask:
    return np.asarray(np.stack(masks).any(axis=0), dtype=bool)


def _differ(columns: dict[str, Values]) -> Mask:
    """Where not all values that are there are the same."""
    return _span(columns) > SAME


def _span(columns: dict[str, Values]) -> Values:
    """From the lowest to the highest in each row; 0 where there are none."""
    stacked = np.stack(list(columns.values()))
    high = np.where(np.isnan(stacked), -np.inf, stacked).max(axis=0)
    low = np.where(np.isnan(stacked), np.inf, stacked).min(axis=0)
    return np.where(high >= low, high - low, 0.0)


def _rank(scores: Scores, looking: Looking) -> Values:
    """Lowest first."""
    rungs = [looking.of] if looking.of in scores.rungs else scores.rungs
    if looking.order == "largest difference":
        values = values_of(scores, looking.metric)
        if {looking.of, looking.against} <= set(scores.rungs):
            values = {rung: values[rung] for rung in (looking.of, looking.against)}
        return -_span(values)
    if looking.order == "lowest score":
        stacked = np.stack([values_of(scores, looking.metric)[rung] for rung in rungs])
        known = ~np.isnan(stacked)
        mean = np.where(known, stacked, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return np.where(known.any(axis=0), mean, np.inf)
    if looking.order == "slowest":
        slowest: Values = np.stack([scores.latency_s[rung] for rung in rungs]).max(axis=0)
        return -slowest
    return scores.positions.astype(float)


def _noted(experiment_id: int) -> list[int]:
    """Read each time: a note may have been written a moment ago."""
    dataset = sa.select(Experiment.dataset_id).where(Experiment.id == experiment_id).scalar_subquery()
    with session(read_only=True) as db:
        return list(db.scalars(sa.select(Example.id).where(Example.dataset_id == dataset, Example.note != "")))

"""An experiment's answers in columns: what every page and report is made of.

25,000 predictions are read as columns and never as objects, in a fraction of a second; the texts of one example are
read when somebody looks at it.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from core.evaluate.plan import Plan, metrics_of
from core.store.database import session
from core.store.tables import Example, Experiment, Prediction, Score

Column = npt.NDArray[Any]
# Examples are handed over so many at a time when all are gone through.
PAGE = 200


@dataclass(frozen=True)
class Scores:
    """All of an experiment but its texts: n test examples in order of position, one column per rung and figure.

    With several samples, figures are means over those there are.
    """

    experiment_id: int
    rungs: list[str]
    examples: Column
    """Ids of the examples, (n,)."""
    positions: Column
    groups: list[str]
    labels: list[str | None]
    prompt_characters: Column
    reference_characters: Column
    noted: Column
    """Whether a person wrote a note beside the example."""
    values: dict[str, dict[str, Column]] = field(default_factory=dict)
    """By metric and rung: (n,) from 0 to 1. Failed and missing answers are 0; nan where the metric does not apply."""
    scored: dict[str, dict[str, Column]] = field(default_factory=dict)
    """By metric and rung: whether all samples have their score; slow metrics come after the answers."""
    answered: dict[str, Column] = field(default_factory=dict)
    """By rung: whether all its samples are there, failed or not."""
    failed: dict[str, Column] = field(default_factory=dict)
    cut: dict[str, Column] = field(default_factory=dict)
    """By rung: whether an answer ended at the longest allowed length."""
    latency_s: dict[str, Column] = field(default_factory=dict)
    input_tokens: dict[str, Column] = field(default_factory=dict)
    output_tokens: dict[str, Column] = field(default_factory=dict)
    cost_usd: dict[str, Column] = field(default_factory=dict)
    outputs: dict[str, Column] = field(default_factory=dict)
    """By rung: a number for each answer's text; equal numbers are equal texts within this object. 0 for none."""

    @property
    def n(self) -> int:
        return len(self.examples)


@dataclass(frozen=True)
class Asked:
    """One example with all that was answered: predictions by rung, in order of sample, and their scores by id."""

    example: Example
    predictions: dict[str, list[Prediction]]
    scores: dict[int, dict[str, Score]]


def read_scores(experiment_id: int) -> Scores:
    """Everything there is so far."""
    figures = (
        Prediction.error.is_not(None),
        Prediction.finish_reason == "length",
        Prediction.latency_s,
        Prediction.input_tokens,
        Prediction.output_tokens,
        Prediction.cost_usd,
        Prediction.output,
    )
    return _read(experiment_id, None, figures)


def read_values(experiment_id: int, metrics: Collection[str]) -> Scores:
    """Which answers there are and what they score by these metrics; the columns of all else are empty.

    All of that stands in indexes, beside the answers' long rows, and takes a fraction of the time.
    """
    return _read(experiment_id, metrics, ())


@contextmanager
def _no_collection() -> Iterator[None]:
    """Looking for cycles among 100,000 rows that have none would double the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_no_collection()
def _read(experiment_id: int, metrics: Collection[str] | None, figures: Sequence[Any]) -> Scores:
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
        plan = Plan.model_validate(experiment.spec)
        examples = db.execute(
            sa.select(
                Example.id,
                Example.position,
                Example.group,
                Example.label,
                sa.func.length(Example.folded),
                sa.func.length(Example.reference),
                Example.note != "",
            )
            .where(Example.dataset_id == experiment.dataset_id, Example.split == "test")
            .order_by(Example.position)
        ).all()
        mine = Prediction.experiment_id == experiment_id
        predictions = db.execute(
            sa.select(Prediction.id, Prediction.rung, Prediction.example_id, *figures)
            .where(mine)
            # As the unique index has them; what several samples say together depends on their order.
            .order_by(Prediction.rung, Prediction.example_id, Prediction.sample)
        ).all()
        known = [choice.identity for choice in metrics_of(experiment)]
        wanted = [metric for metric in known if metrics is None or metric in metrics]
        scored = db.execute(
            sa.select(Score.prediction_id, Score.metric, Score.value)
            .join(Prediction, Prediction.id == Score.prediction_id)
            .where(mine, Score.metric.in_(wanted))
        ).all()
    ids, positions, groups, labels, folded, references, noted = zip(*examples, strict=True) if examples else [()] * 7
    found = Scores(
        experiment_id=experiment_id,
        rungs=[rung.name for rung in plan.ladder],
        examples=np.array(ids, dtype=np.int64),
        positions=np.array(positions, dtype=np.int64),
        groups=list(groups),
        labels=list(labels),
        # The folded text is prompt, reference and label together.
        prompt_characters=np.maximum(np.array(folded, dtype=np.int64) - np.array(references, dtype=np.int64), 0),
        reference_characters=np.array(references, dtype=np.int64),
        noted=np.array(noted, dtype=bool),
    )
    row_of = {int(example): row for row, example in enumerate(found.examples)}
    by_rung: dict[str, list[Any]] = {rung: [] for rung in found.rungs}
    for prediction in predictions:
        if prediction[1] in by_rung and prediction[2] in row_of:
            by_rung[prediction[1]].append(prediction)
    rows = {rung: np.array([row_of[p[2]] for p in mine], dtype=int) for rung, mine in by_rung.items()}
    counts = {rung: np.bincount(at, minlength=found.n) for rung, at in rows.items()}
    found.answered.update({rung: count >= plan.samples for rung, count in counts.items()})
    if figures:
        _add_figures(found, by_rung, rows, counts)
    place = {p[0]: (rung, row) for rung, mine in by_rung.items() for p, row in zip(mine, rows[rung], strict=True)}
    _add_values(found, plan.samples, wanted, scored, place, counts)
    return found


def _add_figures(
    found: Scores, by_rung: dict[str, list[Any]], rows: dict[str, Column], counts: dict[str, Column]
) -> None:
    n = found.n
    texts: dict[str, int] = {"": 0}
    for rung, predictions in by_rung.items():
        at, shared = rows[rung], np.maximum(counts[rung], 1)
        table = np.array([p[3:9] for p in predictions], dtype=float).reshape(-1, 6)
        found.failed[rung] = np.bincount(at, table[:, 0], minlength=n) > 0
        found.cut[rung] = np.bincount(at, table[:, 1], minlength=n) > 0
        for column, name in enumerate(("latency_s", "input_tokens", "output_tokens", "cost_usd"), 2):
            getattr(found, name)[rung] = np.bincount(at, table[:, column], minlength=n) / shared
        outputs = np.zeros(n, dtype=np.int64)
        for row, prediction in zip(at, predictions, strict=True):
            text = texts.setdefault(prediction[9], len(texts))
            # Of several samples, what they say together.
            outputs[row] = text if not outputs[row] else hash((int(outputs[row]), text))
        found.outputs[rung] = outputs


def _add_values(
    found: Scores,
    samples: int,
    metrics: list[str],
    scored: Sequence[Any],
    place: dict[int, tuple[str, int]],
    counts: dict[str, Column],
) -> None:
    """`place`: rung and row of each prediction's id; `counts`: how many answers each row has."""
    n = found.n
    totals = {metric: {rung: np.zeros(n) for rung in found.rungs} for metric in metrics}
    having = {metric: {rung: np.zeros(n, dtype=int) for rung in found.rungs} for metric in metrics}
    absent = {metric: {rung: np.zeros(n, dtype=bool) for rung in found.rungs} for metric in metrics}
    for prediction_id, metric, value in scored:
        if prediction_id not in place:
            continue
        rung, row = place[prediction_id]
        having[metric][rung][row] += 1
        if value is None:
            absent[metric][rung][row] = True
        else:
            totals[metric][rung][row] += value
    for metric in metrics:
        found.scored[metric] = {rung: having[metric][rung] >= samples for rung in found.rungs}
        found.values[metric] = {
            rung: np.where(absent[metric][rung], np.nan, totals[metric][rung] / np.maximum(counts[rung], 1))
            for rung in found.rungs
        }


def read_example(experiment_id: int, example_id: int) -> Asked:
    """One example with every rung's answers and all their scores."""
    return next(_asked(experiment_id, [example_id]))


def answers(experiment_id: int) -> Iterator[Asked]:
    """Every test example in order of position, some at a time, for exports."""
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
        ids = db.scalars(
            sa.select(Example.id)
            .where(Example.dataset_id == experiment.dataset_id, Example.split == "test")
            .order_by(Example.position)
        ).all()
    for start in range(0, len(ids), PAGE):
        yield from _asked(experiment_id, ids[start : start + PAGE])


def _asked(experiment_id: int, example_ids: Any) -> Iterator[Asked]:
    with session(read_only=True) as db:
        examples = db.scalars(sa.select(Example).where(Example.id.in_(example_ids)).order_by(Example.position)).all()
        predictions = db.scalars(
            sa.select(Prediction)
            .where(Prediction.experiment_id == experiment_id, Prediction.example_id.in_(example_ids))
            .order_by(Prediction.sample)
        ).all()
        scores = db.scalars(sa.select(Score).where(Score.prediction_id.in_([p.id for p in predictions]))).all()
    by_prediction: dict[int, dict[str, Score]] = {prediction.id: {} for prediction in predictions}
    for score in scores:
        by_prediction[score.prediction_id][score.metric] = score
    by_example: dict[int, list[Prediction]] = {example.id: [] for example in examples}
    for prediction in predictions:
        by_example[prediction.example_id].append(prediction)
    for example in examples:
        mine = by_example[example.id]
        by_rung: dict[str, list[Prediction]] = {}
        for prediction in mine:
            by_rung.setdefault(prediction.rung, []).append(prediction)
        yield Asked(example, by_rung, {prediction.id: by_prediction[prediction.id] for prediction in mine})

"""From stored answers to stored scores: each metric is worked out once for each answer, and only where it is missing.

Cheap metrics follow the answers as they come, so that a running comparison shows partial scores; the others come
afterwards, in batches, and a stop or a kill costs the batch at hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session, aliased

from core.errors import UserError
from core.evaluate.metrics import metric_named
from core.evaluate.metrics.registry import Answer, Metric, Scored, Unfinished
from core.evaluate.plan import MetricChoice, Plan, metrics_of
from core.jobs.context import Stopped
from core.models.budget import CapReached
from core.store.database import lock, session
from core.store.tables import Example, Experiment, Prediction, Score

# Answers scored between two looks at whether to stop: a second or so of work, or for judges a few requests' worth.
BATCH = {"cheap": 500, "slow": 100, "paid": 16}
# Fewer than SQLite's limit of variables in one statement.
IDS_PER_QUERY = 500

Progress = Callable[[float, float, str], None]


def score_missing(
    experiment_id: int,
    choices: Sequence[MetricChoice],
    progress: Progress = lambda done, total, message: None,
    check_stop: Callable[[], None] = lambda: None,
) -> None:
    """Store a score of each metric for each answer that has none. `check_stop` may raise between batches.

    What an earlier experiment paid or waited for is taken over where the answer is the same.

    Raises:
        UserError: a metric could not score an answer; the error names metric, example and reason. Scores stored by
            then are kept.
    """
    retrieving = _retrieving(experiment_id)
    for choice in choices:
        metric = metric_named(choice.name)
        if metric.cost != "cheap":
            _take_over(experiment_id, choice.identity)
        missing = _missing(experiment_id, choice.identity)
        for start in range(0, len(missing), BATCH[metric.cost]):
            progress(start, len(missing), f"Scoring: {metric.title}")
            check_stop()
            score_these(missing[start : start + BATCH[metric.cost]], choice, retrieving)
        progress(len(missing), len(missing), f"Scoring: {metric.title}")


def ensure_scores(experiment_id: int) -> None:
    """Store the cheap scores that an experiment of before there were stored scores is lacking."""
    with session(read_only=True) as db:
        choices = metrics_of(db.get_one(Experiment, experiment_id))
    score_missing(experiment_id, [choice for choice in choices if metric_named(choice.name).cost == "cheap"])


def score_these(prediction_ids: Sequence[int], choice: MetricChoice, retrieving: frozenset[str]) -> None:
    """Score these answers under one metric and store the values. `retrieving`: names of the rungs with retrieval."""
    with session(read_only=True) as db:
        rows = _rows(db, prediction_ids)
    metric, values = metric_named(choice.name), dict[int, Scored]()
    judged: list[tuple[int, Answer, int]] = []
    for prediction, example in rows:
        retrieval = prediction.rung in retrieving
        verdict = _without_metric(metric, prediction, example, retrieval=retrieval)
        if verdict is None:
            judged.append((prediction.id, _answer(prediction, example, retrieval=retrieval), example.position))
        else:
            values[prediction.id] = verdict
    odd: list[tuple[int, float]] = []
    given, ended = _scored(choice, judged)
    for (prediction_id, _, position), scored in zip(judged, given, strict=True):
        if scored is None:
            continue
        if scored.value is None or 0 <= scored.value <= 1:
            values[prediction_id] = scored
        else:
            odd.append((position, scored.value))
    # What is not cheap may be taken over later, by an experiment on the very same example.
    about = {} if metric.cost == "cheap" else {p.id: {"about": _about(example)} for p, example in rows}
    _store(choice.identity, {id: (found.value, {**found.notes, **about.get(id, {})}) for id, found in values.items()})
    if ended is not None:
        raise ended
    for position, value in odd:
        # It would go unnoticed into every mean.
        raise UserError(
            f"The metric {metric.title} gave {value} for test example {position + 1}.",
            "Values must be from 0 to 1, or None where the metric does not apply.",
        )


def retrieving_rungs(plan: Plan) -> frozenset[str]:
    """Names of the plan's rungs that retrieve passages."""
    return frozenset(rung.name for rung in plan.ladder if rung.retrieval)


def _without_metric(metric: Metric, prediction: Prediction, example: Example, *, retrieval: bool) -> Scored | None:
    """The value of what no metric is asked about: a failed answer, and an example without what the metric needs."""
    if prediction.error is not None:
        # Where a metric says nothing of any answer of a rung, it says nothing of a failed one either.
        by_context = "context" in metric.needs and bool((example.context or "").strip())
        applies = retrieval or "passages" not in metric.needs or by_context
        return Scored(0.0 if applies else None, {"failed": True})
    if "reference" in metric.needs and not example.reference.strip():
        return Scored(0.0, {"no_reference": True})
    return None


def _answer(prediction: Prediction, example: Example, *, retrieval: bool) -> Answer:
    return Answer(
        output=prediction.output,
        reference=example.reference,
        messages=example.messages,
        label=example.label,
        context=example.context,
        passages=prediction.retrieved,
        retrieval=retrieval,
        output_tokens=prediction.output_tokens,
        finish_reason=prediction.finish_reason,
        example_id=example.id,
    )


def _scored(
    choice: MetricChoice, judged: Sequence[tuple[int, Answer, int]]
) -> tuple[Sequence[Scored | None], BaseException | None]:
    """The metric's values, and what ended it before it had them all; raises UserError naming the failing example."""
    metric, answers = metric_named(choice.name), [answer for _, answer, _ in judged]
    if not answers:
        return [], None
    try:
        return metric.score_all(answers, choice.settings), None
    except Unfinished as end:
        return end.values, end.__cause__
    except (CapReached, Stopped):
        raise
    except Exception as error:
        # One at a time tells which answer it is; a paid metric would pay twice, and says itself what is wrong.
        culprit = None if metric.cost == "paid" else _first_failing(metric, choice, judged)
        position, reason = culprit or (None, error)
        where = "" if position is None else f" on test example {position + 1}"
        said, remedy = _in_words(reason)
        raise UserError(f"The metric {metric.title} failed{where}: {said}", remedy) from reason


def _first_failing(
    metric: Metric, choice: MetricChoice, judged: Iterable[tuple[int, Answer, int]]
) -> tuple[int, Exception] | None:
    for _, answer, position in judged:
        try:
            metric.score_all([answer], choice.settings)
        except Exception as error:
            return position, error
    return None


def _in_words(error: Exception) -> tuple[str, str]:
    if isinstance(error, UserError):
        return error.what, error.remedy
    return (
        f"{type(error).__name__}: {error}.",
        "Leave the metric out or change it on the Compare page; answers and other scores are kept.",
    )


def _retrieving(experiment_id: int) -> frozenset[str]:
    with session(read_only=True) as db:
        return retrieving_rungs(Plan.model_validate(db.get_one(Experiment, experiment_id).spec))


def _missing(experiment_id: int, identity: str) -> Sequence[int]:
    """Ids of the answers without a score of this metric, in the order they came."""
    there = select(Score.id).where(Score.prediction_id == Prediction.id, Score.metric == identity)
    query = select(Prediction.id).where(Prediction.experiment_id == experiment_id, ~there.exists())
    with session(read_only=True) as db:
        return db.scalars(query.order_by(Prediction.id)).all()


def _take_over(experiment_id: int, identity: str) -> None:
    """Copy scores of the same metric from the same rung's same answer to the same example in another experiment."""
    mine, other, there = aliased(Prediction), aliased(Prediction), aliased(Score)
    query = (
        select(mine.id, Score.value, Score.notes, Example)
        .join(Example, Example.id == mine.example_id)
        .join(other, (other.key == mine.key) & (other.example_id == mine.example_id) & (other.rung == mine.rung))
        .join(Score, (Score.prediction_id == other.id) & (Score.metric == identity))
        .outerjoin(there, (there.prediction_id == mine.id) & (there.metric == identity))
        .where(mine.experiment_id == experiment_id, mine.key != "", mine.error.is_(None), other.error.is_(None))
        .where(other.id != mine.id, other.output == mine.output, there.id.is_(None))
        .order_by(Score.id)
    )
    with session(read_only=True) as db:
        # Where several experiments have it, the newest counts.
        found = {
            id: (value, {**notes, "reused": True})
            for id, value, notes, example in db.execute(query)
            if notes.get("about") == _about(example)
        }
    _store(identity, found)


def _about(example: Example) -> str:
    """Hash of what a metric sees of the example besides the question, which a person may have changed since."""
    seen = json.dumps([example.reference, example.label, example.context])
    return hashlib.sha256(seen.encode()).hexdigest()[:16]


def _rows(db: Session, prediction_ids: Sequence[int]) -> list[tuple[Prediction, Example]]:
    rows: list[tuple[Prediction, Example]] = []
    for start in range(0, len(prediction_ids), IDS_PER_QUERY):
        ids = prediction_ids[start : start + IDS_PER_QUERY]
        query = select(Prediction, Example).join(Example, Example.id == Prediction.example_id)
        rows += [(p, e) for p, e in db.execute(query.where(Prediction.id.in_(ids)).order_by(Prediction.id))]
    return rows


def _store(identity: str, values: Mapping[int, tuple[float | None, dict[str, Any]]]) -> None:
    """Add the (value, notes) of these answers. A page may score an old experiment at the same time: the first stays."""
    with session() as db:
        lock(db)
        ids = list(values)
        for start in range(0, len(ids), IDS_PER_QUERY):
            query = select(Score.prediction_id).where(Score.metric == identity)
            there = set(db.scalars(query.where(Score.prediction_id.in_(ids[start : start + IDS_PER_QUERY]))))
            rows = [
                {"prediction_id": id, "metric": identity, "value": values[id][0], "notes": values[id][1]}
                for id in ids[start : start + IDS_PER_QUERY]
                if id not in there
            ]
            if rows:
                db.execute(insert(Score), rows)

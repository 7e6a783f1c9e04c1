"""What stands between the numbers of an experiment and the conclusion: a sentence each, with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sqlalchemy import func, select

from core.evaluate.experiment import small_test_warning
from core.evaluate.metrics import metric_named
from core.evaluate.plan import MetricChoice, Plan
from core.evaluate.reading import Scores
from core.evaluate.words import listed, percent, tests
from core.store.database import session
from core.store.tables import Experiment, Prediction, Score

# Six groups that all agree could still be chance among ten pairs; five could be chance for a single one.
FEWEST_GROUPS = 6
# From here on, answers without any text are worth a word; a few may be right to be empty.
MANY_EMPTY = 0.1
LONGEST_ERROR = 200


def warnings(
    experiment: Experiment,
    plan: Plan,
    seen: Scores,
    choice: MetricChoice,
    scores: Mapping[str, np.ndarray],
    unreadable: float,
) -> list[str]:
    """Everything about the deciding metric's scores that a reader should know before believing them."""
    found = [small_test_warning(seen.n)]
    groups = len(set(seen.groups))
    if seen.n >= FEWEST_GROUPS > groups:
        found.append(
            f"The {tests(seen.n)} come from only {groups} group{'' if groups == 1 else 's'}. With fewer than "
            f"{FEWEST_GROUPS} nothing can be shown: collect examples from more sources."
        )
    metric = metric_named(choice.name)
    without = int((seen.reference_characters == 0).sum()) if "reference" in metric.needs else 0
    if without:
        found.append(
            f"{without} of {tests(seen.n)} {'has' if without == 1 else 'have'} no reference answer and score 0 for "
            "every rung. Add references, or choose a metric that needs none."
        )
    found += _unanswered(experiment.id, seen)
    cut = {rung: int(seen.cut[rung].sum()) for rung in seen.rungs if seen.cut[rung].any()}
    if cut:
        found.append(
            f"Answers were cut at the longest allowed length: {_counted(cut, seen.n)}. "
            "They are scored as they are; allow longer answers if they should not be."
        )
    empty = {
        rung: int((seen.answered[rung] & ~seen.failed[rung] & (seen.outputs[rung] == 0)).sum()) for rung in seen.rungs
    }
    empty = {rung: count for rung, count in empty.items() if count > MANY_EMPTY * seen.n}
    if empty:
        found.append(f"Many answers have no text at all: {_counted(empty, seen.n)}. Read the prompt that was sent.")
    found += _applying(seen, choice, scores)
    if unreadable:
        found.append(f"The judge could not be read on {percent(unreadable)} of the answers, which count as 0.")
    models = list(dict.fromkeys(rung.model or experiment.model for rung in plan.ladder))
    if len(models) > 1:
        found.append(
            f"The rungs answer with {len(models)} models ({listed(models)}): differences between rungs of different "
            "models are due to the models too."
        )
    columns = list(scores.values())
    if len(columns) > 1 and seen.n and all((column == columns[0]).all() for column in columns[1:]):
        found.append("All rungs score the same on every example. Check that the metric can tell good answers from bad.")
    return [sentence for sentence in found if sentence]


def unreadable_share(experiment_id: int, choice: MetricChoice) -> float:
    """Share of the answers, from 0 to 1, that a judging metric could not make sense of its judge for."""
    if metric_named(choice.name).family != "judge":
        return 0.0
    with session(read_only=True) as db:
        judged, unreadable = db.execute(
            select(func.count(), func.count().filter(Score.notes["unreadable"].as_boolean()))
            .join(Prediction, Prediction.id == Score.prediction_id)
            .where(Prediction.experiment_id == experiment_id, Score.metric == choice.identity)
        ).one()
    return unreadable / judged if judged else 0.0


def _unanswered(experiment_id: int, seen: Scores) -> list[str]:
    found = []
    failed = {rung: int(seen.failed[rung].sum()) for rung in seen.rungs if seen.failed[rung].any()}
    if failed:
        with session(read_only=True) as db:
            reason, _ = db.execute(
                select(Prediction.error, func.count().label("times"))
                .where(Prediction.experiment_id == experiment_id, Prediction.error.is_not(None))
                .group_by(Prediction.error)
                .order_by(func.count().desc(), Prediction.error)
            ).first() or ("", 0)
        told = (reason or "").strip()
        told = told if len(told) <= LONGEST_ERROR else f"{told[:LONGEST_ERROR]}…"
        found.append(f"Answers failed and score 0: {_counted(failed, seen.n)}. Most often: {told}")
    missing = {rung: int((~seen.answered[rung]).sum()) for rung in seen.rungs if not seen.answered[rung].all()}
    if missing:
        found.append(f"Answers are missing and score 0: {_counted(missing, seen.n)}. Run the comparison to its end.")
    return found


def _applying(seen: Scores, choice: MetricChoice, scores: Mapping[str, np.ndarray]) -> list[str]:
    """Where the deciding metric has nothing to say."""
    title, found = choice.title, []
    outside = [rung for rung in seen.rungs if rung not in scores]
    if outside and seen.n:
        found.append(f"{title} does not apply to {listed(outside)}: left out of the comparison.")
    partly = {rung: int(np.isnan(seen.values[choice.identity][rung]).sum()) for rung in scores}
    partly = {rung: count for rung, count in partly.items() if count}
    if partly:
        found.append(f"{title} does not apply to some answers, which count as 0: {_counted(partly, seen.n)}.")
    return found


def _counted(counts: Mapping[str, int], n: int) -> str:
    return ", ".join(f"{rung} {count} of {n}" for rung, count in counts.items())

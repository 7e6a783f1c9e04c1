"""The job that measures an experiment: asks what has no answer, scores what has no score, and draws the conclusions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from core.evaluate.judge.asking import judging
from core.evaluate.judge.pairwise import judge_pairs
from core.evaluate.plan import Plan, metrics_of
from core.evaluate.report import build_report, store_report
from core.evaluate.running import run_experiment
from core.evaluate.scoring import score_missing
from core.jobs.context import JobContext
from core.models.budget import Budget
from core.models.open import open_generator
from core.store.database import session
from core.store.tables import Experiment, Judgement, Prediction, Score


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `experiment_id`. Goes on after a stop or a kill with what is missing, after a change of metrics too."""
    experiment_id = context.spec["experiment_id"]
    with session() as db:
        experiment = db.get_one(Experiment, experiment_id)
        experiment.job_id = context.job_id
    plan = Plan.model_validate(experiment.spec)
    stop = context.stop_requested
    with Budget(plan.spending_cap_usd, spent_usd(experiment_id)).keep(), judging(open_generator, stop):
        run_experiment(
            experiment_id,
            open_generator,
            context.progress,
            context.check_stop,
            stop,
            lambda rungs: context.note(rungs=rungs),
        )
        score_missing(experiment_id, metrics_of(experiment), context.progress, context.check_stop)
        if plan.judge is not None:
            judge_pairs(experiment_id, plan.judge, open_generator, context.progress, context.check_stop, stop)
    context.progress(0, 0, "Drawing the conclusions")
    report = build_report(experiment_id)
    store_report(experiment_id, report)
    return {"verdict": report["verdict"], "minimums": report["minimums"]}


def spent_usd(experiment_id: int) -> float:
    """US dollars the experiment has cost so far; what was taken over from earlier ones cost nothing."""
    mine = Prediction.experiment_id == experiment_id
    with session(read_only=True) as db:
        asked = db.scalar(select(func.sum(Prediction.cost_usd)).where(mine, ~Prediction.reused))
        judged = db.scalar(select(func.sum(Judgement.cost_usd)).where(Judgement.experiment_id == experiment_id))
        notes = db.scalars(select(Score.notes).join(Prediction).where(mine, Score.metric.like("judge%"))).all()
    scored = sum(note.get("cost_usd", 0.0) for note in notes if not note.get("reused"))
    return float((asked or 0.0) + (judged or 0.0) + scored)

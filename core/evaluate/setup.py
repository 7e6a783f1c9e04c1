"""How long it took to make what a rung needs: the index of its documents and the training of its adapter."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.evaluate.plan import Plan
from core.evaluate.rungs import Rung
from core.store.database import session
from core.store.tables import Adapter, Experiment, Job


def setup_seconds(experiment: Experiment, plan: Plan) -> dict[str, float]:
    """By rung the seconds that its jobs recorded; 0 for what was brought ready-made."""
    with session(read_only=True) as db:
        indexing = 0.0
        for job in db.scalars(select(Job).where(Job.kind == "index", Job.status == "done")):
            if experiment.index_id is not None and job.spec.get("index_id") == experiment.index_id:
                indexing = _duration(job)
        return {
            rung.name: (indexing if rung.retrieval else 0.0)
            + (_training(db, experiment, plan, rung) if rung.adapter else 0.0)
            for rung in plan.ladder
        }


def _training(db: Session, experiment: Experiment, plan: Plan, rung: Rung) -> float:
    with_passages = plan.rag_adapter_id if rung.retrieval else None
    adapter_id = rung.adapter_id or with_passages or experiment.adapter_id
    adapter = db.get(Adapter, adapter_id) if adapter_id else None
    job_id = adapter.job_id if adapter else experiment.train_job_id
    job = db.get(Job, job_id) if job_id else None
    return _duration(job) if job else 0.0


def _duration(job: Job) -> float:
    # A job that was started again has no end yet.
    return max(0.0, (job.finished_at or 0.0) - (job.started_at or 0.0))

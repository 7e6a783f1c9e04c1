"""The job that measures an experiment's rungs."""

from __future__ import annotations

from typing import Any

from core.evaluate.experiment import run_experiment
from core.evaluate.report import build_report, store_report
from core.jobs.context import JobContext
from core.models.open import open_generator
from core.store.database import session
from core.store.tables import Experiment


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `experiment_id`. Goes on after a stop or a kill with the answers that are missing."""
    experiment_id = context.spec["experiment_id"]
    with session() as db:
        experiment = db.get_one(Experiment, experiment_id)
        experiment.job_id = context.job_id
        model = experiment.model
    context.progress(0, 0, "Loading the model")
    run_experiment(experiment_id, open_generator(model), context.progress, context.check_stop)
    report = build_report(experiment_id)
    store_report(experiment_id, report)
    return {"verdict": report["verdict"]}

"""Experiments with answers made for the purpose, where what a model would say does not matter."""

from __future__ import annotations

from collections.abc import Sequence

from core.data.dataset import examples_of
from core.evaluate.experiment import create_experiment
from core.evaluate.plan import MetricChoice, Plan
from core.evaluate.report import build_report, store_report
from core.evaluate.rungs import RungChoice
from core.evaluate.scoring import ensure_scores
from core.store.database import session
from core.store.tables import Dataset, Experiment, Prediction
from tests.factories import sorting_dataset


def answered_experiment(
    right: dict[str, int],
    tests: int,
    *,
    failed: int = 0,
    missing: int = 0,
    metrics: Sequence[MetricChoice | str] = ("exact_match",),
    plan: Plan | None = None,
    wrong: str = "wrong",
    dataset: Dataset | None = None,
    ready: bool = True,
) -> Experiment:
    """Predictions as if rungs had given so many right answers; the last ones failed, or are not there yet."""
    dataset = dataset or sorting_dataset(test=tests)
    plan = (plan or Plan()).model_copy(update={"rungs": [RungChoice.model_validate(rung) for rung in right]})
    experiment = create_experiment("made", dataset.id, metrics=["exact_match"], plan=Plan(rungs=plan.rungs[:1]))
    choices = [MetricChoice(name=one) if isinstance(one, str) else one for one in metrics]
    with session() as db:
        stored = db.get_one(Experiment, experiment.id)
        stored.spec, stored.metric = plan.model_dump(mode="json"), choices[0].identity
        stored.metrics = [choice.model_dump(mode="json") for choice in choices]
        for rung, count in right.items():
            for number, (row_id, example) in enumerate(examples_of(dataset.id, "test")[: tests - missing]):
                broken = number >= tests - missing - failed
                for sample in range(plan.samples):
                    db.add(
                        Prediction(
                            experiment_id=experiment.id,
                            rung=rung,
                            example_id=row_id,
                            sample=sample,
                            output="" if broken else example.reference if number < count else wrong,
                            error="It broke." if broken else None,
                            finish_reason="error" if broken else "stop",
                            input_tokens=10,
                            output_tokens=2,
                            latency_s=number / 10,
                        )
                    )
    if ready:
        ensure_scores(experiment.id)
        store_report(experiment.id, build_report(experiment.id))
    with session(read_only=True) as db:
        return db.get_one(Experiment, experiment.id)

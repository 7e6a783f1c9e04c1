"""From stored predictions to scores, comparisons, a verdict, and the files people take away."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from core.evaluate.experiment import Plan
from core.evaluate.metrics import metric_named, metrics
from core.evaluate.rungs import Rung, rungs_named
from core.evaluate.statistics import compare_all, detectable_effect, intervals
from core.evaluate.verdict import decide
from core.store.database import session
from core.store.tables import Adapter, Example, Experiment, Job, Prediction


@dataclass(frozen=True)
class Answered:
    """One test example with each rung's answer to it; `predictions` is keyed by the rung's name."""

    example: Example
    predictions: dict[str, Prediction]


def answers(experiment_id: int) -> list[Answered]:
    """Every test example of the experiment, in order, with the predictions there are so far."""
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
        examples = db.scalars(
            select(Example)
            .where(Example.dataset_id == experiment.dataset_id, Example.split == "test")
            .order_by(Example.position)
        ).all()
        found: dict[int, dict[str, Prediction]] = {}
        for prediction in db.scalars(select(Prediction).where(Prediction.experiment_id == experiment_id)):
            found.setdefault(prediction.example_id, {})[prediction.rung] = prediction
    return [Answered(example, found.get(example.id, {})) for example in examples]


def score(metric: str, prediction: Prediction | None, reference: str) -> float:
    """The metric's value; a missing or failed prediction scores 0 and stays in the denominator."""
    if prediction is None or prediction.error is not None:
        return 0.0
    return metric_named(metric).score(prediction.output, reference)


def scores_by_rung(metric: str, rungs: Sequence[str], answered: Sequence[Answered]) -> dict[str, np.ndarray]:
    """For each rung an array of shape (examples,), in the order of `answered`."""
    return {
        rung: np.array([score(metric, row.predictions.get(rung), row.example.reference) for row in answered])
        for rung in rungs
    }


def build_report(experiment_id: int) -> dict[str, Any]:
    """Scores, comparisons and verdict of an experiment as plain data; the file report.json holds just this."""
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
    plan = Plan.model_validate(experiment.spec)
    rungs = rungs_named(plan.rungs)
    names = [rung.name for rung in rungs]
    answered = answers(experiment_id)
    groups = [row.example.group for row in answered]
    chosen = metric_named(experiment.metric)
    scores = scores_by_rung(chosen.name, names, answered)
    ranges = intervals(scores, groups, chosen.kind, experiment.seed)
    comparisons = compare_all(scores, groups, chosen.kind, experiment.seed, experiment.delta)
    verdict = decide(
        names,
        scores,
        comparisons,
        experiment.target,
        experiment.delta,
        intervals=ranges,
        metric=f"({chosen.phrase})",
    )
    setup = _setup_seconds(experiment, plan)
    rows = []
    for rung in rungs:
        given = [row.predictions[rung.name] for row in answered if rung.name in row.predictions]
        scored = [prediction for prediction in given if prediction.error is None]
        rows.append(
            {
                "rung": rung.name,
                "score": float(scores[rung.name].mean()),
                "interval": [ranges[rung.name].low, ranges[rung.name].high],
                "scored": len(scored),
                "of": len(answered),
                "latency_p50_s": statistics.median([p.latency_s for p in scored]) if scored else None,
                "input_tokens": sum(p.input_tokens for p in given),
                "output_tokens": sum(p.output_tokens for p in given),
                "cost_usd": sum(p.cost_usd for p in given),
                "setup_s": _setup_of(rung, setup),
                "other_metrics": {
                    other.name: float(scores_by_rung(other.name, [rung.name], answered)[rung.name].mean())
                    for other in metrics()
                },
            }
        )
    return {
        "model": experiment.model,
        "metric": chosen.name,
        "n": len(answered),
        "groups": len(set(groups)),
        "seed": experiment.seed,
        "target": experiment.target,
        "delta": experiment.delta,
        "detectable_effect": _finite(detectable_effect(len(answered), chosen.kind)),
        "plan": plan.model_dump(),
        "rungs": rows,
        "comparisons": [
            {
                "a": c.a,
                "b": c.b,
                "effect": c.effect,
                "interval": [c.interval.low, c.interval.high],
                "p": c.p,
                "p_mid": c.p_mid,
                "p_adjusted": c.p_adjusted,
                "outcome": c.outcome,
                "more": c.more,
            }
            for c in comparisons
        ],
        "verdict": asdict(verdict),
    }


def store_report(experiment_id: int, report: dict[str, Any]) -> None:
    """Keep the report with its experiment, for the pages."""
    with session() as db:
        db.get_one(Experiment, experiment_id).report = report


def write_report(experiment_id: int, folder: Path) -> tuple[Path, Path]:
    """Write report.json and predictions.jsonl into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    with session(read_only=True) as db:
        report = db.get_one(Experiment, experiment_id).report
    first, second = folder / "report.json", folder / "predictions.jsonl"
    first.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    second.write_text(predictions_jsonl(experiment_id), encoding="utf-8")
    return first, second


def predictions_jsonl(experiment_id: int) -> str:
    """Every prediction as one JSON line, with its question, reference and score."""
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
    lines = []
    for row in answers(experiment_id):
        for rung in experiment.spec["rungs"]:
            prediction = row.predictions.get(rung)
            if prediction is None:
                continue
            lines.append(
                {
                    "rung": rung,
                    "example": row.example.position,
                    "group": row.example.group,
                    "messages": row.example.messages,
                    "reference": row.example.reference,
                    "output": prediction.output,
                    "score": score(experiment.metric, prediction, row.example.reference),
                    "error": prediction.error,
                    "finish_reason": prediction.finish_reason,
                    "input_tokens": prediction.input_tokens,
                    "output_tokens": prediction.output_tokens,
                    "latency_s": prediction.latency_s,
                    "cost_usd": prediction.cost_usd,
                    "retrieved": prediction.retrieved,
                }
            )
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _finite(value: float) -> float | None:
    """JSON has no infinity: None where no effect, however large, could be detected."""
    return float(value) if math.isfinite(value) else None


def _setup_seconds(experiment: Experiment, plan: Plan) -> dict[str, float]:
    """Seconds it took to build the index and to train the adapters, as their jobs recorded them."""
    found: dict[str, float] = {}
    with session(read_only=True) as db:
        for job in db.scalars(select(Job).where(Job.kind == "index", Job.status == "done")):
            if experiment.index_id is not None and job.spec.get("index_id") == experiment.index_id:
                found["index"] = _duration(job)
        for name, adapter_id in (("adapter", experiment.adapter_id), ("rag_adapter", plan.rag_adapter_id)):
            adapter = db.get(Adapter, adapter_id) if adapter_id else None
            train_job = adapter.job_id if adapter else experiment.train_job_id
            trained = db.get(Job, train_job) if train_job else None
            if trained:
                found[name] = _duration(trained)
    return found


def _duration(job: Job) -> float:
    return (job.finished_at or 0.0) - (job.started_at or 0.0)


def _setup_of(rung: Rung, setup: dict[str, float]) -> float:
    adapter = "rag_adapter" if rung.retrieval and "rag_adapter" in setup else "adapter"
    return rung.retrieval * setup.get("index", 0.0) + rung.adapter * setup.get(adapter, 0.0)

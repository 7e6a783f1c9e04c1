"""Every answer with its question, reference and scores: a row each for spreadsheets, a line of JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from core.evaluate.plan import Plan, metrics_of
from core.evaluate.reading import answers
from core.models.prompt import last_question
from core.store.database import session
from core.store.tables import Example, Experiment, Prediction

# Excel keeps 32,767 characters of a cell and may break the row at more.
LONGEST_CELL = 32_000


def jsonl(experiment_id: int) -> Iterator[str]:
    """One line per answer, in the order of examples, rungs and samples; read as it is written, whatever its size.

    `example` is the position in the test data, from 0.
    """
    for example, rung, prediction, scores in _each(experiment_id):
        line = {
            "rung": rung,
            "sample": prediction.sample,
            "example": example.position,
            "group": example.group,
            "label": example.label,
            "messages": example.messages,
            "reference": example.reference,
            "output": prediction.output,
            "score": next(iter(scores.values()), None),
            "scores": scores,
            "error": prediction.error,
            "finish_reason": prediction.finish_reason,
            "input_tokens": prediction.input_tokens,
            "output_tokens": prediction.output_tokens,
            "latency_s": prediction.latency_s,
            "cost_usd": prediction.cost_usd,
            "reused": prediction.reused,
            "retrieved": prediction.retrieved,
        }
        yield json.dumps(line, ensure_ascii=False) + "\n"


def csv_rows(experiment_id: int) -> Iterator[dict[str, Any]]:
    """One row per answer, for `core.export.safe_csv`; examples count from 1, as on the page.

    Texts too long for a cell are cut, and say so.
    """
    for example, rung, prediction, scores in _each(experiment_id):
        yield {
            "example": example.position + 1,
            "group": _cell(example.group),
            "label": _cell(example.label or ""),
            "rung": rung,
            "sample": prediction.sample,
            "question": _cell(last_question(example.messages)),
            "reference": _cell(example.reference),
            "output": _cell(prediction.output),
            **scores,
            "error": _cell(prediction.error or ""),
            "finish reason": prediction.finish_reason or "",
            "tokens in": prediction.input_tokens,
            "tokens out": prediction.output_tokens,
            "seconds": round(prediction.latency_s, 3),
            "US$": prediction.cost_usd,
            "passages from": _cell(", ".join(str(hit.get("source", "")) for hit in prediction.retrieved)),
        }


def _each(experiment_id: int) -> Iterator[tuple[Example, str, Prediction, dict[str, float | None]]]:
    """Example, rung, answer, and its score by metric, the deciding one first; None where there is none."""
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
    rungs = [rung.name for rung in Plan.model_validate(experiment.spec).ladder]
    metrics = [choice.identity for choice in metrics_of(experiment)]
    for asked in answers(experiment_id):
        for rung in rungs:
            for prediction in asked.predictions.get(rung, []):
                scored = asked.scores[prediction.id]
                scores = {metric: scored[metric].value if metric in scored else None for metric in metrics}
                yield asked.example, rung, prediction, scores


def _cell(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]} … ({len(text):,} characters, cut)"

"""Experiments that a service on loopback answers: real requests, no weights to load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from core.evaluate.experiment import create_experiment
from core.evaluate.plan import Plan
from core.evaluate.running import run_experiment
from core.models.open import open_generator
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Dataset, Experiment, Prediction, Score
from tests.models.service import Handler, Service, serving

MODEL = "remote/big"


def kind(handler: Handler, request: dict[str, Any], attempt: int) -> None:
    """Says "fruit" or "tool", by a hash of what is asked: always the same to the same chat and seed."""
    asked = json.dumps([request["messages"], request["seed"]]).encode()
    handler.answer(request, ("fruit", "tool")[hashlib.sha256(asked).digest()[0] % 2])


@contextmanager
def answering(
    monkeypatch: pytest.MonkeyPatch, behave: Callable[[Handler, dict[str, Any], int], None] = kind, **settings: str
) -> Iterator[Service]:
    """A service that MODEL names within the block; `settings` are those of the generation service."""
    with serving(behave) as service:
        for name, value in {"url": service.url, **settings}.items():
            monkeypatch.setenv(f"LOWEST_RUNG_GENERATION_{name.upper()}", value)
        get_settings.cache_clear()
        yield service


def made(dataset: Dataset, *rungs: str, metrics: Any = ("exact_match",), **plan: Any) -> Experiment:
    """An experiment on MODEL."""
    chosen = Plan.model_validate({"rungs": list(rungs), "max_new_tokens": 6, "shots": 3} | plan)
    return create_experiment("test", dataset.id, metrics=metrics, plan=chosen, model=MODEL)


def run(experiment: Experiment, **more: Any) -> None:
    run_experiment(experiment.id, open_generator, **more)


def stored(experiment_id: int) -> list[Prediction]:
    with session(read_only=True) as db:
        query = sa.select(Prediction).where(Prediction.experiment_id == experiment_id).order_by(Prediction.id)
        return list(db.scalars(query))


def outputs(experiment_id: int) -> dict[tuple[str, int, int], str]:
    """By rung, example and sample."""
    return {(row.rung, row.example_id, row.sample): row.output for row in stored(experiment_id)}


def scores(experiment_id: int, metric: str) -> dict[tuple[str, int], tuple[float | None, dict[str, Any]]]:
    """(value, notes) by rung and example."""
    query = sa.select(Prediction.rung, Prediction.example_id, Score.value, Score.notes).join(Score)
    with session(read_only=True) as db:
        rows = db.execute(query.where(Prediction.experiment_id == experiment_id, Score.metric == metric))
        return {(rung, example): (value, notes) for rung, example, value, notes in rows}

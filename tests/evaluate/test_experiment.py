"""Experiments as records: refused when they could not be measured, repeated and changed without losing anything."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from core.data.dataset import examples_of
from core.errors import UserError
from core.evaluate.experiment import change_metrics, create_experiment, delete_experiment, rerun
from core.evaluate.job import spent_usd
from core.evaluate.plan import MetricChoice, Plan
from core.jobs import queue
from core.models.catalogue import BUNDLED_MODEL
from core.store import lists
from core.store.database import session
from core.store.tables import Adapter, Dataset, Experiment, Judgement, Prediction, Score
from tests.evaluate.answering import answering, made, run, stored
from tests.factories import sorting_dataset


def adapter_on(model: str) -> Adapter:
    adapter = Adapter(name="made", base_model=model, method="lora", path="adapters/1", eval_loss=None)
    with session() as db:
        db.add(adapter)
    return adapter


def experiment_on(dataset: Dataset, *rungs: str, plan: dict[str, Any] | None = None, **more: Any) -> Experiment:
    chosen = Plan.model_validate({"rungs": list(rungs)} | (plan or {}))
    return create_experiment("test", dataset.id, plan=chosen, **({"metrics": ["exact_match"]} | more))


@pytest.mark.parametrize(
    ("rungs", "more", "said"),
    [
        (["rag"], {}, "rag needs documents"),
        (["base", "rag+lora"], {"adapter_id": 1}, "needs documents"),
        (["base", "lora"], {}, "lora need a trained adapter"),
        (["lora"], {"adapter_id": 1, "model": "remote/gpt"}, "cannot be measured on the remote model"),
        (["base", "lora@remote/gpt"], {"adapter_id": 1}, "cannot be measured on the remote model"),
        (["lora@another/model"], {"adapter_id": 1}, "on another model"),
        (["lora"], {"adapter_id": 1, "model": "another/model"}, "which is not another/model"),
        (["lora#1@another/model"], {}, "which is not another/model"),
        (["lora#99"], {}, "no adapter 99"),
        (["lora"], {"adapter_id": 1, "plan": {"rag_adapter_id": 99}}, "no adapter 99"),
        (["base"], {"metrics": ["no_such"]}, "no metric called no_such"),
        (["base"], {"metrics": []}, "No metric was chosen"),
        (["base"], {"metrics": ["exact_match", "exact_match"]}, "chosen twice"),
        (["base"], {"target": 1.5}, "not a share"),
        (["base"], {"plan": {"minimums": {"rag": 0.5}}}, "rag, which is not measured"),
        (["base"], {"plan": {"minimums": {"base": 50}}}, "not a share"),
        (["prompt"], {"plan": {"shot_choice": "chosen"}}, "No worked example was chosen"),
        (["prompt"], {"plan": {"shot_choice": "chosen", "shot_ids": [10**9]}}, "No training example"),
        ([], {}, "No rung was chosen"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_nothing_stored(
    rungs: list[str], more: dict[str, Any], said: str
) -> None:
    dataset = sorting_dataset()
    adapter_on(BUNDLED_MODEL)
    with pytest.raises(UserError, match=said) as caught:
        experiment_on(dataset, *rungs, **more)
    assert caught.value.remedy
    with session(read_only=True) as db:
        assert db.scalars(sa.select(Experiment)).all() == []


def test_unknown_dataset_is_refused() -> None:
    with pytest.raises(UserError, match="no test examples"):
        create_experiment("x", 99, metrics=["exact_match"], plan=Plan.model_validate({"rungs": ["base"]}))


def test_several_samples_need_something_to_draw() -> None:
    with pytest.raises(ValueError, match="temperature above 0"):
        Plan(samples=2)
    assert Plan(samples=2, temperature=0.5).samples == 2


def test_experiment_holds_its_metrics_and_its_seed() -> None:
    dataset = sorting_dataset()
    metrics = [MetricChoice(name="token_f1"), "exact_match"]
    experiment = experiment_on(dataset, "base", metrics=metrics)
    assert (experiment.metric, experiment.seed) == ("token_f1", dataset.seed)
    assert [metric["name"] for metric in experiment.metrics] == ["token_f1", "exact_match"]
    assert experiment_on(dataset, "base", plan={"seed": 77}).seed == 77


def test_rerun_is_the_same_experiment_again() -> None:
    dataset = sorting_dataset()
    adapter = adapter_on(BUNDLED_MODEL)
    given: dict[str, Any] = {"adapter_id": adapter.id, "target": 0.8, "delta": 0.1, "metrics": ["token_f1"]}
    first = experiment_on(dataset, "base", "lora", plan={"seed": 5, "passages": 3}, **given)
    again = rerun(first.id, fresh=True)
    columns = ("name", "dataset_id", "adapter_id", "model", "metric", "metrics", "target", "delta", "seed")
    assert [getattr(again, name) for name in columns] == [getattr(first, name) for name in columns]
    assert (again.rerun_of, again.report, again.spec) == (first.id, None, first.spec | {"fresh": True})
    assert rerun(again.id).spec == first.spec

    with session() as db:
        db.get_one(Experiment, first.id).adapter_id = None
    with pytest.raises(UserError, match="need a trained adapter"):
        rerun(first.id)
    with pytest.raises(UserError, match="does not exist any more"):
        rerun(999)


def test_old_experiment_can_be_run_again() -> None:
    experiment = experiment_on(sorting_dataset(), "base", "prompt")
    with session() as db:
        old = db.get_one(Experiment, experiment.id)
        old.metrics, old.spec = [], {"rungs": ["base", "prompt"], "shots": 8, "passages": 2, "temperature": 0.0}
    again = rerun(experiment.id)
    assert [metric["name"] for metric in again.metrics] == ["exact_match"]
    assert [rung.name for rung in Plan.model_validate(again.spec).ladder] == ["base", "prompt"]


def test_metrics_of_a_moving_experiment_stay() -> None:
    experiment = experiment_on(sorting_dataset(), "base")
    job_id = queue.submit("compare", {"experiment_id": experiment.id}, start=False)
    with session() as db:
        db.get_one(Experiment, experiment.id).job_id = job_id
    with pytest.raises(UserError, match="being measured"):
        change_metrics(experiment.id, ["token_f1"])
    assert lists.experiment(experiment.id).metric == "exact_match"


def test_what_was_spent_counts_answers_scores_and_judgements_but_nothing_taken_over() -> None:
    experiment = experiment_on(sorting_dataset(), "base")
    ids = [id for id, _ in examples_of(experiment.dataset_id, "test")]
    assert spent_usd(experiment.id) == 0
    common = {"experiment_id": experiment.id, "rung": "base", "output": "x", "error": None, "finish_reason": "stop"}
    with session() as db:
        asked = Prediction(example_id=ids[0], cost_usd=1.0, **common)
        db.add_all([asked, Prediction(example_id=ids[1], cost_usd=2.0, reused=True, **common)])
        db.flush()
        db.add(Score(prediction_id=asked.id, metric="judge:1", value=1, notes={"cost_usd": 4.0}))
        db.add(Score(prediction_id=asked.id, metric="judge:2", value=1, notes={"cost_usd": 8.0, "reused": True}))
        pair = {"rung_a": "base", "rung_b": "prompt", "swapped": False, "judge": "j", "choice": "a"}
        db.add(Judgement(experiment_id=experiment.id, example_id=ids[0], cost_usd=16.0, **pair))
    assert spent_usd(experiment.id) == 1 + 4 + 16


def test_deleting_an_experiment_removes_its_predictions_and_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = sorting_dataset(test=3)
    with answering(monkeypatch):
        experiment = made(dataset, "base")
        run(experiment)
    again = rerun(experiment.id)
    delete_experiment(experiment.id)
    assert stored(experiment.id) == [] and len(examples_of(dataset.id, "test")) == 3
    with session(read_only=True) as db:
        assert db.scalars(sa.select(Score)).all() == []
    assert lists.experiment(again.id).model == again.model

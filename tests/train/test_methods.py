"""Every way to train that a recipe knows: what it leaves behind, and that it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data.dataset import examples_of
from core.errors import UserError
from core.jobs import queue
from core.jobs.run import run_foreground
from core.models.generation import Request, Sampling
from core.models.loading import load_model
from core.models.local import LocalGenerator
from core.settings import get_settings
from core.store import lists
from core.train.recipe import Recipe
from core.train.trainer import train
from tests.factories import example, examples, sorting, sorting_dataset
from tests.train.notes import Notes

pytestmark = pytest.mark.integration


def recipe(model: Path, **more: Any) -> Recipe:
    fixed = {"model": str(model), "batch_size": 4, "epochs": 1, "rank": 4, "evaluations": 2, "samples": 0}
    return Recipe.model_validate(fixed | more)


@pytest.mark.parametrize(
    ("method", "setting"), [("lora", {}), ("rslora", {"use_rslora": True}), ("dora", {"use_dora": True})]
)
def test_adapter_says_how_it_was_trained(
    tiny_model: Path, tmp_path: Path, method: str, setting: dict[str, bool]
) -> None:
    notes = Notes()
    result = train(recipe(tiny_model, method=method), examples(sorting(12)), [], tmp_path, notes)
    assert result.best is not None
    saved = json.loads((result.best / "adapter_config.json").read_text())
    expected = {"use_rslora": False, "use_dora": False} | setting
    assert {name: saved[name] for name in expected} == expected
    assert len(notes.losses()) == 3


def test_only_the_named_layers_get_an_adapter(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    result = train(recipe(tiny_model, targets=["q_proj", "v_proj"]), examples(sorting(12)), [], tmp_path, Notes())
    assert result.best is not None
    names = load_file(result.best / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in names} == {"q_proj", "v_proj"}


def test_unknown_layers_are_refused_with_those_there_are(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no linear layers named attention") as caught:
        train(recipe(tiny_model, targets=["attention"]), examples(sorting(12)), [], tmp_path, Notes())
    assert "q_proj" in caught.value.remedy and "lm_head" not in caught.value.remedy


def test_full_training_leaves_a_model_that_answers_like_an_adapter_does(tiny_model: Path) -> None:
    dataset = sorting_dataset(train=40, test=6)
    work = recipe(tiny_model, method="full", epochs=40, learning_rate=3e-3)
    spec = {"dataset_id": dataset.id, "recipe": work.model_dump(), "name": "whole"}
    job = run_foreground("train", spec)
    assert (job.status, job.error) == ("done", ""), job.traceback
    (adapter,) = lists.adapters(dataset.id)
    folder = get_settings().home / adapter.path
    assert adapter.method == "full"
    assert (folder / "model.safetensors").is_file() and (folder / "config.json").is_file()
    assert not any(folder.glob("optimizer*"))

    generator = LocalGenerator(load_model(str(tiny_model)))
    chats = [found.messages for _, found in examples_of(dataset.id, "train")][:6]
    said = {}
    for name, chosen in (("base", None), ("full", folder), ("base again", None)):
        requests = [Request(chat, chosen) for chat in chats]
        said[name] = [c.text for batch in generator.answer(requests, Sampling(4)) for _, c in batch]
    assert set(said["full"]) <= {"fruit", "tool"}
    assert said["base"] == said["base again"] != said["full"]


def test_packed_rows_give_the_loss_of_the_examples_one_by_one(tiny_model: Path, tmp_path: Path) -> None:
    """All examples in one batch: the first loss of a packed run is that of a padded one."""
    learn = [example(f"Which kind is {word}?", answer) for word, answer in [("it", "a"), ("x " * 40, "b c")] * 6]
    first = {}
    for packing in (False, True):
        notes = Notes()
        wanted = recipe(tiny_model, packing=packing, batch_size=12, max_length=256)
        result = train(wanted, learn, [], tmp_path / str(packing), notes)
        assert result.steps == 1
        first[packing] = notes.values[1]
    assert first[True]["loss"] == pytest.approx(first[False]["loss"], rel=1e-4)
    assert first[True]["grad_norm"] == pytest.approx(first[False]["grad_norm"], rel=1e-3)
    assert first[True]["tokens"] == first[False]["tokens"]


def test_packing_takes_fewer_steps(tiny_model: Path, tmp_path: Path) -> None:
    learn = examples(sorting(24))
    steps = {
        packing: train(
            recipe(tiny_model, packing=packing, batch_size=2, max_length=256),
            learn,
            [],
            tmp_path / str(packing),
            Notes(),
        ).steps
        for packing in (False, True)
    }
    assert steps[True] < steps[False] / 2


def test_model_that_lets_packed_examples_see_each_other_is_found_out(tiny_model: Path) -> None:
    """A model that ignores where examples begin: the very mistake that packing without such a check would hide."""
    from core.train.batches import keeps_examples_apart

    loaded = load_model(str(tiny_model))
    assert keeps_examples_apart(loaded.model, loaded.tokenizer)

    def careless(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, kwargs | {"position_ids": None}

    loaded.model.register_forward_pre_hook(careless, with_kwargs=True)
    assert not keeps_examples_apart(loaded.model, loaded.tokenizer)


def test_questions_are_learned_too_when_wanted(tiny_model: Path, tmp_path: Path) -> None:
    learned = {}
    for answers_only in (True, False):
        notes = Notes()
        train(
            recipe(tiny_model, answers_only=answers_only),
            examples(sorting(12)),
            [],
            tmp_path / str(answers_only),
            notes,
        )
        learned[answers_only] = notes.checks()["supervision"]["data"]
    assert learned[True]["learned_tokens"] < learned[True]["tokens"] / 4
    assert learned[False]["learned_tokens"] == learned[False]["tokens"] - 12


def overfit(tiny_model: Path, tmp_path: Path, **more: Any) -> tuple[Any, Notes]:
    """Twelve made-up facts by heart, and others to be judged by: the validation loss soon rises."""
    learn = [example(f"What is number {n}?", f"It is {n * 37 % 101} and {n * 53 % 89}.") for n in range(12)]
    held = [example(f"What is number {n}?", f"It is {n * 37 % 101} and {n * 53 % 89}.") for n in range(50, 56)]
    notes = Notes()
    wanted = recipe(tiny_model, epochs=40, learning_rate=1e-2, rank=16, evaluations=12, **more)
    return train(wanted, learn, held, tmp_path, notes), notes


def test_weights_of_the_lowest_validation_loss_are_kept(tiny_model: Path, tmp_path: Path) -> None:
    result, notes = overfit(tiny_model, tmp_path)
    losses = notes.losses("eval_loss")
    assert result.best_step == min(losses, key=lambda step: losses[step]) < result.steps == 120
    assert result.eval_loss == pytest.approx(min(losses.values()))
    assert result.best is not None and result.best.name == f"checkpoint-{result.best_step}"


def test_run_ends_early_when_the_validation_loss_no_longer_falls(tiny_model: Path, tmp_path: Path) -> None:
    result, notes = overfit(tiny_model, tmp_path, patience=2)
    losses = list(notes.losses("eval_loss").values())
    assert result.stopped_early and not result.stopped and result.steps < 120
    assert min(losses) == losses[-3] and len(losses) >= 3


def test_run_that_is_stopped_to_be_kept_ends_as_done(tiny_model: Path) -> None:
    dataset = sorting_dataset(train=24)
    work = recipe(tiny_model, epochs=50)
    spec = {"dataset_id": dataset.id, "recipe": work.model_dump(), "name": "kept"}

    def ask_to_keep(done: float, total: float, message: str) -> None:
        if done == 7:
            queue.request_stop(queue.jobs("train", 1)[0].id, "keep")

    job = run_foreground("train", spec, on_progress=ask_to_keep)
    assert (job.status, job.error) == ("done", ""), job.traceback
    assert 7 <= job.result["steps"] < 250
    (adapter,) = lists.adapters(dataset.id)
    assert adapter.notes["step"] <= job.result["steps"] and adapter.eval_loss is not None
    assert "as you asked" in job.notes["events"][-1]["text"]


def test_pre_flight_changes_nothing_and_measures(tiny_model: Path) -> None:
    dataset = sorting_dataset(train=24)
    spec = {"dataset_id": dataset.id, "recipe": recipe(tiny_model).model_dump(), "name": "check"}
    job = run_foreground("preflight", spec)
    assert (job.status, job.error) == ("done", ""), job.traceback
    checks = {check["name"]: check for check in job.result["preflight"]}
    assert [check["state"] for check in checks.values()] == ["warn", "ok", "ok", "ok", "ok", "ok"]
    assert "licence" in checks["model"]["detail"]
    rendered = checks["supervision"]["data"]["rendered"]
    assert [learned for _, learned in rendered] == [False, True]
    assert rendered[1][0] in ("fruit<|im_end|>", "tool<|im_end|>")
    assert checks["step"]["data"]["memory_gb"] > 0.2 and job.result["measured"]["expected_s"] > 0
    assert lists.adapters() == [] and queue.metrics(job.id) == []
    assert not any(queue.folder(job.id).glob("trial*"))

"""Training runs in this process: what they record, what they refuse, how they end."""

from __future__ import annotations

import math
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
from core.train.checkpoints import best_checkpoint, newest_checkpoint, step_of
from core.train.recipe import Recipe
from core.train.trainer import train
from tests.factories import example, examples, sorting, sorting_dataset
from tests.train.notes import Notes

pytestmark = pytest.mark.integration

EVERY_STEP = {"loss", "learning_rate", "grad_norm", "epoch", "tokens", "tokens_per_s", "memory_gb", "cpu_percent"}


def recipe(model: Path | str, **more: Any) -> Recipe:
    return Recipe.model_validate(
        {"model": str(model), "batch_size": 4, "epochs": 1, "rank": 4, "evaluations": 2} | more
    )


def spec_of(dataset_id: int, wanted: Recipe) -> dict[str, Any]:
    return {"dataset_id": dataset_id, "recipe": wanted.model_dump(), "name": "test"}


def test_run_records_every_step_and_teaches(bundled: Path) -> None:
    """14 examples are enough for the bundled model to learn that the answer is one word."""
    dataset = sorting_dataset(train=14)
    job = run_foreground(
        "train", spec_of(dataset.id, recipe("bundled/SmolLM2-135M-Instruct", epochs=3, learning_rate=1e-3))
    )
    assert (job.status, job.error, job.done, job.total) == ("done", "", 12, 12)

    steps: dict[int, dict[str, float]] = {}
    for _, step, name, value, _ in queue.metrics(job.id):
        assert name not in steps.setdefault(step, {})
        steps[step][name] = value
    assert sorted(steps) == list(range(1, 13))
    for values in steps.values():
        assert set(values) >= EVERY_STEP
        assert all(math.isfinite(value) for value in values.values())
    assert [step for step, values in steps.items() if "eval_loss" in values] == [6, 12]
    assert steps[12]["loss"] < steps[1]["loss"] / 2
    assert steps[12]["eval_loss"] < steps[6]["eval_loss"]
    assert steps[12]["learning_rate"] < steps[2]["learning_rate"] <= 1e-3
    assert 0.3 < steps[1]["memory_gb"] < 30

    (adapter,) = lists.adapters(dataset.id)
    assert job.result["adapter_id"] == adapter.id
    assert adapter.eval_loss == job.result["eval_loss"] == pytest.approx(steps[12]["eval_loss"], rel=1e-3)
    folder = get_settings().home / adapter.path
    assert (folder / "adapter_model.safetensors").is_file()
    assert list(queue.folder(job.id).glob("checkpoint-*")) == []

    generator = LocalGenerator(load_model(adapter.base_model))
    test = [example for _, example in examples_of(dataset.id, "test")]
    answers: dict[bool, list[str]] = {}
    for tuned in (False, True):
        requests = [Request(e.messages, folder if tuned else None) for e in test]
        batches = generator.answer(requests, Sampling(8))
        answers[tuned] = [completion.text for batch in batches for _, completion in batch]
    assert set(answers[True]) <= {"fruit", "tool"}
    assert not set(answers[False]) <= {"fruit", "tool"}


def test_qlora_on_the_cpu_holds_four_bit_weights_and_trains(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOWEST_RUNG_DEVICE", "cpu")
    import bitsandbytes as bnb
    import torch

    name = "bundled/SmolLM2-135M-Instruct"
    quantised = load_model(name, four_bit=True).model
    linear = [module for module in quantised.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert len(linear) == 30 * 7
    assert {m.weight.quant_type for m in linear} == {"nf4"} and {m.weight.dtype for m in linear} == {torch.uint8}
    assert all(m.weight.quant_state.nested for m in linear)
    assert quantised.get_memory_footprint() < 0.4 * load_model(name).model.get_memory_footprint()

    notes = Notes()
    learn = examples(sorting(12))
    result = train(recipe(name, method="qlora", epochs=2, learning_rate=1e-3), learn, [], tmp_path, notes)
    assert result.steps == 6 and not result.stopped and result.eval_loss is None
    assert result.best is not None and (result.best / "adapter_model.safetensors").is_file()
    assert notes.values[6]["loss"] < notes.values[1]["loss"]


def test_too_few_examples_are_refused_before_a_model_is_loaded(tiny_model: Path, tmp_path: Path) -> None:
    notes = Notes()
    with pytest.raises(UserError, match=r"9 training examples are too few.*at least 10"):
        train(recipe(tiny_model), examples(sorting(9)), [], tmp_path, notes)
    assert notes.messages == ["Pre-flight: Licence and access of the base model"]


def test_job_whose_answers_are_all_cut_off_says_so(tiny_model: Path) -> None:
    dataset = sorting_dataset()
    job = run_foreground("train", spec_of(dataset.id, recipe(tiny_model, max_length=16)))
    assert job.status == "failed"
    assert "nothing would be learned" in job.error and "max_length" in job.remedy


def poisoned(tiny_model: Path, folder: Path, word: str) -> Path:
    """The tiny model, whose loss is not a number wherever it reads `word`."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_model(str(tiny_model)).tokenizer
    model = AutoModelForCausalLM.from_pretrained(tiny_model, tie_word_embeddings=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer(word)["input_ids"][0]] = float("nan")
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    return folder


def test_loss_that_stops_being_a_number_keeps_the_last_good_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    """One short example of 17 holds the word: neither the pre-flight's longest batch nor the first steps meet it."""
    model = poisoned(tiny_model, tmp_path / "poisoned", " zebra")
    learn = [*examples(sorting(16)), example("Is a zebra one?", "no")]
    notes = Notes()
    with pytest.raises(UserError, match=r"stopped being a number at step (\d+)") as caught:
        train(recipe(model, batch_size=1, evaluations=17), learn, [], tmp_path / "run", notes)
    assert "last good checkpoint" in caught.value.remedy
    reached = max(notes.losses())
    kept = best_checkpoint(tmp_path / "run")
    assert 1 < reached < 17 and kept is not None and step_of(kept) == reached - 1
    assert notes.events() == [caught.value.what]


def test_model_that_is_broken_from_the_start_fails_in_the_pre_flight(tiny_model: Path, tmp_path: Path) -> None:
    model = poisoned(tiny_model, tmp_path / "poisoned", "Which")
    notes = Notes()
    with pytest.raises(UserError, match="before the first step"):
        train(recipe(model), examples(sorting(12)), [], tmp_path / "run", notes)
    assert {name: check["state"] for name, check in notes.checks().items()}["step"] == "fail"
    assert notes.values == {}


def test_same_recipe_and_data_give_the_same_adapter(tiny_model: Path, tmp_path: Path) -> None:
    learn = examples(sorting(12))
    weights = []
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        result = train(recipe(tiny_model, seed=seed, dropout=0.1), learn, [], tmp_path / name, Notes())
        weights.append((result.best / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_stopped_run_keeps_a_checkpoint_and_ends_as_if_it_had_not_stopped(tiny_model: Path, tmp_path: Path) -> None:
    wanted = recipe(tiny_model, epochs=3, dropout=0.1)
    learn, held = examples(sorting(12)), examples(sorting(2, start=500))
    whole = train(wanted, learn, held, tmp_path / "whole", Notes())

    notes = Notes(stop_at=4)
    stopped = train(wanted, learn, held, tmp_path / "stopped", notes)
    assert (stopped.stopped, stopped.steps) == (True, 4)
    checkpoint = newest_checkpoint(tmp_path / "stopped")
    assert checkpoint is not None and checkpoint.name == "checkpoint-4"

    notes.stop_at = None
    resumed = train(wanted, learn, held, tmp_path / "stopped", notes)
    assert (resumed.stopped, resumed.steps) == (False, 9)
    assert sorted(notes.values) == list(range(1, 10))
    assert whole.best is not None and resumed.best is not None
    files = [result.best / "adapter_model.safetensors" for result in (whole, resumed)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_order_of_an_epoch_follows_from_seed_and_epoch_alone() -> None:
    from core.train.order import SeededLengthGroups

    lengths = [5 + number % 40 for number in range(100)]
    orders = {}
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        sampler = SeededLengthGroups(lengths, 4, seed)
        sampler.set_epoch(epoch)
        orders[seed, epoch] = list(sampler)
        assert list(sampler) == orders[seed, epoch]
        assert sorted(orders[seed, epoch]) == list(range(100))
    assert len({tuple(order) for order in orders.values()}) == 3


def test_validation_loss_of_the_adapter_itself_is_measured_last(tiny_model: Path, tmp_path: Path) -> None:
    """Nine steps with an evaluation every five."""
    notes = Notes()
    held = examples(sorting(2, start=500))
    result = train(recipe(tiny_model, epochs=3), examples(sorting(12)), held, tmp_path, notes)
    evaluated = [step for step, values in sorted(notes.values.items()) if "eval_loss" in values]
    assert evaluated == [5, 9]
    assert result.eval_loss == notes.values[9]["eval_loss"]


def test_checkpoint_that_a_kill_left_half_written_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((10, "{}"), (20, '{"global_step"'), (30, None), (9, "{}")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.name == "checkpoint-10"
    assert newest_checkpoint(tmp_path / "checkpoint-10") is None

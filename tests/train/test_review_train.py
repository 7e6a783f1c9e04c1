"""Runs that end at an awkward moment, recipes that ask for nothing, and figures that must not flatter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data.dataset import delete_dataset
from core.errors import UserError
from core.jobs import queue
from core.jobs.run import run_foreground
from core.settings import get_settings
from core.store import lists
from core.store.database import session
from core.store.tables import Job
from core.train import job as training
from core.train import trainer
from core.train.checkpoints import ending, newest_checkpoint
from core.train.recipe import Recipe
from core.train.trainer import train
from tests.factories import chat, example, examples, sorting, sorting_dataset
from tests.train.notes import Notes

pytestmark = pytest.mark.integration


def recipe(model: Path, **more: Any) -> Recipe:
    fixed = {"model": str(model), "batch_size": 4, "epochs": 1, "rank": 4, "evaluations": 2, "samples": 0}
    return Recipe.model_validate(fixed | more)


def test_run_killed_after_its_last_step_takes_no_other(tiny_model: Path, tmp_path: Path) -> None:
    """Eight steps end in the middle of an epoch of three, where the trainer itself would go on."""
    wanted, learn = recipe(tiny_model, max_steps=8), examples(sorting(12))
    first, second = Notes(), Notes()
    before = train(wanted, learn, examples(sorting(4, start=500)), tmp_path, first)
    second.notes = first.notes
    assert train(wanted, learn, examples(sorting(4, start=500)), tmp_path, second) == before
    assert (before.steps, before.stopped, before.stopped_early, second.values) == (8, False, False, {})


def test_run_that_had_ended_early_does_not_begin_again(tiny_model: Path, tmp_path: Path) -> None:
    learn = [example(f"What is number {n}?", f"It is {n * 37 % 101}.") for n in range(12)]
    held = [example(f"What is number {n}?", f"It is {n * 37 % 101}.") for n in range(50, 54)]
    wanted = recipe(tiny_model, epochs=40, learning_rate=1e-2, rank=16, evaluations=12, patience=1)
    first = train(wanted, learn, held, tmp_path, Notes())
    newest = newest_checkpoint(tmp_path)
    assert newest is not None and ending(newest) == "early" and first.stopped_early
    again = train(wanted, learn, held, tmp_path, Notes())
    assert (again.steps, again.best_step, again.stopped_early) == (first.steps, first.best_step, True)


def test_kill_between_the_adapter_and_the_jobs_last_record_costs_nothing(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = sorting_dataset(train=24)
    spec = {"dataset_id": dataset.id, "recipe": recipe(tiny_model).model_dump(), "name": "kept"}

    def die(folder: Path) -> None:
        for file in folder.glob("checkpoint-*/adapter_model.safetensors"):
            file.unlink()  # as far as it got
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "remove_checkpoints", die)
        job = run_foreground("train", spec)
    assert job.status == "stopped"
    (adapter,) = lists.adapters(dataset.id)
    written = (get_settings().home / adapter.path / "adapter_model.safetensors").stat().st_mtime_ns
    resume_here(job.id)
    ended = queue.get(job.id)
    assert (ended.status, ended.error, ended.result["adapter_id"]) == ("done", "", adapter.id)
    assert (get_settings().home / adapter.path / "adapter_model.safetensors").stat().st_mtime_ns == written
    assert list(queue.folder(job.id).glob("checkpoint-*")) == []


def resume_here(job_id: int) -> None:
    """Resume in this process."""
    import os

    from core.jobs import launcher, run

    queue.request_stop(job_id)
    with session() as db:
        job = db.get_one(Job, job_id)
        job.status, job.pid, job.process_started = "running", os.getpid(), launcher.start_time(os.getpid())
        job.stop_requested_at, job.stop_then = None, ""
    run.execute(job_id)


def test_time_of_a_run_is_that_of_all_its_attempts(tiny_model: Path, tmp_path: Path) -> None:
    wanted, learn = recipe(tiny_model, epochs=3), examples(sorting(12))
    notes = Notes(stop_at=4)
    first = train(wanted, learn, [], tmp_path, notes)
    notes.stop_at, notes.notes["seconds"] = None, 1000.0
    second = train(wanted, learn, [], tmp_path, notes)
    assert 0 < first.seconds < 500 and 1000 < second.seconds < 1500


def test_run_that_is_discarded_at_its_last_step_leaves_no_adapter(tiny_model: Path) -> None:
    dataset = sorting_dataset(train=24)
    spec = {"dataset_id": dataset.id, "recipe": recipe(tiny_model, max_steps=3).model_dump(), "name": "x"}

    def discard(done: float, total: float, message: str) -> None:
        if done == total == 3:
            import time

            queue.request_stop(queue.jobs("train", 1)[0].id, "discard")
            time.sleep(1.2)  # the recorder listens twice a second

    job = run_foreground("train", spec, on_progress=discard)
    assert (job.status, lists.adapters(dataset.id)) == ("stopped", [])


def test_deleted_data_set_is_named_as_the_reason(tiny_model: Path) -> None:
    dataset = sorting_dataset()
    delete_dataset(dataset.id)
    spec = {"dataset_id": dataset.id, "recipe": recipe(tiny_model).model_dump(), "name": "x"}
    assert "data set of this run was deleted" in run_foreground("train", spec).error


def test_adapter_says_nothing_of_this_machine(tiny_model: Path) -> None:
    dataset = sorting_dataset(train=14)
    spec = {"dataset_id": dataset.id, "recipe": recipe(tiny_model, max_steps=1).model_dump(), "name": "x"}
    assert run_foreground("train", spec).status == "done"
    (adapter,) = lists.adapters(dataset.id)
    folder = get_settings().home / adapter.path
    for file in folder.glob("*.json"):
        assert str(tiny_model.parent) not in file.read_text(), file.name
    assert str(tiny_model.parent) not in (folder / "README.md").read_text()


@pytest.mark.parametrize("size", [2, 5, 6, 8, 9, 13])
def test_half_a_batch_learns_from_the_same_examples_per_step(tmp_path: Path, size: int) -> None:
    wanted, notes = Recipe(batch_size=size, accumulation=2), Notes()
    while wanted.batch_size > 1:
        wanted = trainer._halved(wanted, tmp_path, notes)
        assert wanted.batch_size * wanted.accumulation == 2 * size
        assert trainer._with_batch_of(Recipe(), tmp_path).batch_size == wanted.batch_size
    with pytest.raises(UserError, match="does not hold one example"):
        trainer._halved(wanted, tmp_path, notes)
    (tmp_path / "batch.json").write_text("")  # killed while writing it
    assert trainer._with_batch_of(Recipe(), tmp_path) == Recipe()


def test_model_that_the_memory_does_not_hold_is_not_blamed_on_the_batch(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.train import setup

    tries = []

    def full(*args: Any, **more: Any) -> None:
        tries.append(1)
        raise MemoryError

    monkeypatch.setattr(setup, "load_model", full)
    notes = Notes()
    with pytest.raises(UserError, match="does not hold") as caught:
        train(recipe(tiny_model), examples(sorting(12)), [], tmp_path, notes)
    assert len(tries) == 1 and notes.events() == [] and "max_length" not in caught.value.remedy


def test_validation_loss_that_is_no_number_stops_the_run_before_it_starts(tiny_model: Path, tmp_path: Path) -> None:
    from tests.train.test_training import poisoned

    model = poisoned(tiny_model, tmp_path / "poisoned", " zebra")
    notes, held = Notes(), [example("Is a zebra one?", "no")]
    with pytest.raises(UserError, match="not a number"):
        train(recipe(model), examples(sorting(12)), held, tmp_path / "run", notes)
    assert notes.checks()["evaluation"]["state"] == "fail"


def test_validation_loss_that_stops_being_a_number_stops_the_run(tiny_model: Path, tmp_path: Path) -> None:
    """The fifth validation example is beyond the one batch that the pre-flight looks at."""
    from tests.train.test_training import poisoned

    model = poisoned(tiny_model, tmp_path / "poisoned", " zebra")
    notes, held = Notes(), [*examples(sorting(4, start=500)), example("Is a zebra one?", "no")]
    with pytest.raises(UserError, match="validation loss stopped being a number at step 2"):
        train(recipe(model), examples(sorting(12)), held, tmp_path / "run", notes)
    assert notes.events() and newest_checkpoint(tmp_path / "run") is None


def test_only_examples_that_lose_tokens_count_as_cut(tiny_model: Path, tmp_path: Path) -> None:
    from core.models.loading import load_tokenizer
    from core.train.tokens import encode_all

    learn = examples([chat(f"Which kind is number {n}?", "fruit") for n in range(10, 22)])
    tokenizer = load_tokenizer(str(tiny_model))
    longest = max(len(one.input_ids) for one in encode_all(tokenizer, learn, 512))
    assert {one.cut for one in encode_all(tokenizer, learn, longest, answers_only=False)} == {0}
    assert max(one.cut for one in encode_all(tokenizer, learn, longest - 2, answers_only=False)) == 2
    with pytest.raises(UserError, match="validation examples are longer than 16"):
        encode_all(tokenizer, learn, 16, part="validation")


def test_without_warm_up_the_first_step_is_a_whole_one(tiny_model: Path, tmp_path: Path) -> None:
    rates = {}
    for warmup in (0.0, 0.1):
        notes = Notes()
        train(recipe(tiny_model, warmup=warmup, max_steps=2), examples(sorting(12)), [], tmp_path / str(warmup), notes)
        rates[warmup] = notes.losses("learning_rate")[1]
    assert rates == {0.0: pytest.approx(5e-4), 0.1: 0.0}


@pytest.mark.parametrize("targets", [["q_proj", "queue_proj"], ["mlp"], ["lm_head"], ["embed_tokens"], ["proj"]])
def test_every_named_layer_must_be_a_linear_one(tiny_model: Path, tmp_path: Path, targets: list[str]) -> None:
    with pytest.raises(UserError, match=f"no linear layers named {targets[-1]}") as caught:
        train(recipe(tiny_model, targets=targets), examples(sorting(12)), [], tmp_path, Notes())
    assert "q_proj" in caught.value.remedy


def test_layers_can_be_named_by_their_place(tiny_model: Path, tmp_path: Path) -> None:
    wanted = recipe(tiny_model, targets=["layers.0.self_attn.q_proj"], max_steps=1)
    result = train(wanted, examples(sorting(12)), [], tmp_path, Notes())
    saved = json.loads((result.best / "adapter_config.json").read_text())
    assert saved["target_modules"] == ["layers.0.self_attn.q_proj"]


def test_validation_loss_does_not_depend_on_the_batch(tiny_model: Path, tmp_path: Path) -> None:
    """Per answer token, over answers of very different lengths: what runs with other batches can be compared by."""
    held = [example(f"Say {n}", "word " * (1 + 9 * (n % 2)), str(n)) for n in range(7)]
    found = []
    for size in (1, 2, 7):
        notes = Notes()
        wanted = recipe(tiny_model, batch_size=size, learning_rate=1e-12, max_steps=1, evaluations=1)
        train(wanted, examples(sorting(12)), held, tmp_path / str(size), notes)
        found.append(notes.losses("eval_loss")[1])
    assert found[1] == pytest.approx(found[0], rel=1e-5) and found[2] == pytest.approx(found[0], rel=1e-5)

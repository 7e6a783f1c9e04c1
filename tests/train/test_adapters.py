"""Adapters are deleted with a way back, cleared away later, and made of what an unfinished run had learned."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from core.errors import UserError
from core.evaluate.experiment import create_experiment
from core.evaluate.plan import Plan
from core.evaluate.rungs import RungChoice
from core.jobs import queue, run
from core.models.catalogue import BUNDLED_MODEL
from core.settings import get_settings
from core.store import lists
from core.store.database import session
from core.store.tables import Adapter, Experiment
from core.train import adapters
from core.train.checkpoints import newest_checkpoint, step_of
from core.train.recipe import Recipe
from tests.factories import sorting_dataset

DAY_S = 86_400


def an_adapter(name: str = "one", **columns: Any) -> Adapter:
    """A row, and files of its own."""
    with session() as db:
        adapter = Adapter(name=name, base_model=BUNDLED_MODEL, method="lora", path=f"adapters/{name}", **columns)
        db.add(adapter)
    folder = files(adapter)
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return adapter


def files(adapter: Adapter) -> Path:
    return get_settings().home / adapter.path


def deleted_days_ago(adapter: Adapter, days: float) -> None:
    adapters.delete(adapter.id)
    with session() as db:
        db.get_one(Adapter, adapter.id).deleted_at = time.time() - days * DAY_S


def test_deleted_adapter_is_on_no_list_and_comes_back_whole() -> None:
    kept, gone = an_adapter("kept"), an_adapter("gone")
    adapters.delete(gone.id)
    assert [adapter.id for adapter in lists.adapters()] == [kept.id]
    assert [adapter.id for adapter in adapters.deleted()] == [gone.id]
    with pytest.raises(UserError, match=r'"gone" was deleted.*Bring it back'):
        lists.adapter(gone.id)
    adapters.restore(gone.id)
    assert lists.adapter(gone.id).name == "gone" and files(gone).is_dir()
    assert adapters.deleted() == []


def test_long_deleted_adapters_are_cleared_away_for_good() -> None:
    long_ago, lately = an_adapter("long"), an_adapter("lately")
    deleted_days_ago(lately, 6)
    deleted_days_ago(long_ago, 8)
    assert adapters.clear_away() == [long_ago.id]
    assert not files(long_ago).exists() and files(lately).is_dir()
    for what in (adapters.restore, adapters.delete, lists.adapter):
        with pytest.raises(UserError, match=f"no adapter {long_ago.id}"):
            what(long_ago.id)
    adapters.restore(lately.id)


def test_next_deletion_clears_away_what_was_deleted_long_ago() -> None:
    long_ago = an_adapter("long")
    deleted_days_ago(long_ago, 8)
    adapters.delete(an_adapter("now").id)
    assert [adapter.name for adapter in adapters.deleted()] == ["now"]


@pytest.mark.parametrize("named", ["adapter", "passages", "run"])
def test_adapter_that_an_open_comparison_needs_is_not_cleared_away(named: str) -> None:
    dataset = sorting_dataset()
    job_id = queue.submit("train", {}, start=False)
    adapter, other = an_adapter("needed", job_id=job_id), an_adapter("other")
    experiment = create_experiment(
        "Open",
        dataset.id,
        metrics=["exact_match"],
        plan=Plan(
            rag_adapter_id=adapter.id if named == "passages" else None, rungs=[RungChoice(), RungChoice(adapter=True)]
        ),
        adapter_id={"adapter": adapter.id, "passages": other.id, "run": None}[named],
        train_job_id=job_id if named == "run" else None,
    )
    deleted_days_ago(adapter, 30)
    assert adapters.clear_away() == [] and files(adapter).is_dir()
    with session() as db:
        db.get_one(Experiment, experiment.id).report = {"finished": True}
    assert adapters.clear_away() == [adapter.id]
    assert not files(adapter).exists()


def test_deleting_a_run_keeps_its_adapter() -> None:
    job_id = queue.submit("train", {}, start=False)
    queue.request_stop(job_id)
    adapter = an_adapter(job_id=job_id)
    queue.delete(job_id)
    assert lists.adapter(adapter.id).job_id is None and files(adapter).is_dir()


def test_only_a_training_that_ended_early_with_a_checkpoint_is_kept() -> None:
    waiting, other = (queue.submit(kind, {}, start=False) for kind in ("train", "index"))
    with pytest.raises(UserError, match=f"Job {waiting} \\(train\\) is queued"):
        adapters.keep_checkpoint(waiting)
    for job_id in (waiting, other):
        queue.request_stop(job_id)
    with pytest.raises(UserError, match=r"\(index\) is stopped.*Only a training"):
        adapters.keep_checkpoint(other)
    # Killed while it was written: the trainer's state, which comes last, is missing.
    (queue.folder(waiting) / "checkpoint-3").mkdir()
    with pytest.raises(UserError, match="no whole checkpoint"):
        adapters.keep_checkpoint(waiting)


@pytest.mark.integration
def test_paused_training_gives_its_best_checkpoint_as_an_adapter(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real steps, paused after some evaluations; the checkpoints stay, so that the run can go on."""
    monkeypatch.setenv("LOWEST_RUNG_DEVICE", "cpu")
    get_settings.cache_clear()
    dataset = sorting_dataset(train=40)
    recipe = Recipe(model=str(tiny_model), rank=2, batch_size=2, epochs=4, evaluations=8, samples=0)
    spec = {"dataset_id": dataset.id, "recipe": recipe.model_dump(), "name": "Sorter"}

    def pause_at_half(done: float, total: float, _message: str) -> None:
        if total and done == total // 2:
            queue.request_stop(queue.jobs("train")[0].id)
            time.sleep(0.6)  # the recorder listens twice a second, and these steps are faster

    job = run.run_foreground("train", spec, title="Train: Sorter", on_progress=pause_at_half)
    assert job.status == "stopped", f"{job.error} {job.traceback}"
    evaluated = {step: value for _, step, _, value, _ in queue.metrics(job.id, names=["eval_loss"])}
    adapter = adapters.keep_checkpoint(job.id)
    assert adapter.eval_loss in evaluated.values()
    assert (adapter.name, adapter.job_id, adapter.notes["steps"]) == ("Sorter", job.id, job.done)
    assert sorted(path.name for path in files(adapter).iterdir()) >= ["README.md", "adapter_config.json"]
    assert not list(files(adapter).glob("optimizer*"))
    assert queue.get(job.id).result == {"adapter_id": adapter.id}
    newest = newest_checkpoint(queue.folder(job.id))
    assert newest is not None and step_of(newest) == job.done

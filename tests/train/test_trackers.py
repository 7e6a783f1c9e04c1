"""Reporting to experiment trackers: a run read back from TensorBoard's file, and what never leaves this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import UserError
from core.jobs import queue
from core.jobs.run import run_foreground
from core.train import trackers
from core.train.recipe import Recipe
from tests.factories import sorting_dataset


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """No variable of a tracker is set before a test, and none that it sets is left behind."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("TENSORBOARD_", "MLFLOW_", "WANDB_", "TRACKIO_")):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.integration
def test_tensorboard_holds_what_the_run_recorded(home: Path, tiny_model: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    dataset = sorting_dataset(train=14)
    recipe = Recipe(
        model=str(tiny_model), batch_size=4, epochs=2, rank=4, evaluations=2, samples=0, report_to=["tensorboard"]
    )
    job = run_foreground("train", {"dataset_id": dataset.id, "recipe": recipe.model_dump(), "name": "watched"})
    assert (job.status, job.error) == ("done", "")

    (folder,) = (home / "trackers" / "tensorboard").iterdir()
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    recorded: dict[str, dict[int, float]] = {}
    for _, step, name, value, _ in queue.metrics(job.id):
        recorded.setdefault(name, {})[step] = value
    for ours, theirs in (("loss", "train/loss"), ("learning_rate", "train/learning_rate"), ("eval_loss", "eval/loss")):
        written = {event.step: event.value for event in events.Scalars(theirs)}
        assert written == pytest.approx(recorded[ours])
        assert len(written) >= 2


def test_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name in ("mlflow", "trackio") else object())
    with pytest.raises(UserError) as refusal:
        trackers.arguments(["wandb", "mlflow", "trackio"], "7", tmp_path / "mine")
    assert "mlflow, trackio" in refusal.value.what and "wandb" not in refusal.value.what
    assert "pip install mlflow trackio" in refusal.value.remedy
    assert not (tmp_path / "mine").exists()


def test_without_trackers_nothing_is_made_or_set(tmp_path: Path) -> None:
    before = dict(os.environ)
    assert trackers.arguments([], "7", tmp_path / "mine") == {"report_to": "none"}
    assert dict(os.environ) == before and not (tmp_path / "mine").exists()


def test_everything_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    found = trackers.arguments(["tensorboard", "mlflow", "wandb", "trackio"], "7", tmp_path)
    assert found["trackio_static_space_id"] is False
    assert os.environ["WANDB_MODE"] == "offline"
    assert os.environ["WANDB_ERROR_REPORTING"] == "false" and os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    places = ("TENSORBOARD_LOGGING_DIR", "MLFLOW_TRACKING_URI", "WANDB_DIR", "WANDB_CACHE_DIR", "TRACKIO_DIR")
    assert all(str(tmp_path / "trackers") in os.environ[place] for place in places)
    # W&B writes elsewhere when its folder is missing.
    assert Path(os.environ["WANDB_DIR"]).is_dir()


def test_own_settings_are_respected_and_keys_stay_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    os.environ.update(WANDB_API_KEY="local-f00d", MLFLOW_TRACKING_URI="http://tracking.example:5000", TRACKIO_DIR="")
    found = trackers.arguments(["mlflow", "wandb", "trackio"], "7", tmp_path)
    assert os.environ["WANDB_MODE"] == "online"
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://tracking.example:5000"
    # An empty variable is one that is not set.
    assert os.environ["TRACKIO_DIR"] == str(tmp_path / "trackers" / "trackio")
    assert "f00d" not in str(found)
    assert not any(b"f00d" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

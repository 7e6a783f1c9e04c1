"""Real training jobs in real processes: killed, stopped, orphaned, out of disk and out of memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.data.dataset import File, create_dataset
from core.jobs import queue
from core.settings import REPOSITORY, get_settings
from core.store import database, lists
from core.store.tables import Job
from core.train.checkpoints import newest_checkpoint, step_of
from core.train.recipe import Recipe
from tests.factories import chat, jsonl, sorting_dataset
from tests.watching import kill_survivors, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform == "win32", reason="kills the POSIX way"),
]
START_S = 240


@pytest.fixture(autouse=True)
def on_the_cpu(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bit-identical resuming is promised there; and no job outlives its test."""
    monkeypatch.setenv("LOWEST_RUNG_DEVICE", "cpu")
    get_settings.cache_clear()
    yield
    kill_survivors()


def wait(job_id: int, described: Callable[[Job], bool]) -> Job:
    """Longer than elsewhere: libraries are loaded and weights are read before the first step."""
    return until(job_id, described, START_S)


def ended(job: Job) -> bool:
    return job.status not in queue.ACTIVE


def spec(model: Path | str, **more: Any) -> dict[str, Any]:
    dataset = sorting_dataset(train=13)
    recipe = Recipe.model_validate({"model": str(model), "batch_size": 3, "rank": 4, "dropout": 0.05} | more)
    return {"dataset_id": dataset.id, "recipe": recipe.model_dump(), "name": "test"}


def recorded_steps(job_id: int, name: str = "loss") -> list[int]:
    return [step for _, step, _, _, _ in queue.metrics(job_id, names=[name])]


def adapter_weights(job: Job) -> dict[str, Any]:
    from safetensors.torch import load_file

    (path,) = [adapter.path for adapter in lists.adapters() if adapter.job_id == job.id]
    return load_file(get_settings().home / path / "adapter_model.safetensors")


def test_killed_training_resumes_to_the_same_adapter(bundled: Path) -> None:
    """`kill -9` after steps that no checkpoint holds: they are taken again, and recorded once."""
    import torch

    # Four steps an epoch and a checkpoint every three: it goes on in the middle of an epoch.
    work = spec("bundled/SmolLM2-135M-Instruct", epochs=4, evaluations=6)
    uninterrupted = queue.submit("train", work)
    killed = queue.submit("train", work)

    def beyond_a_checkpoint(job: Job) -> bool:
        checkpoint = newest_checkpoint(queue.folder(killed))
        if checkpoint is None or step_of(checkpoint) == 12:
            return False
        return max(recorded_steps(killed), default=0) > step_of(checkpoint)

    running = wait(killed, beyond_a_checkpoint)
    before = recorded_steps(killed)
    assert running.status == "running" and running.pid is not None
    os.kill(running.pid, signal.SIGKILL)
    assert wait(killed, ended).status == "interrupted"
    assert lists.adapters() != [] and max(before) < 16

    queue.resume(killed)
    job = wait(killed, ended)
    assert (job.status, job.error) == ("done", "")
    assert recorded_steps(killed) == list(range(1, 17))
    assert recorded_steps(killed, "eval_loss") == [3, 6, 9, 12, 15, 16]

    expected, found = adapter_weights(queue.get(uninterrupted)), adapter_weights(job)
    assert expected.keys() == found.keys() and len(found) == 30 * 7 * 2
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert any(bool(tensor.any()) for name, tensor in found.items() if "lora_B" in name)


def test_training_goes_on_when_the_app_is_killed_and_stops_when_asked(tiny_model: Path) -> None:
    work = spec(tiny_model, batch_size=2, epochs=84, evaluations=1)
    code = f"from core.jobs import queue; print(queue.submit('train', {work})); import time; time.sleep(600)"
    app = subprocess.Popen([sys.executable, "-u", "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert app.stdout is not None
    job_id = int(app.stdout.readline())
    app.kill()
    app.wait()
    wait(job_id, lambda job: job.done >= 2)

    queue.request_stop(job_id)
    stopped = wait(job_id, ended)
    assert (stopped.status, stopped.error) == ("stopped", "")
    checkpoint = newest_checkpoint(queue.folder(job_id))
    assert checkpoint is not None and 0 < step_of(checkpoint) == stopped.done < 504
    assert recorded_steps(job_id) == list(range(1, step_of(checkpoint) + 1))
    assert lists.adapters() == []

    queue.resume(job_id)
    job = wait(job_id, ended)
    assert (job.status, job.error, job.done) == ("done", "", 504)
    assert recorded_steps(job_id) == list(range(1, 505))
    assert job.result["adapter_id"] == lists.adapters()[0].id


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder on a disk of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    monkeypatch.setenv("LOWEST_RUNG_HOME", str(folder))
    get_settings.cache_clear()
    url = get_settings().records_url
    yield folder
    database.forget(url)
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk_ends_the_job_with_what_to_change_and_it_resumes(small_disk: Path, tiny_model: Path) -> None:
    work = spec(tiny_model, rank=512, evaluations=2)
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    # Room for the records and the log, not for a checkpoint.
    ballast.write_bytes(b"\0" * (free - 3_000_000))
    job_id = queue.submit("train", work)
    job = wait(job_id, ended)
    assert job.status == "failed"
    assert job.error.startswith("The disk has"), job.traceback
    assert "Free some space" in job.remedy

    ballast.unlink()
    queue.resume(job_id)
    assert wait(job_id, ended).status == "done"


def train_within(extra_bytes: int, tiny_model: Path) -> Job:
    """A run whose process may take so much more than it has with everything imported; its batch needs several GB."""
    records = [chat(f"Question {number}?", "word " * 400) for number in range(64)]
    dataset = create_dataset("long", File("train.jsonl", jsonl(records)))
    recipe = Recipe(model=str(tiny_model), batch_size=512, epochs=1, samples=0)
    code = f"""
import resource, psutil, torch, trl, peft, datasets
from core.jobs.run import run_foreground
torch.ones(64, 64) @ torch.ones(64, 64)
limit = psutil.Process().memory_info().vms + {extra_bytes}
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
run_foreground("train", {{"dataset_id": {dataset.id}, "recipe": {recipe.model_dump()}, "name": "big"}})
"""
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, timeout=300)
    (job,) = queue.jobs()
    return job


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is enforced by Linux only")
def test_too_little_memory_ends_the_job_with_what_to_change(tiny_model: Path) -> None:
    job = train_within(600_000_000, tiny_model)
    assert job.status == "failed"
    assert job.error.startswith("The memory does not hold one example"), job.traceback
    assert "max_length" in job.remedy


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is enforced by Linux only")
def test_batch_that_memory_does_not_hold_is_halved_until_it_does(tiny_model: Path) -> None:
    """The step still learns from as many examples, and the run says what it did."""
    job = train_within(3_000_000_000, tiny_model)
    assert (job.status, job.error) == ("done", ""), job.traceback
    batch = job.notes["batch"]
    assert batch["batch_size"] < 64 and batch["batch_size"] * batch["accumulation"] == 512
    assert job.result["steps"] == 1
    assert "did not hold a batch of 512" in job.notes["events"][0]["text"]

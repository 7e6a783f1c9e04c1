"""Large files: imported by a job that can be stopped or killed, beside others who write, in bounded memory."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.data.dataset import File, datasets, examples_of, import_dataset, sweep_unfinished
from core.data.importing_job import submit_import, sweep_staged
from core.data.reading import detect
from core.data.splits import SplitPlan
from core.errors import UserError
from core.jobs import queue
from core.settings import REPOSITORY
from core.store.database import session
from core.store.tables import Dataset, Example, Job
from tests.factories import jsonl, sorting
from tests.watching import kill_survivors, until

pytestmark = pytest.mark.integration

Wait = Callable[[int, Callable[[Job], bool]], Job]
# Likeness is another module's affair, and takes half of the time.
PLAN = SplitPlan(keep_near_duplicates_together=False)


@pytest.fixture(autouse=True)
def no_job_outlives_its_test(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LOWEST_RUNG_HEARTBEAT_S", "0.5")
    yield
    kill_survivors()


def ended(job: Job) -> bool:
    return job.status not in queue.ACTIVE


def storing(job: Job) -> bool:
    assert job.status != "done", "the file is too small for this test"
    return examples_stored() > 0


def examples_stored() -> int:
    with session(read_only=True) as db:
        return db.scalar(sa.select(sa.func.count(Example.id))) or 0


def datasets_stored() -> int:
    with session(read_only=True) as db:
        return db.scalar(sa.select(sa.func.count(Dataset.id))) or 0


def staged(home: Path) -> list[Path]:
    return list((home / "staging").iterdir())


def written(path: Path, count: int, words: int = 0) -> File:
    """A file of `count` records, each with so many random words more."""
    chance = random.Random(0)
    vocabulary = [f"{chance.randrange(16**6):x}" for _ in range(5000)]
    with path.open("wb") as file:
        for record in sorting(count):
            record["messages"][0]["content"] += " " + " ".join(chance.choices(vocabulary, k=words))
            file.write(jsonl([record]))
    return File(path.name, path=path)


def test_job_imports_what_the_call_would(home: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "train.jsonl", 3000)
    job_id = submit_import("big", file, detect(file).reading, seed=5)
    copies = staged(home)
    if copies:
        assert [stat.S_IMODE(path.stat().st_mode) for path in copies] == [0o600]
    job = until(job_id, ended)
    assert job.status == "done", job.error
    (dataset,) = datasets()
    assert job.result == {"dataset_id": dataset.id}
    assert job.done == job.total > 0
    assert dataset.name == "big"
    assert dataset.source == "train.jsonl"
    assert staged(home) == []
    assert import_dataset("same", file, seed=5).hash == dataset.hash


def test_refused_upload_leaves_its_report_and_nothing_else(home: Path) -> None:
    bad = jsonl(sorting(2000)) + b"{broken\n" * 3
    job = until(submit_import("bad", File("bad.jsonl", bad), test=File("test.jsonl", jsonl(sorting(5)))), ended)
    assert job.status == "done"
    assert job.result["refused"].startswith("Nothing was imported: 3 problems")
    assert [problem["line"] for problem in job.result["problems"]] == [2001, 2002, 2003]
    assert [report["error_count"] for report in job.result["reports"]] == [3, 0]
    assert (datasets_stored(), examples_stored(), staged(home)) == (0, 0, [])


def test_stopped_job_leaves_nothing(home: Path, tmp_path: Path) -> None:
    job_id = submit_import("big", written(tmp_path / "big.jsonl", 20_000), plan=PLAN)
    until(job_id, storing)
    queue.request_stop(job_id)
    asked = time.monotonic()
    assert until(job_id, ended).status == "stopped"
    assert time.monotonic() - asked < 4
    assert (datasets_stored(), examples_stored(), staged(home)) == (0, 0, [])
    queue.resume(job_id)
    again = until(job_id, ended)
    assert (again.status, again.remedy) == ("failed", "Import the file again.")


def test_killed_import_is_invisible_and_swept(home: Path, tmp_path: Path) -> None:
    job_id = submit_import("big", written(tmp_path / "big.jsonl", 20_000), plan=PLAN)
    job = until(job_id, storing)
    assert job.pid is not None
    os.kill(job.pid, signal.SIGKILL)
    assert until(job_id, ended).status == "interrupted"
    assert examples_stored() > 0
    assert datasets() == []
    assert sweep_unfinished() == 0, "it was alive a moment ago"
    with session() as db:
        db.execute(sa.update(Dataset).values(importing_at=Dataset.importing_at - 601))
    assert sweep_unfinished() == 1
    assert (datasets_stored(), examples_stored()) == (0, 0)
    assert len(staged(home)) == 1
    sweep_staged()
    assert staged(home) == []


def test_copies_are_swept_once_no_job_needs_them(home: Path) -> None:
    file = File("train.jsonl", jsonl(sorting(30)))
    (home / "staging").mkdir(parents=True)
    fresh, old = home / "staging" / "fresh", home / "staging" / "old"
    for path in (fresh, old):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 601,) * 2)
    blocker = queue.submit("import", {"files": []}, device="import", start=False, reserve=True)
    assert queue.claim(blocker)
    job_id = submit_import("waits", file)
    kept = set(staged(home)) - {fresh}
    assert len(kept) == 1, "the old one is gone, the new one waits with its job"
    sweep_staged()
    assert set(staged(home)) == kept | {fresh}
    queue.request_stop(job_id)
    sweep_staged()
    assert staged(home) == [fresh]


def test_file_that_cannot_be_staged_queues_nothing(home: Path, tmp_path: Path) -> None:
    good = File("train.jsonl", jsonl(sorting(30)))
    with pytest.raises(FileNotFoundError):
        submit_import("d", good, test=File("gone.jsonl", path=tmp_path / "gone.jsonl"))
    assert (queue.jobs(), staged(home)) == ([], [])


IMPORT = """
import json, re, sys
from pathlib import Path
from core.data.dataset import File, import_dataset
dataset = import_dataset("big", File("big.jsonl", path=Path(sys.argv[1])))
# Not ru_maxrss, which starts with what the test's own process had used.
peak = int(re.search("VmHWM:(.*) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"id": dataset.id, "peak": peak, "counts": dataset.notes["counts"]}))
"""


def test_import_keeps_little_in_memory_and_lets_others_write(home: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "big.jsonl", 8_000, words=200)
    assert file.size > 10e6
    with session() as db:
        db.add(Job(kind="train"))
    waits: list[float] = []
    over = threading.Event()

    def neighbour() -> None:
        while not over.wait(0.01):
            began = time.monotonic()
            with session() as db:
                db.execute(sa.update(Job).values(done=Job.done + 1))
            waits.append(time.monotonic() - began)

    thread = threading.Thread(target=neighbour)
    thread.start()
    try:
        output = subprocess.run(
            [sys.executable, "-c", IMPORT, str(file.path)], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True
        ).stdout
    finally:
        over.set()
        thread.join()
    found: dict[str, Any] = json.loads(output)
    assert sum(found["counts"].values()) == 8_000
    assert found["peak"] < 300, "MiB"
    assert len(waits) > 100
    assert max(waits) < 1.5, "seconds that a job waited to write"
    assert len(examples_of(found["id"], "test")) == found["counts"]["test"]


def test_import_that_fails_at_its_end_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise UserError("The disk is full.", "Free some space.")

    monkeypatch.setattr("core.data.storing.content_hash", full)
    with pytest.raises(UserError, match="disk is full"):
        import_dataset("d", File("train.jsonl", jsonl(sorting(5000))), plan=PLAN)
    assert (datasets_stored(), examples_stored()) == (0, 0)

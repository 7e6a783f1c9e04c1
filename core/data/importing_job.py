"""Importing a large file as a job: the page stays free, and the copy that the job reads goes when the job ends."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.data.dataset import PLAN, ImportRefused, import_dataset, sweep_unfinished
from core.data.files import File, FileKind
from core.data.reading import Reading
from core.data.splits import SplitPlan
from core.errors import UserError
from core.jobs import queue
from core.jobs.context import JobContext
from core.settings import get_settings

# A queue of its own: an import needs no accelerator, and must not wait for hours of training.
DEVICE = "import"
# What this machine checks and stores in a second, for the time left before the job has measured its own speed.
BYTES_PER_SECOND = 4e6
# A copy whose job is not on record yet may be about to get one.
YOUNG_S = 600.0


def submit_import(
    name: str,
    train: File,
    train_reading: Reading | None = None,
    test: File | None = None,
    test_reading: Reading | None = None,
    *,
    seed: int = 0,
    plan: SplitPlan = PLAN,
) -> int:
    """Copy the files aside and queue their import; the job's id.

    Its result is {"dataset_id": ...}, or {"refused": ..., "problems": [...], "reports": [...]}: why, what is to be
    mended, and each file's report as a dict.
    """
    sweep_staged()
    sweep_unfinished()
    given = [(train, train_reading)] if test is None else [(train, train_reading), (test, test_reading)]
    staged: list[Path] = []
    try:
        files = []
        for file, reading in given:
            staged.append(stage(file))
            kept = None if reading is None else asdict(reading)
            files.append({"name": file.name, "staged": staged[-1].name, "reading": kept})
        spec = {"name": name, "files": files, "seed": seed, "plan": asdict(plan)}
        expected = sum(file.size for file, _ in given) / BYTES_PER_SECOND
        return queue.submit("import", spec, title=f"Import: {name}", device=DEVICE, expected_s=expected)
    except BaseException:
        for path in staged:
            path.unlink(missing_ok=True)
        raise


def run(context: JobContext) -> dict[str, Any]:
    """Spec: see `submit_import`. The copies are deleted however the job ends; only a kill leaves them to the sweep."""
    spec = context.spec
    paths = [_folder() / Path(file["staged"]).name for file in spec["files"]]
    try:
        if not all(path.exists() for path in paths):
            raise UserError("The uploaded file was deleted when the job ended.", "Import the file again.")
        files = [File(file["name"], path=path) for file, path in zip(spec["files"], paths, strict=True)]
        readings = [_reading(file["reading"]) for file in spec["files"]]

        def on_progress(done: float, total: float, message: str) -> None:
            context.progress(done, total, message)
            context.check_stop()

        dataset = import_dataset(
            spec["name"],
            files[0],
            readings[0],
            *((files[1], readings[1]) if len(files) > 1 else ()),
            seed=spec["seed"],
            plan=SplitPlan(**spec["plan"]),
            on_progress=on_progress,
        )
        return {"dataset_id": dataset.id}
    except ImportRefused as refused:
        reports = [report.as_dict() for report in refused.reports]
        return {"refused": refused.what, "problems": [asdict(p) for p in refused.problems], "reports": reports}
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def stage(file: File) -> Path:
    """A copy of the file that only this user can read, under a name of our own."""
    path = _folder() / uuid.uuid4().hex
    try:
        path.touch(mode=0o600, exist_ok=False)
        with file.open() as source, path.open("wb") as copy:
            shutil.copyfileobj(source, copy, 2**20)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def sweep_staged() -> None:
    """Delete the copies whose job has ended (killed, or stopped before it began), or that never got a job."""
    ended: set[str] = set()
    active: set[str] = set()
    for job in queue.jobs("import", limit=10_000):
        names = {file["staged"] for file in job.spec["files"]}
        (active if job.status in queue.ACTIVE else ended).update(names)
    for path in _folder().iterdir():
        if path.name in active:
            continue
        # Another process may sweep too.
        with suppress(FileNotFoundError):
            if path.name in ended or path.stat().st_mtime < time.time() - YOUNG_S:
                path.unlink()


def _folder() -> Path:
    folder = get_settings().home / "staging"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _reading(kept: Mapping[str, Any] | None) -> Reading | None:
    if kept is None:
        return None
    return Reading(**{**kept, "kind": FileKind(**kept["kind"]), "fixes": tuple(kept["fixes"])})

"""A job's own folder: its log, its checkpoints, and what becomes of them."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from core.jobs.context import LOG
from core.settings import get_settings


def folder(job_id: int) -> Path:
    """The job's own folder, made if need be: log and checkpoints. `delete` removes it."""
    path = _path(job_id)
    path.mkdir(parents=True, exist_ok=True)
    return path


def log_path(job_id: int) -> Path:
    """The job's log: what it reported and everything its process printed, over all attempts."""
    return folder(job_id) / LOG


def log_tail(job_id: int, lines: int = 40) -> str:
    """The last lines of the log; empty when there is none yet."""
    path = _path(job_id) / LOG
    if not path.exists():
        return ""
    with path.open("rb") as file:
        # A progress bar can make a log long; nobody reads more than its end here.
        file.seek(max(0, path.stat().st_size - 64_000))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])


def empty(job_id: int) -> None:
    """Remove all that the job saved, except its log."""
    for path in _path(job_id).glob("*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOG:
            with suppress(OSError):
                path.unlink()


def remove(job_id: int) -> None:
    """Remove the folder with all that is in it."""
    shutil.rmtree(_path(job_id), ignore_errors=True)


def _path(job_id: int) -> Path:
    return get_settings().home / "jobs" / str(job_id)

"""The job that only checks: the pre-flight of a run, before anyone waits for the run."""

from __future__ import annotations

import shutil
from typing import Any

from core.jobs.context import JobContext
from core.train.job import JobRecorder, work_of
from core.train.trainer import check_only


def run(context: JobContext) -> dict[str, Any]:
    """Spec: as for a training. The result holds the checklist and what was measured."""
    work = work_of(context)
    folder = context.folder / "trial"
    folder.mkdir(exist_ok=True)
    try:
        check_only(work.recipe, work.train, work.validation, folder, JobRecorder(context), passages=work.passages)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {name: context.notes[name] for name in ("preflight", "measured")}

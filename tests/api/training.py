"""Files and jobs for the tests of the fine-tuning routes; jobs begin when the test says so, in its own process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
from openai import BaseModel
from openai.types import FileObject

from core.jobs import launcher, queue
from core.jobs.run import execute
from tests.factories import jsonl, sorting


class Begun(launcher.LocalLauncher):
    """Starts no process: what is started waits, as running, until `run` executes it here."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[int] = []

    def start(self, job_id: int, log: Path) -> tuple[int, float]:
        self.waiting.append(job_id)
        return os.getpid(), launcher.start_time(os.getpid())

    def run(self) -> str:
        """Run the job that was started first to its end; its status then."""
        return execute(self.waiting.pop(0))


@contextmanager
def jobs_by_hand() -> Iterator[Begun]:
    usual, made = launcher.current(), Begun()
    launcher.use(made)
    try:
        yield made
    finally:
        launcher.use(usual)


def upload(client: openai.OpenAI, records: Any = None, name: str = "train.jsonl") -> FileObject:
    """Twelve short examples, or what is given: records, or the bytes themselves."""
    content = records if isinstance(records, bytes) else jsonl(sorting(12) if records is None else records)
    return client.files.create(file=(name, content), purpose="fine-tune")


def conforms(found: BaseModel, *, besides: tuple[str, ...] = ()) -> None:
    """The response has the fields and types of the package's own type, and none but those and `besides`."""
    kind = type(found)
    kind.model_validate(found.to_dict(), strict=True)
    assert set(found.model_extra or {}) <= set(besides), found.model_extra
    required = {name for name, field in kind.model_fields.items() if field.is_required()}
    assert required <= found.model_fields_set


def delete_job(job_id: int) -> None:
    """As the Jobs page does, of a job that has ended."""
    queue.delete(job_id)

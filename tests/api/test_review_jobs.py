"""What happens to a fine-tuning job between two steps: its file goes, its record is not written yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from core.api import training_data, tunings
from core.data.dataset import datasets
from core.jobs import queue
from tests.api.conftest import Served
from tests.api.training import Begun, jobs_by_hand, upload

pytestmark = pytest.mark.integration


@pytest.fixture
def jobs() -> Iterator[Begun]:
    with jobs_by_hand() as made:
        yield made


def test_file_deleted_while_it_is_checked_is_named(
    client: openai.OpenAI, server: Served, jobs: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = upload(client)
    made = client.fine_tuning.jobs.create(model=server.model, training_file=file.id)
    check = training_data.check

    def then_deleted(*args: Any, **more: Any) -> Any:
        report = check(*args, **more)
        client.files.delete(file.id)
        return report

    monkeypatch.setattr(training_data, "check", then_deleted)
    jobs.run()
    ended = client.fine_tuning.jobs.retrieve(made.id)
    assert ended.status == "failed" and ended.error is not None
    assert (ended.error.code, ended.error.param) == ("invalid_training_file", "training_file")
    assert "deleted" in ended.error.message
    assert datasets() == []


def test_job_that_another_process_starts_at_once_finds_its_row(
    client: openai.OpenAI, server: Served, jobs: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever process looks at the queue starts what waits in it, however soon."""
    submit = queue.submit

    def and_run(kind: str, *args: Any, **more: Any) -> int:
        job_id = submit(kind, *args, **more)
        if kind == "validate":
            queue.dispatch()
            jobs.run()
        return job_id

    monkeypatch.setattr(queue, "submit", and_run)
    made = client.fine_tuning.jobs.create(model=server.model, training_file=upload(client).id)
    found = tunings.find(made.id)
    assert found.job is not None and found.job.kind == "train", found.error
    assert found.status in ("queued", "running")

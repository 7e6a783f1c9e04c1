"""A provider, a saved service that leads to it, and managed jobs run in this process, quickly."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from core.jobs import launcher, queue, run
from core.managed import calls
from core.managed import job as managed_job
from core.managed.plan import Prepared, TuneSettings, prepare, start
from core.models import services
from core.models.services import Service
from core.store.database import session
from core.store.tables import Job
from tests.factories import sorting_dataset
from tests.managed.provider import MODEL, Provider, providing

Work = Callable[[int], Job]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture
def there(provider: Provider) -> str:
    """The provider among the saved services."""
    services.save(Service(name="there", url=provider.url, timeout_s=0.3), provider.key)
    return "there"


@pytest.fixture
def prepared(there: str) -> Prepared:
    """A fine-tune of 12 examples and 2 for validation, at 5 dollars a million tokens, in 3 epochs."""
    return prepare(there, MODEL, sorting_dataset().id, TuneSettings(epochs=3, price_training=5.0, seed=1))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of hundredths of seconds, patience of a few; nothing starts processes."""
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(calls, "LOOK_S", 0.02)
    monkeypatch.setattr(calls, "LONGEST_PAUSE_S", 0.04)
    monkeypatch.setattr(calls, "PATIENCE_S", 10.0)
    monkeypatch.setattr(managed_job, "NEAR_S", 0.02)
    monkeypatch.setattr(managed_job, "FAR_S", 0.02)
    monkeypatch.setattr(managed_job, "FILE_POLL_S", 0.02)
    monkeypatch.setattr(queue, "dispatch", list)


@pytest.fixture
def work(quick: None) -> Work:
    """Run a job that waits in this process, to its end."""

    def run_here(job_id: int) -> Job:
        with session() as db:
            job = db.get_one(Job, job_id)
            assert job.status == "queued"
            job.status, job.pid, job.process_started = "running", os.getpid(), launcher.start_time(os.getpid())
        run.execute(job_id)
        return queue.get(job_id)

    return run_here


@pytest.fixture
def begin(prepared: Prepared, quick: None) -> Callable[[], int]:
    """Start the fine-tune, confirmed; the job waits."""
    return lambda: start(prepared, prepared.price_usd)

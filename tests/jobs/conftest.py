"""Jobs of the tests run in real processes; none outlives its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from core.jobs import kinds, launcher
from core.store.tables import Job
from tests.jobs import runner
from tests.watching import kill_survivors, until

Wait = Callable[[int, Callable[[Job], bool]], Job]


@pytest.fixture(autouse=True)
def kinds_of_the_tests(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The handlers of the tests, and a quick heartbeat."""
    monkeypatch.setenv("LOWEST_RUNG_HEARTBEAT_S", "0.5")
    before, usual = dict(kinds.HANDLERS), launcher.current()
    runner.prepare()
    yield
    kill_survivors()
    launcher.use(usual)
    kinds.HANDLERS.clear()
    kinds.HANDLERS.update(before)


@pytest.fixture
def wait() -> Wait:
    """Wait until the job is as described, moving the queue on like a page that looks; at most 20 s."""
    return partial(until, seconds=20)

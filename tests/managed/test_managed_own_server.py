"""The client against our own server: a real implementation of the API, which really trains."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pytest

from core.jobs import queue
from core.managed.migrate import bring, existing
from core.managed.plan import TuneSettings, prepare, start
from core.managed.providers import base_models, this_machine
from core.managed.runs import models, run_of
from core.models.generation import Request, Sampling
from core.models.open import open_generator
from tests.api.conftest import Served
from tests.api.conftest import server as server
from tests.factories import sorting_dataset

pytestmark = pytest.mark.integration


def ended(job_id: int) -> str:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        queue.dispatch()
        job = queue.get(job_id)
        if job.status not in queue.ACTIVE:
            return f"{job.status} {job.error}".strip()
        time.sleep(0.2)
    raise AssertionError(f"{job.message} {queue.log_tail(job_id)}")


def test_our_own_server_is_a_provider_like_any_other(server: Served) -> None:
    name = this_machine(server.url)
    assert any(offer.id.endswith(server.model) for offer in base_models(name))
    settings = TuneSettings(epochs=1, suffix="own", seed=3, learning_rate_multiplier=0.5)
    prepared = prepare(name, server.model, sorting_dataset(16).id, settings)
    assert prepared.price_usd == 0.0
    try:
        job_id = start(prepared, 0.0)
        assert ended(job_id) == "done"
        run = run_of(job_id)
        assert run.fine_tuned_model is not None and ":own:" in run.fine_tuned_model
        assert {"loss", "eval_loss"} <= {called for _, _, called, _, _ in queue.metrics(job_id)}
        (model,) = models()
        ((_, answer),) = next(
            open_generator(model.id).answer([Request([{"role": "user", "content": "Which?"}])], Sampling(8))
        )
        assert answer.error is None and answer.output_tokens
        # Forgotten here, it is found again there: nothing is trained twice.
        trained = len(queue.jobs("train"))
        queue.delete(job_id)
        again = start(prepared, 0.0)
        assert ended(again) == "done" and run_of(again).fine_tuned_model == run.fine_tuned_model
        assert len(queue.jobs("train")) == trained
        # And the way back: what our server learned from is brought like anybody's.
        (tune,) = existing(name)
        assert tune.hyperparameters["n_epochs"] == 1
        assert bring(name, tune.id).test_examples
    finally:
        for job in queue.jobs():
            if job.status == "running" and job.pid not in (None, os.getpid()):
                with suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGKILL)

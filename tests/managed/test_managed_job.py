"""A managed fine-tune from the data to the model, stopped, cancelled, killed, begun twice and tried again."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from core.data.dataset import examples_of
from core.decide.prices import prices
from core.errors import UserError
from core.evaluate.rungs import RungChoice
from core.jobs import queue
from core.managed.following import named, points_of, table_of
from core.managed.plan import Prepared, TuneSettings, prepare, start
from core.managed.runs import can_cancel, cancel, models, name_deployment, run_of, runs, stop_following
from core.models import services
from core.models.generation import Request, Sampling
from core.models.open import open_generator, price_of
from core.models.services import Service
from tests.factories import sorting_dataset
from tests.managed.conftest import Work
from tests.managed.provider import MODEL, Provider
from tests.watching import kill_survivors, until

Begin = Callable[[], int]


def metrics(job_id: int, name: str) -> list[tuple[int, float]]:
    return [(step, value) for _, step, called, value, _ in queue.metrics(job_id) if called == name]


def when(condition: Callable[[], object], act: Callable[[], object]) -> threading.Thread:
    """Do something in a thread of its own once a condition holds."""

    def wait() -> None:
        deadline = time.monotonic() + 20
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_fine_tune_becomes_a_model_that_a_rung_can_name(
    provider: Provider, prepared: Prepared, begin: Begin, work: Work
) -> None:
    job = work(begin())
    assert job.status == "done", (job.error, job.traceback)
    assert job.result["fine_tuned_model"].startswith(f"ft:{MODEL}:acme::")
    assert job.result["model_id"] == f"remote:there/{job.result['fine_tuned_model']}"
    assert job.result["cost_usd"] == 12_345 * 5.0 / 1e6
    assert prepared.validation is not None
    assert [name.split()[0] for name in provider.uploads] == [prepared.training.name, prepared.validation.name]
    assert len(provider.creations) == 1
    assert metrics(job.id, "loss") == [(step, round(2 / step, 4)) for step in range(1, 7)]
    assert [step for step, _ in metrics(job.id, "eval_loss")] == [3, 6]
    run = run_of(job.id)
    assert (run.status, run.following, run.cost_usd) == ("succeeded", False, job.result["cost_usd"])
    assert run.events[0]["message"] == "The job has successfully completed"
    assert not can_cancel(run)
    (model,) = models()
    assert (model.id, model.base_model) == (job.result["model_id"], MODEL)
    assert RungChoice(tuned=True, model=model.id).rung.switches == "managed"
    question = Request([{"role": "user", "content": "Which kind is apple?"}])
    ((_, answer),) = next(open_generator(model.id).answer([question], Sampling()))
    assert answer.text == "fruit"
    assert provider.asked[0]["model"] == job.result["fine_tuned_model"]


def test_tuned_model_costs_what_is_printed_for_it(begin: Begin, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = prices().tuned_model("gpt-4.1-mini")
    assert printed.input and printed.output
    monkeypatch.setattr("core.managed.job.training_price", lambda service, model: printed)
    job = work(begin())
    assert job.status == "done", (job.error, job.traceback)
    assert price_of(job.result["model_id"]) == (printed.input, printed.output)
    assert price_of("remote:there/another") == (0, 0)


def test_what_is_sent_is_the_training_and_validation_splits_alone(
    provider: Provider, prepared: Prepared, begin: Begin, work: Work
) -> None:
    work(begin())
    sent = b"".join(
        content for id, content in provider.contents.items() if provider.files[id]["purpose"] == "fine-tune"
    )
    for split, expected in (("train", True), ("validation", True), ("test", False)):
        for _, example in examples_of(prepared.dataset_id, split):
            assert (example.messages[0]["content"].encode() in sent) == expected
    asked = provider.creations[0]
    assert asked["hyperparameters"] == {"n_epochs": 3} and asked["seed"] == 1
    assert asked["metadata"] == {"lowest_rung": prepared.key}


def test_beginning_twice_makes_one(provider: Provider, prepared: Prepared, begin: Begin, work: Work) -> None:
    assert begin() == begin()
    job = work(runs()[0].job_id)
    with pytest.raises(UserError, match="has made this very model"):
        begin()
    assert len(provider.creations) == 1
    again = prepare("there", MODEL, prepared.dataset_id, prepared.settings)
    assert again.earlier == job.id


def test_forgotten_fine_tune_is_found_again_at_the_provider(
    provider: Provider, prepared: Prepared, begin: Begin, work: Work
) -> None:
    first = work(begin())
    queue.delete(first.id)
    second = work(begin())
    assert second.result["fine_tuned_model"] == first.result["fine_tuned_model"]
    assert (len(provider.uploads), len(provider.creations)) == (2, 1)


def test_another_seed_is_another_fine_tune_of_the_same_files(
    provider: Provider, prepared: Prepared, begin: Begin, work: Work
) -> None:
    work(begin())
    other = prepare("there", MODEL, prepared.dataset_id, prepared.settings.model_copy(update={"seed": 2}))
    work(start(other, other.price_usd))
    assert (len(provider.uploads), len(provider.creations)) == (2, 2)


def test_stopping_leaves_the_provider_alone_and_resuming_follows_on(
    provider: Provider, begin: Begin, work: Work
) -> None:
    job_id = begin()
    provider.looks, provider.steps = 8, 12
    thread = when(lambda: metrics(job_id, "loss"), lambda: (stop_following(job_id), provider.hold.clear()))
    job = work(job_id)
    thread.join()
    assert job.status == "stopped"
    run = run_of(job_id)
    assert run.status == "running" and not run.following and can_cancel(run)
    assert next(iter(provider.jobs.values()))["status"] == "running"
    provider.hold.set()
    # Beginning the same again goes on with it.
    assert begin() == job_id
    job = work(job_id)
    assert job.status == "done"
    assert metrics(job_id, "loss") == [(step, round(2 / step, 4)) for step in range(1, 13)]
    assert len(provider.creations) == 1


def test_discarding_cancels_at_the_provider_and_resuming_begins_anew(
    provider: Provider, begin: Begin, work: Work
) -> None:
    job_id = begin()
    provider.hold.clear()
    said: list[str] = []
    thread = when(lambda: "poll" in provider.requests, lambda: said.append(cancel(job_id)))
    job = work(job_id)
    thread.join()
    assert said == ["It is being cancelled at there."]
    assert job.status == "stopped"
    assert [job["status"] for job in provider.jobs.values()] == ["cancelled"]
    assert run_of(job_id).status == "cancelled"
    provider.hold.set()
    queue.resume(job_id)
    assert work(job_id).status == "done"
    assert (len(provider.uploads), len(provider.creations)) == (2, 2)


def test_discarding_in_the_moment_of_creation_leaves_nothing_running(
    provider: Provider, begin: Begin, work: Work
) -> None:
    job_id = begin()
    provider.misbehave("create", "timeout_after")
    thread = when(lambda: provider.creations, lambda: queue.request_stop(job_id, "discard"))
    assert work(job_id).status == "stopped"
    thread.join()
    assert [job["status"] for job in provider.jobs.values()] == ["cancelled"]


def test_waiting_job_is_cancelled_without_a_word_to_the_provider(provider: Provider, begin: Begin) -> None:
    job_id = begin()
    assert cancel(job_id) == "It was stopped before there was anything to cancel at the provider."
    assert not provider.requests


@pytest.mark.parametrize("ends", ["failed", "cancelled"])
def test_bad_end_there_is_told_and_resuming_tries_once_more(
    provider: Provider, begin: Begin, work: Work, ends: str
) -> None:
    provider.ends = ends
    provider.error = {"code": "invalid_training_file", "message": "Line 3 is odd.", "param": "training_file"}
    job = work(begin())
    assert job.status == "failed"
    assert ("(invalid_training_file). It says: Line 3 is odd." in job.error) == (ends == "failed")
    assert run_of(job.id).status == ends
    provider.ends = "succeeded"
    queue.resume(job.id)
    assert work(job.id).status == "done"
    assert (len(provider.uploads), len(provider.creations)) == (2, 2)


def test_more_epochs_than_were_confirmed_are_cancelled_at_once(provider: Provider, there: str, work: Work) -> None:
    automatic = prepare(there, MODEL, sorting_dataset().id, TuneSettings(price_training=5000.0))
    assert not automatic.epochs_fixed
    provider.epochs = automatic.epochs * 2
    job = work(start(automatic, automatic.price_usd))
    assert job.status == "failed" and f"chose {provider.epochs} epochs" in job.error
    assert [job["status"] for job in provider.jobs.values()] == ["cancelled"]


def test_steps_that_no_event_told_come_from_the_result_file(provider: Provider, begin: Begin, work: Work) -> None:
    provider.misbehave("events", 500, times=100)
    provider.base64_results = False
    job = work(begin())
    assert job.status == "done"
    assert metrics(job.id, "loss") == [(step, round(2 / step, 4)) for step in range(1, 7)]


def test_provider_that_says_the_least_is_enough(provider: Provider, begin: Begin, work: Work) -> None:
    provider.says_little = True
    job = work(begin())
    assert job.status == "done", (job.error, job.traceback)
    assert job.result["cost_usd"] is None and not metrics(job.id, "loss")


def test_azure_is_spoken_to_as_it_wants(provider: Provider, quick: None, work: Work) -> None:
    address = provider.url.removesuffix("/v1") + "/openai?api-version=2024-10-21"
    services.save(Service(name="azure", url=address, timeout_s=5), provider.key)
    provider.keeps_metadata, provider.file_looks = False, 3
    wanted = prepare("azure", MODEL, sorting_dataset().id, TuneSettings(epochs=2))
    assert wanted.kind == "azure" and wanted.price_usd is None
    job = work(start(wanted, None))
    assert job.status == "done", (job.error, job.traceback)
    assert "metadata" not in provider.creations[0]
    (model,) = models()
    assert model.deploy_first and run_of(job.id).rung_model is None
    name_deployment(job.id, "my-tuned-mini")
    assert [model.id for model in models()] == ["remote:azure/my-tuned-mini"]
    with pytest.raises(UserError, match="no name of a deployment"):
        name_deployment(job.id, " ")


def test_models_of_a_forgotten_service_are_not_offered(provider: Provider, begin: Begin, work: Work) -> None:
    work(begin())
    services.delete("there")
    assert models() == []
    assert len(runs()) == 1


def test_measurements_of_all_dialects_become_ours() -> None:
    assert named({"train_loss": 1, "full_valid_loss": 2.0, "valid_loss": 3.0, "step": 4}) == {
        "loss": 1.0,
        "eval_loss": 2.0,
    }
    assert named({"train_loss": "NaN", "valid_loss": float("inf"), "training_loss": True}) == {}
    azure = "step,train_loss,train_accuracy,valid_loss\n1,2.5,0.5,\n2,2.0,,-1\nx,1,1,1\n"
    assert points_of(azure)[1] == {"loss": 2.5, "accuracy": 0.5}
    assert sorted(points_of(azure)) == [1, 2]
    assert points_of("") == {} and table_of(b"!!!") == ""


# Real processes, really killed.


@pytest.fixture
def survivors() -> Iterator[None]:
    yield
    kill_survivors()


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == "win32", reason="kills the POSIX way")
@pytest.mark.parametrize(("step", "how"), [("upload", "hang_after"), ("list_jobs", "hang"), ("create", "hang_after")])
def test_killed_anywhere_it_goes_on_and_nothing_is_done_twice(
    provider: Provider, prepared: Prepared, survivors: None, step: str, how: str
) -> None:
    services.save(services.service("there").model_copy(update={"timeout_s": 60}))
    provider.misbehave(step, how)
    job_id = start(prepared, prepared.price_usd)
    pid = until(job_id, lambda job: step in provider.requests).pid
    assert pid is not None
    time.sleep(0.2)  # the work before the answer that never comes
    os.killpg(pid, signal.SIGKILL)
    assert until(job_id, lambda job: job.status not in queue.ACTIVE).status == "interrupted"
    queue.resume(job_id)
    job = until(job_id, lambda job: job.status not in queue.ACTIVE)
    assert job.status == "done", (job.error, job.traceback)
    assert len(set(provider.uploads)) == len(provider.uploads) == 2
    assert len(provider.creations) == 1

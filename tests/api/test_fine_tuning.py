"""The routes of fine-tuning jobs, through the official client; jobs run when the test says so."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob
from sqlalchemy import update

from core.api import tunings, validate_job
from core.data.dataset import datasets, examples_of
from core.jobs import queue
from core.store.database import session
from core.store.tables import Job
from core.train import adapters
from core.train.job import adapter_of_job
from tests.api.conftest import Served
from tests.api.training import Begun, conforms, jobs_by_hand, upload
from tests.factories import chat, jsonl, sorting

QUICK = {"n_epochs": 1, "batch_size": 6, "learning_rate_multiplier": 2.0}
# Statuses that the API's reference has and the package's type has not.
UNTYPED = ("pausing", "paused")


@pytest.fixture
def jobs() -> Iterator[Begun]:
    with jobs_by_hand() as made:
        yield made


def create(client: openai.OpenAI, server: Served, file: str = "", **more: Any) -> FineTuningJob:
    """A job on twelve short examples, unless told otherwise."""
    made = client.fine_tuning.jobs.create(model=server.model, training_file=file or upload(client).id, **more)
    conforms(made, besides=("user_provided_suffix",))
    return made


def job_of(public_id: str) -> Job:
    job = tunings.find(public_id).job
    assert job is not None
    return job


def end_as(public_id: str, **columns: Any) -> None:
    """As if its process had ended so."""
    with session() as db:
        columns = {"pid": None, "process_started": None, "finished_at": time.time()} | columns
        db.execute(update(Job).where(Job.id == job_of(public_id).id).values(**columns))


@pytest.mark.integration
def test_a_job_becomes_a_model_with_results_events_and_checkpoints(
    client: openai.OpenAI, server: Served, jobs: Begun
) -> None:
    training, validation = upload(client), upload(client, sorting(4, start=500), "validation.jsonl")
    made = create(
        client,
        server,
        training.id,
        validation_file=validation.id,
        suffix="My Sorter",
        seed=7,
        metadata={"team": "harbour"},
        method={"type": "supervised", "supervised": {"hyperparameters": QUICK}},
    )
    assert (made.status, made.seed, made.metadata, made.model) == (
        "validating_files",
        7,
        {"team": "harbour"},
        server.model,
    )
    assert made.hyperparameters.to_dict() == QUICK
    assert jobs.run() == "done"
    client.files.delete(training.id)  # it has been read
    running = client.fine_tuning.jobs.retrieve(made.id)
    conforms(running, besides=("user_provided_suffix",))
    assert (running.status, running.fine_tuned_model, running.result_files) == ("running", None, [])
    assert jobs.run() == "done"

    job = client.fine_tuning.jobs.retrieve(made.id)
    conforms(job, besides=("user_provided_suffix",))
    assert (job.status, job.error) == ("succeeded", None)
    assert job.finished_at is not None and job.finished_at >= job.created_at
    assert job.trained_tokens is not None and job.trained_tokens > 100
    assert job.fine_tuned_model is not None and job.fine_tuned_model.startswith("ft:tiny:lowest-rung:my-sorter:")
    assert job.fine_tuned_model in [model.id for model in client.models.list()]

    recipe = job_of(made.id).spec["recipe"]
    assert (recipe["epochs"], recipe["batch_size"] * recipe["accumulation"], recipe["seed"]) == (1.0, 6, 7)
    dataset = datasets()[0]
    assert (len(examples_of(dataset.id, "train")), len(examples_of(dataset.id, "validation"))) == (12, 4)

    results = client.files.retrieve(job.result_files[0])
    conforms(results)
    assert (results.purpose, results.filename) == ("fine-tune-results", "step_metrics.csv")
    rows = list(csv.DictReader(io.StringIO(client.files.content(results.id).text)))
    assert list(rows[0]) == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    assert [row["step"] for row in rows] == ["1", "2"] and float(rows[1]["valid_loss"]) > 0

    events = list(client.fine_tuning.jobs.list_events(made.id, limit=2))
    for event in events:
        conforms(event)
    assert len({event.id for event in events}) == len(events)
    messages = [event.message for event in events]
    assert messages[0] == "The job has successfully completed"
    assert messages[1] == f"New fine-tuned model created: {job.fine_tuned_model}"
    assert messages[-2:] == [
        f"Validating training file: {training.id} and {validation.id}",
        f"Created fine-tuning job: {made.id}",
    ]
    measured = [event for event in events if event.type == "metrics"]
    assert [event.message[:9] for event in measured] == ["Step 2/2:", "Step 1/2:"]
    assert isinstance(measured[0].data, dict) and {"step", "train_loss", "valid_loss"} <= set(measured[0].data)
    assert [event.id for event in client.fine_tuning.jobs.list_events(made.id)] == [event.id for event in events]

    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(made.id, limit=1))
    for checkpoint in checkpoints:
        conforms(checkpoint)
        assert checkpoint.fine_tuning_job_id == made.id and checkpoint.metrics.full_valid_loss
        answer = client.chat.completions.create(
            model=checkpoint.fine_tuned_model_checkpoint,
            messages=[{"role": "user", "content": "Which kind is apple?"}],
            max_tokens=3,
        )
        assert answer.usage is not None and answer.usage.completion_tokens <= 3
    assert [checkpoint.step_number for checkpoint in checkpoints] == [2, 1]

    # What is deleted in the app afterwards takes nothing back.
    assert client.models.delete(job.fine_tuned_model).deleted
    assert job.fine_tuned_model not in [model.id for model in client.models.list()]
    adapters.clear_away(older_than_s=-1)
    queue.delete(job_of(made.id).id)
    assert client.fine_tuning.jobs.retrieve(made.id) == job
    assert list(client.fine_tuning.jobs.checkpoints.list(made.id)) == []
    assert client.fine_tuning.jobs.list_events(made.id).data[0].message == "The job has successfully completed"


@pytest.mark.integration
def test_a_job_is_paused_resumed_and_ends_with_the_same_adapter(
    client: openai.OpenAI, server: Served, jobs: Begun
) -> None:
    file = upload(client).id
    models = []
    for interrupted in (False, True):
        made = create(client, server, file, hyperparameters=QUICK, seed=3)
        jobs.run()
        if interrupted:
            assert client.fine_tuning.jobs.pause(made.id).status == "pausing"  # type: ignore[comparison-overlap]
            with pytest.raises(openai.ConflictError):
                client.fine_tuning.jobs.resume(made.id)
            assert jobs.run() == "stopped"
            assert client.fine_tuning.jobs.retrieve(made.id).status == "paused"  # type: ignore[comparison-overlap]
            assert client.fine_tuning.jobs.resume(made.id).status == "running"
        assert jobs.run() == "done"
        adapter = adapter_of_job(job_of(made.id).id)
        assert adapter is not None and client.fine_tuning.jobs.retrieve(made.id).status == "succeeded"
        models.append(adapter)
    from core.settings import get_settings

    first, second = (get_settings().home / adapter.path / "adapter_model.safetensors" for adapter in models)
    assert first.read_bytes() == second.read_bytes()


def test_a_job_whose_process_is_killed_has_failed_and_can_be_resumed(
    client: openai.OpenAI, server: Served, jobs: Begun
) -> None:
    made = create(client, server)
    jobs.run()
    jobs.waiting.clear()
    # Another process has this number by now, or none.
    with session() as db:
        values = {"process_started": 1.0, "heartbeat_at": time.time()}
        db.execute(update(Job).where(Job.id == job_of(made.id).id).values(**values))
    job = client.fine_tuning.jobs.retrieve(made.id)
    conforms(job, besides=("user_provided_suffix",))
    assert job.status == "failed" and job.error is not None
    assert job.error.code == "interrupted" and "Resume it" in job.error.message
    events = client.fine_tuning.jobs.list_events(made.id).data
    assert events[0].level == "error"
    assert client.fine_tuning.jobs.resume(made.id).status == "running"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (jsonl(sorting(9)), "9 examples"),
        (jsonl([*sorting(10), {"messages": [{"role": "user", "content": "And?"}]}]), "train.jsonl, line 11"),
        (jsonl([*sorting(10), chat("A", "B", oddity=1)]), "line 11"),
        (jsonl([{"prompt": "A", "completion": "B"}] * 12), "messages"),
        (b"\xff\xfe\x00\x01 nonsense" * 50, "train.jsonl"),
        (b"PK\x03\x04" + b"\0" * 100, "train.jsonl"),
        (
            jsonl(
                [
                    *sorting(10),
                    {
                        "messages": [
                            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
                            {"role": "assistant", "content": "A boat"},
                        ]
                    },
                ]
            ),
            "image_url",
        ),
    ],
    ids=["few", "no answer", "unknown key", "no chat", "no text", "archive", "picture"],
)
def test_a_bad_training_file_fails_the_job_and_names_the_line(
    client: openai.OpenAI, server: Served, jobs: Begun, content: bytes, said: str
) -> None:
    made = create(client, server, upload(client, content).id)
    assert jobs.run() == "failed" and not jobs.waiting
    job = client.fine_tuning.jobs.retrieve(made.id)
    conforms(job, besides=("user_provided_suffix",))
    assert job.status == "failed" and job.error is not None and job.finished_at is not None
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert said in job.error.message
    assert client.fine_tuning.jobs.list_events(made.id).data[0].level == "error"
    assert datasets() == []
    with pytest.raises(openai.BadRequestError, match="cannot be resumed"):
        client.fine_tuning.jobs.resume(made.id)


def test_a_bad_validation_file_is_told_from_the_training_file(
    client: openai.OpenAI, server: Served, jobs: Begun
) -> None:
    short = upload(client, sorting(2, start=300), "short.jsonl")
    create(client, server, validation_file=short.id)
    assert jobs.run() == "done"  # no least number is asked of it
    jobs.waiting.clear()
    bad = upload(client, b'{"messages": 3}\n', "bad.jsonl")
    made = create(client, server, validation_file=bad.id)
    assert jobs.run() == "failed"
    error = client.fine_tuning.jobs.retrieve(made.id).error
    assert error is not None and (error.code, error.param) == ("invalid_validation_file", "validation_file")
    assert "bad.jsonl, line 1" in error.message


def test_a_file_deleted_before_the_job_reads_it_is_named(client: openai.OpenAI, server: Served, jobs: Begun) -> None:
    file = upload(client)
    made = create(client, server, file.id)
    client.files.delete(file.id)
    assert jobs.run() == "failed"
    error = client.fine_tuning.jobs.retrieve(made.id).error
    assert error is not None and error.code == "invalid_training_file"
    assert file.id in error.message and "deleted" in error.message


def test_cancelled_while_its_files_are_checked(client: openai.OpenAI, server: Served, jobs: Begun) -> None:
    made = create(client, server)
    cancelled = client.fine_tuning.jobs.cancel(made.id)
    conforms(cancelled, besides=("user_provided_suffix",))
    assert cancelled.status == "cancelled"
    assert jobs.run() == "stopped" and not jobs.waiting
    job = client.fine_tuning.jobs.retrieve(made.id)
    assert (job.status, job.fine_tuned_model) == ("cancelled", None) and job.finished_at is not None
    assert datasets() == []
    assert client.fine_tuning.jobs.list_events(made.id).data[0].message == "The job was cancelled"
    for again in (client.fine_tuning.jobs.cancel, client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
        with pytest.raises(openai.BadRequestError, match="has the status 'cancelled'"):
            again(made.id)


def test_cancelled_at_the_moment_its_training_is_queued(
    client: openai.OpenAI, server: Served, jobs: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request to stop reaches the check of the files too late to keep it from queueing the training."""
    made = create(client, server)
    submit = validate_job.submit_training

    def late(*given: Any) -> int:
        found = submit(*given)
        client.fine_tuning.jobs.cancel(made.id)
        return found

    monkeypatch.setattr(validate_job, "submit_training", late)
    jobs.run()
    training = job_of(made.id)
    assert (training.kind, training.stop_then) == ("train", "discard")
    assert training.status == "stopped" or training.stop_requested_at is not None
    assert client.fine_tuning.jobs.retrieve(made.id).status == "cancelled"


def test_cancelled_while_it_waits_and_while_it_is_paused(client: openai.OpenAI, server: Served, jobs: Begun) -> None:
    for pause in (False, True):
        made = create(client, server)
        jobs.run()
        blocking = jobs.waiting.pop()
        with session() as db:  # as if another training held the device
            db.execute(update(Job).where(Job.id == blocking).values(status="queued", pid=None, process_started=None))
        queue.request_stop(blocking) if pause else None
        if pause:
            assert client.fine_tuning.jobs.retrieve(made.id).status == "paused"  # type: ignore[comparison-overlap]
            (queue.folder(blocking) / "checkpoint-1").mkdir()
        assert client.fine_tuning.jobs.cancel(made.id).status == "cancelled"
        assert not (queue.folder(blocking) / "checkpoint-1").exists()


def test_a_training_deleted_in_the_app_counts_as_cancelled(client: openai.OpenAI, server: Served, jobs: Begun) -> None:
    made = create(client, server)
    jobs.run()
    end_as(made.id, status="stopped")
    queue.delete(job_of(made.id).id)
    job = client.fine_tuning.jobs.retrieve(made.id)
    conforms(job, besides=("user_provided_suffix",))
    assert job.status == "cancelled"
    conforms(client.fine_tuning.jobs.list_events(made.id).data[0])
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.resume(made.id)


def test_a_failed_training_says_why(client: openai.OpenAI, server: Served, jobs: Begun) -> None:
    made = create(client, server)
    jobs.run()
    end_as(made.id, status="failed", error="The loss stopped being a number.", remedy="Lower the learning rate.")
    error = client.fine_tuning.jobs.retrieve(made.id).error
    assert error is not None and error.code == "training_failed"
    assert error.message == "The loss stopped being a number. Lower the learning rate."


def test_jobs_are_listed_newest_first_and_found_by_metadata(client: openai.OpenAI, server: Served, jobs: Begun) -> None:
    file = upload(client).id
    colours: list[dict[str, str] | None] = [{"colour": "red"}, {"colour": ""}, None, {"colour": "red", "size": "1"}]
    ids = [create(client, server, file, metadata=metadata).id for metadata in colours][::-1]
    listed = list(client.fine_tuning.jobs.list(limit=3))
    assert [job.id for job in listed] == ids
    for job in listed:
        conforms(job, besides=("user_provided_suffix",))
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"colour": "red"})] == [ids[0], ids[3]]
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"colour": "red", "size": "1"})] == [ids[0]]
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"colour": ""})] == [ids[2]]
    with httpx2.Client(base_url=server.url) as http:
        found = http.get("/fine_tuning/jobs", params={"metadata": "null"}).json()
    assert [job["id"] for job in found["data"]] == [ids[1]]


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"model": 3}, "model"),
        ({"training_file": None}, "training_file"),
        ({"hyperparameters": {"n_epochs": "3"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 1.5}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"beta": 0.1}}, "hyperparameters.beta"),
        ({"method": {"type": "dpo", "dpo": {}}}, "method.type"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations"),
        ({"seed": -1}, "seed"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"oddity": 1}, "oddity"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_its_name(
    client: openai.OpenAI, server: Served, changed: dict[str, Any], param: str
) -> None:
    body = {"model": server.model, "training_file": upload(client).id} | changed
    with pytest.raises(openai.BadRequestError) as error:
        client.post("/fine_tuning/jobs", body=body, cast_to=object)
    assert error.value.param == param
    assert tunings.all_tunings() == []


def test_unknown_files_models_and_jobs(client: openai.OpenAI, server: Served, jobs: Begun) -> None:
    file = upload(client).id
    with pytest.raises(openai.BadRequestError, match="file-nobody does not exist") as error:
        create(client, server, "file-nobody")
    assert error.value.param == "training_file"
    with pytest.raises(openai.BadRequestError) as error:
        create(client, server, file, validation_file="../../etc/passwd")
    assert error.value.param == "validation_file"
    for model in ("gpt-4o-mini", "/etc", "../tiny", "remote:openai/gpt-4o", "ft:tiny:lowest-rung::9"):
        with pytest.raises(openai.NotFoundError) as missing:
            client.fine_tuning.jobs.create(model=model, training_file=file)
        assert (missing.value.param, missing.value.code) == ("model", "model_not_found")
    for call in (
        client.fine_tuning.jobs.retrieve,
        client.fine_tuning.jobs.cancel,
        client.fine_tuning.jobs.pause,
        client.fine_tuning.jobs.resume,
        client.fine_tuning.jobs.list_events,
        client.fine_tuning.jobs.checkpoints.list,
    ):
        with pytest.raises(openai.NotFoundError):
            call("ftjob-nobody")
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.list(after="ftjob-nobody")


def test_jobs_created_at_once_are_all_there(client: openai.OpenAI, server: Served, jobs: Begun) -> None:
    file, made = upload(client).id, []
    threads = [threading.Thread(target=lambda: made.append(create(client, server, file, seed=1).id)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 12
    assert {job.id for job in client.fine_tuning.jobs.list()} == set(made)
    # One at a time: the queue of the checks.
    assert sum(job.status == "running" for job in queue.jobs("validate")) == 1


def test_a_check_killed_after_it_queued_the_training_queues_no_second(
    client: openai.OpenAI, server: Served, jobs: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(client, server)
    change = validate_job._change

    def killed(tune_id: int, **columns: Any) -> None:
        if "job_id" in columns:
            raise KeyboardInterrupt
        change(tune_id, **columns)

    monkeypatch.setattr(validate_job, "_change", killed)
    assert jobs.run() == "stopped"
    monkeypatch.undo()
    training = queue.jobs("train")
    assert len(training) == 1
    client.fine_tuning.jobs.resume(made.id)
    jobs.waiting.remove(training[0].id)
    jobs.run()
    assert [job.id for job in queue.jobs("train")] == [training[0].id] == [job_of(made.id).id]
    assert len(datasets()) == 1


def test_without_wishes_the_app_s_own_recipe_is_taken(
    client: openai.OpenAI, server: Served, jobs: Begun, tiny_model: Path
) -> None:
    made = create(client, server)
    assert made.hyperparameters.to_dict() == {
        "n_epochs": "auto",
        "batch_size": "auto",
        "learning_rate_multiplier": "auto",
    }
    jobs.run()
    from core.forecast.training import suggestion

    recipe, _ = suggestion(str(tiny_model), datasets()[0].id)
    assert job_of(made.id).spec["recipe"] == recipe.model_copy(update={"seed": made.seed}).model_dump()
    chosen = client.fine_tuning.jobs.retrieve(made.id).hyperparameters
    assert chosen.to_dict() == {
        "n_epochs": int(recipe.epochs),
        "batch_size": recipe.batch_size * recipe.accumulation,
        "learning_rate_multiplier": 1.0,
    }

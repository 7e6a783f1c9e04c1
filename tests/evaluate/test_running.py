"""Asking: every question once, whatever interrupts, and never what was answered before."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from core.data.dataset import File, create_dataset, examples_of
from core.errors import UserError
from core.evaluate.experiment import change_cap, rerun
from core.evaluate.job import spent_usd
from core.jobs import queue
from core.jobs.context import Stopped
from core.jobs.run import run_foreground
from core.models.open import open_generator
from core.store.database import session
from core.store.tables import Job, Prediction
from tests.evaluate.answering import MODEL, answering, kind, made, outputs, run, stored
from tests.factories import chat, jsonl, sorting, sorting_dataset
from tests.models.service import Handler, Service, echo


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with answering(monkeypatch) as service:
        yield service


def test_stopped_comparison_repeats_no_answer_and_loses_none(service: Service) -> None:
    experiment = made(sorting_dataset(test=30), "base", "prompt")

    def stop_at_the_fourth() -> None:
        if count(experiment.id) >= 4:
            raise Stopped

    with pytest.raises(Stopped):
        run(experiment, check_stop=stop_at_the_fourth)
    before = stored(experiment.id)
    # What was under way when it stopped is all that was asked in vain.
    assert 4 <= len(before) <= len(service.requests) <= len(before) + 8

    service.requests.clear()
    seen: list[tuple[float, float]] = []
    run(experiment, progress=lambda done, total, message: seen.append((done, total)))
    after = stored(experiment.id)
    assert [row.id for row in after][: len(before)] == [row.id for row in before]
    assert len(after) == len(outputs(experiment.id)) == 60
    assert len(service.requests) == 60 - len(before)
    shares = [done / total for done, total in seen if total]
    assert shares == sorted(shares) and 0 < shares[0] < 1 and shares[-1] == 1
    run(experiment)
    assert len(service.requests) == 60 - len(before)


def test_stop_is_heeded_between_answers_of_one_list(service: Service) -> None:
    experiment = made(sorting_dataset(test=40), "base")

    def check() -> None:
        if len(service.requests) > 10:
            raise Stopped

    with pytest.raises(Stopped):
        run(experiment, stop_requested=lambda: len(service.requests) > 10, check_stop=check)
    assert len(stored(experiment.id)) <= len(service.requests) < 40


def test_second_comparison_asks_only_what_is_new(service: Service) -> None:
    dataset = sorting_dataset(test=12)
    first = made(dataset, "base", "prompt")
    run(first)
    assert len(service.requests) == 24 and not any(row.reused for row in stored(first.id))

    service.requests.clear()
    second = made(dataset, "base", "prompt", shots=2)
    run(second)
    assert len(service.requests) == 12 and all(len(asked["messages"]) == 5 for asked in service.requests)
    assert {row.rung: row.reused for row in stored(second.id)} == {"base": True, "prompt": False}
    earlier = {row.example_id: row for row in stored(first.id) if row.rung == "base"}
    for row in stored(second.id):
        if row.reused:
            same = earlier[row.example_id]
            assert (row.output, row.latency_s, row.input_tokens) == (same.output, same.latency_s, same.input_tokens)

    service.requests.clear()
    again = rerun(first.id)
    run(again)
    assert service.requests == [] and outputs(again.id) == outputs(first.id) and again.rerun_of == first.id
    fresh = rerun(first.id, fresh=True)
    run(fresh)
    assert len(service.requests) == 24 and outputs(fresh.id) == outputs(first.id)


@pytest.mark.parametrize(
    "changed",
    [
        {"max_new_tokens": 7},
        {"template": {"question": "Think. {question}"}},
        {"temperature": 0.5},
    ],
)
def test_whatever_determines_an_answer_is_part_of_its_key(service: Service, changed: dict[str, Any]) -> None:
    dataset = sorting_dataset(test=3)
    run(made(dataset, "base"))
    run(made(dataset, "base", **changed))
    assert len(service.requests) == 6


def test_seed_counts_where_something_is_drawn_and_nowhere_else(service: Service) -> None:
    dataset = sorting_dataset(test=3)
    for seed in (1, 2):
        run(made(dataset, "base", seed=seed))
    assert len(service.requests) == 3
    for seed in (1, 2, 2):
        run(made(dataset, "base", seed=seed, temperature=0.5))
    assert len(service.requests) == 3 + 6


def test_samples_are_drawn_each_with_a_seed_of_its_own(service: Service) -> None:
    experiment = made(sorting_dataset(test=4), "base", temperature=0.8, samples=3, seed=2**40)
    run(experiment)
    seeds = {asked["seed"] for asked in service.requests}
    # Questions that shared one would share their luck.
    assert len(service.requests) == len(seeds) == 12 and all(0 <= seed < 2**31 for seed in seeds)
    assert sorted(row.sample for row in stored(experiment.id)) == [0] * 4 + [1] * 4 + [2] * 4
    run(fresh := rerun(experiment.id, fresh=True))
    assert len(service.requests) == 24 and {asked["seed"] for asked in service.requests} == seeds
    assert outputs(fresh.id) == outputs(experiment.id)
    with pytest.raises(ValueError, match="temperature above 0"):
        made(sorting_dataset(test=4), "base", samples=2)


def test_question_that_stands_twice_is_asked_once(service: Service) -> None:
    test = [chat("Which kind is a plum?", "fruit", group="g")] * 3
    dataset = create_dataset("d", File("a", jsonl(sorting(12))), File("b", jsonl(test)))
    experiment = made(dataset, "base")
    run(experiment)
    rows = stored(experiment.id)
    assert len(service.requests) == 1 and len(rows) == len(examples_of(dataset.id, "test")) > 1
    assert [row.reused for row in rows].count(False) == 1


def test_failed_answers_are_stored_with_their_reason_and_asked_again_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = True

    def now_and_then(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        if broken and "number 1001" in request["messages"][-1]["content"]:
            handler.refuse(400, "I do not like this one")
        else:
            kind(handler, request, attempt)

    with answering(monkeypatch, now_and_then) as service:
        dataset = sorting_dataset(test=4)
        first = made(dataset, "base")
        run(first)
        (failed,) = [row for row in stored(first.id) if row.error]
        assert "I do not like this one" in (failed.error or "") and failed.output == ""
        broken = False
        service.requests.clear()
        run(first)
        assert service.requests == []
        run(again := rerun(first.id))
    assert len(service.requests) == 1 and not any(row.error for row in stored(again.id))


def test_nothing_answered_is_an_error_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = True

    def behave(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        if broken:
            handler.refuse(401, "Wrong key")
        else:
            kind(handler, request, attempt)

    with answering(monkeypatch, behave):
        experiment = made(sorting_dataset(test=4), "base")
        with pytest.raises(UserError, match=r"Not one question could be answered.*Wrong key") as caught:
            run(experiment)
        assert "resume" in caught.value.remedy and stored(experiment.id) == []
        broken = False
        run(experiment)
    assert len(stored(experiment.id)) == 4


def test_model_that_is_not_there_fails_its_rungs_and_no_other(service: Service) -> None:
    dataset = sorting_dataset(test=4)
    experiment = made(dataset, "base", "base@/no/such/model", "prompt@/no/such/model")
    told: list[dict[str, Any]] = []
    run(experiment, note=lambda rungs: told.append(json.loads(json.dumps(rungs))))
    failed = {row.rung for row in stored(experiment.id) if row.error}
    assert failed == {"base@/no/such/model", "prompt@/no/such/model"}
    assert len(stored(experiment.id)) == 12
    assert {rung: (row["state"], row["done"]) for rung, row in told[-1].items()} == {
        "base": ("done", 4),
        "base@/no/such/model": ("failed", 4),
        "prompt@/no/such/model": ("failed", 4),
    }


def test_notes_tell_how_far_each_rung_is(service: Service) -> None:
    dataset = sorting_dataset(test=5)
    run(made(dataset, "base"))
    told: list[dict[str, Any]] = []
    run(made(dataset, "base", "prompt"), note=lambda rungs: told.append(json.loads(json.dumps(rungs))))
    assert {"running", "waiting"} & {row["state"] for rungs in told for row in rungs.values()}
    assert told[-1] == {
        "base": {"done": 5, "total": 5, "state": "done", "reused": 5},
        "prompt": {"done": 5, "total": 5, "state": "done", "reused": 0},
    }


@pytest.mark.integration
def test_spending_cap_ends_the_asking_and_the_rest_is_asked_once_it_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(monkeypatch, price_input="1000", price_output="1000") as service:
        experiment = made(sorting_dataset(test=30), "base", spending_cap_usd=0.3)
        job = run_foreground("compare", {"experiment_id": experiment.id})
        assert job.status == "failed" and "spending cap of $0.30" in job.error and "resume" in job.remedy
        kept = stored(experiment.id)
        assert 0 < len(kept) < 30 and spent_usd(experiment.id) <= 0.3 and not any(row.error for row in kept)
        change_cap(experiment.id, 100.0)
        job = run_foreground("compare", {"experiment_id": experiment.id})
        assert (job.status, job.error) == ("done", "")
    rows = stored(experiment.id)
    assert len(rows) == len(service.requests) == 30
    assert [row.id for row in rows][: len(kept)] == [row.id for row in kept]


@pytest.mark.parametrize("said", ["", " \n", "<script>alert(1)</script>", "x" * 100_000, "\ud800 \x00 half", "=1+1"])
def test_odd_answers_are_stored_as_they_came(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    with answering(monkeypatch, lambda handler, request, attempt: handler.answer(request, said)):
        experiment = made(sorting_dataset(test=2), "base")
        run(experiment)
    assert [row.output for row in stored(experiment.id)] == [said.replace("\ud800", "?").strip()] * 2


@pytest.fixture
def no_job_left() -> Iterator[None]:
    yield
    for job in queue.jobs():
        if job.status == "running" and job.pid is not None and job.pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)


def wait_for(job_id: int, experiment_id: int, answers: int) -> Job:
    """Until there are so many answers or the job has ended."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        queue.dispatch()
        job = queue.get(job_id)
        if job.status not in ("running", "queued") or count(experiment_id) >= answers:
            return job
        time.sleep(0.02)
    raise AssertionError(f"only {count(experiment_id)} answers: {queue.log_tail(job_id)}")


def count(experiment_id: int) -> int:
    with session(read_only=True) as db:
        query = sa.select(sa.func.count(Prediction.id)).where(Prediction.experiment_id == experiment_id)
        return db.scalar(query) or 0


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == "win32", reason="kills the POSIX way")
def test_killed_comparison_ends_as_if_it_had_never_been_killed(
    monkeypatch: pytest.MonkeyPatch, no_job_left: None
) -> None:
    """`kill -9` of the real process, twice, while a service answers one question in 50 ms."""

    def slowly(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        time.sleep(0.05)
        kind(handler, request, attempt)

    with answering(monkeypatch, slowly) as service:
        experiment = made(sorting_dataset(train=14, test=100), "base", "prompt")
        job_id = queue.submit("compare", {"experiment_id": experiment.id})
        kept: dict[int, str] = {}
        asked = 0
        for answers in (20, 100):
            job = wait_for(job_id, experiment.id, answers)
            assert job.status == "running" and job.pid is not None
            os.kill(job.pid, signal.SIGKILL)
            assert wait_for(job_id, experiment.id, 10**6).status == "interrupted"
            now = {row.id: row.output for row in stored(experiment.id)}
            assert now.items() >= kept.items() and answers <= len(now) < 200
            # Asked in vain: at most what was under way when the process died.
            assert len(service.requests) - asked <= len(now) - len(kept) + 2 * 8
            kept, asked = now, len(service.requests)
            queue.resume(job_id)
        job = wait_for(job_id, experiment.id, 10**6)
        assert (job.status, job.error) == ("done", "")
        assert len(service.requests) <= 200 + 2 * 8

        rows = stored(experiment.id)
        assert {row.id: row.output for row in rows}.items() >= kept.items()
        assert len(rows) == len(outputs(experiment.id)) == 200
        # Ids are never used twice, so rows without gaps mean that no answer was stored, lost and asked again.
        assert [row.id for row in rows] == list(range(rows[0].id, rows[0].id + 200))
        untouched = rerun(experiment.id, fresh=True)
        run(untouched)
    assert outputs(untouched.id) == outputs(experiment.id)
    assert job.notes["rungs"]["prompt"]["done"] == 100 and job.result["verdict"]["reason"]


def test_service_is_known_by_its_address_and_the_name_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = sorting_dataset(test=2)
    for expected in (2, 2):
        with answering(monkeypatch, echo) as service:
            run(made(dataset, "base"))
            assert len(service.requests) == expected
    assert open_generator(MODEL).model == "big"

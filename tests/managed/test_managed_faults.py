"""Whatever a provider does wrong, at whatever step: no lost job, nothing twice, and words that say what happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from core.jobs import queue
from core.managed import calls
from core.managed.plan import Prepared
from core.managed.runs import ENDED, cancel, run_of
from core.models import services
from core.store.database import session
from core.store.tables import Example
from tests.managed.conftest import Work
from tests.managed.provider import Provider

Begin = Callable[[], int]

pytestmark = pytest.mark.integration

STEPS = ("list_files", "upload", "list_jobs", "create", "poll", "events", "result")
# Nothing was done there, or only read.
PASSING = (429, 500, "timeout", "drop", "malformed", "page", "empty")
LOST_ANSWERS = ("timeout_after", "drop_after", "malformed_after", "page_after", "empty_after")
REFUSALS = (400, 401, 403, 404, 422)


def once_each(provider: Provider) -> None:
    """Two files, one job, whatever happened on the way."""
    assert len(provider.uploads) == len(set(provider.uploads)) == 2
    assert len(provider.creations) == 1


@pytest.mark.parametrize("step", STEPS)
def test_passing_trouble_is_waited_out(provider: Provider, begin: Begin, work: Work, step: str) -> None:
    for how in PASSING:
        provider.misbehave(step, how)
    job = work(begin())
    assert job.status == "done", (job.error, job.traceback)
    once_each(provider)
    if step not in ("events", "result"):
        assert provider.requests.count(step) > len(PASSING)


@pytest.mark.parametrize(
    ("step", "how"), [*(("create", how) for how in LOST_ANSWERS), ("upload", "timeout_after"), ("upload", "page_after")]
)
def test_work_whose_answer_was_lost_is_found_and_not_repeated(
    provider: Provider, begin: Begin, work: Work, step: str, how: str
) -> None:
    provider.misbehave(step, how)
    job = work(begin())
    assert job.status == "done", (job.error, job.traceback)
    once_each(provider)


@pytest.mark.parametrize("how", ["drop_after", "malformed_after"])
def test_lost_creation_is_found_where_no_marks_are_kept(provider: Provider, begin: Begin, work: Work, how: str) -> None:
    provider.keeps_metadata = False
    # Not to be taken for ours: they were there before.
    file = provider.add_file("other.jsonl", b"{}")
    provider.add_job({"model": "open-model-1b", "training_file": file["id"]})
    provider.misbehave("create", how)
    job = work(begin())
    assert job.status == "done", (job.error, job.traceback)
    once_each(provider)


def test_lost_creation_that_cannot_be_looked_up_is_never_repeated(provider: Provider, begin: Begin, work: Work) -> None:
    provider.lists_jobs = False
    provider.misbehave("create", "drop_after")
    job = work(begin())
    assert job.status == "failed"
    assert "may have created the job" in job.error and "another seed" in job.remedy
    once_each(provider)
    queue.resume(job.id)
    assert work(job.id).status == "failed"
    once_each(provider)


@pytest.mark.parametrize("step", STEPS)
def test_refusals_end_the_job_in_words_and_it_can_be_resumed(
    provider: Provider, begin: Begin, work: Work, step: str
) -> None:
    job_id = begin()
    for status in REFUSALS:
        provider.misbehave(step, status)
        job = work(job_id)
        if step in ("events", "result") or (status == 404 and step.startswith("list")):
            # These cost the chart or the look-up, not the job.
            assert job.status == "done", (job.error, job.traceback)
            once_each(provider)
            return
        assert job.status == "failed"
        assert f"({status})" in job.error and f"Told to answer {status}." in job.error and job.remedy
        assert job.notes["error_code"] == str(status)
        assert "Traceback" not in job.error
        queue.resume(job_id)
    job = work(job_id)
    assert job.status == "done", (job.error, job.traceback)
    assert job.notes["error_code"] == ""
    once_each(provider)


def test_wrong_key_is_never_repeated_to_the_person(provider: Provider, begin: Begin, work: Work) -> None:
    services.save(services.service("there"), "sk-wrong-key")
    job = work(begin())
    assert job.status == "failed" and "(401)" in job.error and "[key]" in job.error
    assert "sk-wrong-key" not in job.error + job.traceback + queue.log_tail(job.id)


def test_training_not_available_is_explained(provider: Provider, begin: Begin, work: Work) -> None:
    provider.misbehave("create", 403, code="training_not_available")
    job = work(begin())
    assert job.notes["error_code"] == "training_not_available"
    assert "no training" in job.error
    assert not provider.creations


def test_used_up_quota_is_not_waited_for(provider: Provider, begin: Begin, work: Work) -> None:
    provider.misbehave("create", 429, code="insufficient_quota")
    job = work(begin())
    assert job.status == "failed" and "used up" in job.error


def test_retry_after_is_kept(provider: Provider, begin: Begin, work: Work) -> None:
    provider.misbehave("create", 429, retry_after="1")
    began = time.monotonic()
    assert work(begin()).status == "done"
    assert time.monotonic() - began > 1
    once_each(provider)


def test_too_long_a_pause_ends_the_job_and_says_so(provider: Provider, begin: Begin, work: Work) -> None:
    provider.misbehave("poll", 429, retry_after="86400")
    job = work(begin())
    assert job.status == "failed"
    assert "1440 minutes" in job.error and "resume this job" in job.remedy
    queue.resume(job.id)
    assert work(job.id).status == "done"
    once_each(provider)


@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("events", "result")])
def test_provider_that_stays_away_loses_no_job(
    provider: Provider, begin: Begin, work: Work, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PATIENCE_S", 0.2)
    provider.misbehave(step, 500, times=100)
    job = work(begin())
    assert job.status == "failed" and "(500)" in job.error and "resume" in job.remedy
    for bad in provider._bad[step]:
        bad.times = 0
    queue.resume(job.id)
    assert work(job.id).status == "done"
    once_each(provider)


def test_unreachable_provider_is_named(
    provider: Provider, begin: Begin, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = begin()
    monkeypatch.setattr(calls, "PATIENCE_S", 0.1)
    provider.server.shutdown()
    provider.server.server_close()
    job = work(job_id)
    assert job.status == "failed" and "there could not be reached" in job.error


def test_cancelling_comes_through(provider: Provider, begin: Begin, work: Work) -> None:
    job_id = stopped_while_following(provider, begin, work)
    for how in PASSING:
        provider.misbehave("cancel", how)
    assert cancel(job_id) == "At there it is cancelled."
    assert [job["status"] for job in provider.jobs.values()] == ["cancelled"]
    assert run_of(job_id).status == "cancelled"


def test_cancellation_whose_answer_was_lost_has_come_through(provider: Provider, begin: Begin, work: Work) -> None:
    job_id = stopped_while_following(provider, begin, work)
    for how in LOST_ANSWERS:
        provider.misbehave("cancel", how)
    assert cancel(job_id) == "At there it is cancelled."
    assert [job["status"] for job in provider.jobs.values()] == ["cancelled"]


@pytest.mark.parametrize("status", [401, 403])
def test_refused_cancellation_is_told(provider: Provider, begin: Begin, work: Work, status: int) -> None:
    job_id = stopped_while_following(provider, begin, work)
    provider.misbehave("cancel", status)
    with pytest.raises(calls.Refused, match=f"({status})"):
        cancel(job_id)
    assert run_of(job_id).status not in ENDED


def test_cancelling_what_has_ended_meanwhile_says_how(provider: Provider, begin: Begin, work: Work) -> None:
    job_id = stopped_while_following(provider, begin, work)
    (job,) = provider.jobs.values()
    job["status"] = "succeeded"
    assert cancel(job_id) == "At there it is succeeded."


def test_endless_pages_end(provider: Provider, begin: Begin, work: Work) -> None:
    provider.knows_pages = False
    for _ in range(3):
        provider.add_file("other.jsonl", b"{}")
    assert work(begin()).status == "done"


def test_changed_data_is_not_sent(provider: Provider, prepared: Prepared, begin: Begin, work: Work) -> None:
    job_id = begin()
    with session() as db:
        db.query(Example).filter_by(dataset_id=prepared.dataset_id, split="train").first().reference = "another"
    job = work(job_id)
    assert job.status == "failed" and "changed since it was checked" in job.error
    assert not provider.uploads


def stopped_while_following(provider: Provider, begin: Begin, work: Work) -> int:
    """A job that no longer follows, of one that goes on there."""
    job_id = begin()
    provider.hold.clear()

    def stop() -> None:
        while provider.requests.count("poll") < 2:
            time.sleep(0.01)
        queue.request_stop(job_id)

    stopper = threading.Thread(target=stop)
    stopper.start()
    job = work(job_id)
    stopper.join()
    assert job.status == "stopped"
    return job_id

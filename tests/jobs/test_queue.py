"""The queue and the run of one job, in this process."""

from __future__ import annotations

import math
import statistics
import threading
import time
from pathlib import Path

import pytest

from core.errors import UserError
from core.jobs import queue, run
from core.jobs.context import JobContext, Stopped
from core.jobs.failures import explain
from core.store import database
from core.store.tables import Job
from tests.jobs.conftest import Wait

pytestmark = pytest.mark.integration

QUICK = {"steps": 3, "pause": 0.01}


def ended(job: Job) -> bool:
    return job.status not in queue.ACTIVE


def test_foreground_job_runs_here_and_reports() -> None:
    seen: list[tuple[float, float, str]] = []
    job = run.run_foreground("count", QUICK, on_progress=lambda *at: seen.append(at))
    assert (job.status, job.result) == ("done", {"first": 0, "steps": 3})
    assert seen == [(done, 3, "Counting") for done in (0, 1, 2, 3)]


def test_foreground_job_waits_for_its_device_and_says_so(wait: Wait) -> None:
    busy = queue.submit("count", {"steps": 10, "pause": 0.05}, title="A long count")
    seen: list[str] = []
    job = run.run_foreground("count", QUICK, on_progress=lambda done, total, message: seen.append(message))
    assert seen[0] == f"Waits for job {busy} (A long count), which runs on cpu."
    assert job.status == "done"
    assert queue.get(busy).status == "done"


def test_dispatcher_leaves_a_foreground_job_to_its_process() -> None:
    job_id = queue.submit("count", QUICK, start=False, reserve=True)
    later = queue.submit("count", QUICK)
    assert queue.dispatch() == []
    assert queue.get(later).message == f"Waits for job {job_id} (count), which is next on cpu."
    assert queue.claim(job_id)
    assert run.execute(job_id) == "done"


def test_devices_do_not_wait_for_each_other(wait: Wait) -> None:
    slow = {"steps": 100, "pause": 0.05}
    here, there = queue.submit("count", slow), queue.submit("count", slow, device="cuda:0")
    assert [queue.get(here).status, queue.get(there).status] == ["running", "running"]


def test_job_waits_for_those_before_it(wait: Wait) -> None:
    first = queue.submit("fail", {"how": "user"}, device="cuda:0")
    second = queue.submit("count", QUICK, after=[first])
    assert queue.get(second).message == f"Waits for job {first}."
    assert wait(first, ended).status == "failed"
    queue.dispatch()
    assert queue.get(second).status == "queued"
    expected = f"Waits for job {first}, which failed: resume it or cancel this one."
    assert queue.get(second).message == expected
    with database.session() as opened:
        opened.get_one(Job, first).spec = {"how": "not at all"}
    queue.resume(first)
    assert wait(second, ended).status == "done"


def line(device: str = "cpu") -> list[int]:
    return [job.id for job in queue.waiting(device)]


def test_waiting_jobs_change_places_and_later_ones_still_come_after() -> None:
    # All in one moment, as the tick of a coarse clock has it: equal turns must be told apart as well.
    moment = time.time()
    a, b, c, d = (queue.submit("count", QUICK, start=False) for _ in range(4))
    other = queue.submit("count", QUICK, device="cuda:0", start=False)
    with database.session() as opened:
        for job in opened.query(Job):
            job.turn = moment
    assert line() == [a, b, c, d]
    queue.move(d, before=a)
    assert line() == [d, a, b, c]
    queue.move(a, before=c)
    assert line() == [d, b, a, c]
    queue.move(d, before=None)
    assert line() == [b, a, c, d]
    queue.move(c, before=c - 1)
    late = queue.submit("count", QUICK, start=False)
    assert (line(), line("cuda:0")) == ([c, b, a, d, late], [other])


def test_resumed_job_stands_behind_those_that_wait() -> None:
    first, second = (queue.submit("count", QUICK, start=False) for _ in range(2))
    queue.request_stop(first)
    front = queue.submit("count", QUICK, start=False, reserve=True)
    queue.move(front, before=second)
    queue.resume(first)
    assert line() == [front, second, first]


def test_only_waiting_jobs_of_one_device_change_places() -> None:
    here, there = queue.submit("count", QUICK, start=False), queue.submit("count", QUICK, device="cuda:0", start=False)
    ended_one = queue.submit("count", QUICK, start=False)
    queue.request_stop(ended_one)
    with pytest.raises(UserError, match=f"Job {ended_one} is stopped"):
        queue.move(ended_one, before=None)
    for before in (there, ended_one, here):
        with pytest.raises(UserError, match=f"Job {before} does not wait for cpu"):
            queue.move(here, before=before)
    assert line() == [here]


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown kind"):
        queue.submit("os:system", {})


def test_only_unfinished_jobs_resume_and_only_idle_ones_are_deleted(home: Path) -> None:
    job = run.run_foreground("count", QUICK)
    with pytest.raises(UserError, match="is done"):
        queue.resume(job.id)
    queue.delete(job.id)
    assert not (home / "jobs" / str(job.id)).exists()
    assert queue.metrics(job.id) == []
    with pytest.raises(UserError, match="no job"):
        queue.get(job.id)
    slow = queue.submit("count", {"steps": 100, "pause": 0.05})
    with pytest.raises(UserError, match=r"is running.*Stop it first"):
        queue.delete(slow)


@pytest.mark.parametrize(
    ("how", "error", "remedy"),
    [
        ("user", "Line 17 has no answer.", "Add it."),
        ("disk", "The disk is full: OSError: [Errno 28] No space left on device.", "Free some space"),
        ("memory", "The memory was not enough: MemoryError.", "Make the batch"),
        ("result", "Unexpected problem: TypeError: bug in line one.", "Resume it"),
        (
            "import",
            "Unexpected problem: ModuleNotFoundError: No module named 'tests.jobs.nothing",
            "Resume it",
        ),
    ],
)
def test_failure_says_what_happened_and_what_to_do(how: str, error: str, remedy: str) -> None:
    job = run.run_foreground("fail", {"how": how})
    assert job.status == "failed"
    assert job.error.startswith(error)
    assert job.remedy.startswith(remedy) or remedy in job.remedy
    assert "Traceback" in job.traceback
    assert "Traceback" in queue.log_tail(job.id)


def test_torch_without_memory_is_recognised() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert explain(caught.value)[0].startswith("The memory was not enough")
    assert explain(torch.OutOfMemoryError("CUDA out of memory."))[0].startswith("The memory was not enough")


def test_locked_database_costs_the_job_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 100)
    job = run.run_foreground("locked", {"hold": 2.5})
    assert job.status == "done"
    values = [value for _, _, name, value, _ in queue.metrics(job.id) if name == "loss"]
    assert values[:2] == [2.0, 1.0] and math.isnan(values[2])
    log = queue.log_tail(job.id)
    assert log.count("The records cannot be written (database is locked)") == 1


def test_metrics_come_in_increments() -> None:
    job = run.run_foreground("count", QUICK)
    rows = queue.metrics(job.id, names=["value"])
    assert [(step, name, value) for _, step, name, value, _ in rows] == [
        (0, "value", 0.0),
        (1, "value", 1.0),
        (2, "value", 2.0),
    ]
    assert queue.metrics(job.id, after_id=rows[1][0], names=["value"]) == rows[2:]


def test_log_holds_prints_and_lines_of_all_attempts(wait: Wait) -> None:
    job_id = queue.submit("loud", {})
    wait(job_id, ended)
    log = queue.log_path(job_id).read_text()
    assert [word for word in ("begins", "printed", "logged", "ends: done") if word not in log] == []


def test_time_left_is_measured_from_where_this_attempt_began() -> None:
    now = time.time()
    job = Job(kind="train", status="queued", expected_s=120.0)
    assert queue.time_left(job) == 120
    job.status, job.started_at = "running", now - 20
    assert queue.time_left(job) == pytest.approx(100, abs=1)
    # Resumed at 80 of 100: 5 steps took 10 s, so the last 15 need 30 s, whatever the first 80 took.
    job.attempt_done, job.attempt_since = 80.0, now - 10
    job.done, job.total, job.progress_at = 85.0, 100.0, now
    assert queue.time_left(job) == pytest.approx(30, abs=1)
    job.status = "done"
    assert queue.time_left(job) is None


def test_speed_is_measured_afresh_in_a_new_phase(tmp_path: Path) -> None:
    context = JobContext(1, {}, tmp_path)
    context.progress(0, 40, "Indexing")
    context.progress(40, 40, "Indexing")
    context.progress(10, 300, "Training")
    context.progress(11, 300, "Training")
    _, progress = context.collected()
    assert (progress["attempt_done"], progress["done"]) == (10, 11)


def test_stop_reaches_a_job_in_this_process() -> None:
    def stop_soon() -> None:
        while not (found := queue.jobs()) or found[0].done < 2:
            time.sleep(0.05)
        queue.request_stop(found[0].id)

    threading.Thread(target=stop_soon).start()
    assert run.run_foreground("count", {"steps": 200, "pause": 0.05}).status == "stopped"


def test_handler_that_was_asked_to_stop_leaves_by_stopped(tmp_path: Path) -> None:
    context = JobContext(1, {}, tmp_path)
    context.check_stop()
    context.request_stop()
    assert context.stop_requested()
    with pytest.raises(Stopped):
        context.check_stop()


def test_last_word_about_the_end_counts(tmp_path: Path) -> None:
    context = JobContext(1, {}, tmp_path)
    context.request_stop("keep")
    context.request_stop()  # a signal says nothing about it
    assert context.stop_then == "keep"
    context.request_stop("discard")
    assert context.stop_then == "discard"


def test_notes_are_as_they_were_when_noted_and_none_is_lost(tmp_path: Path) -> None:
    context = JobContext(1, {}, tmp_path, notes={"before": 1})
    events = [{"step": 1, "loss": math.inf}]
    context.note(events=events)
    taken = context.collected()
    events.append({"step": 2, "loss": 0.0})
    context.note(measured={"memory_gb": 2.5})
    context.progress(1, 2)
    context.give_back(*taken)
    _, columns = context.collected()
    noted = {"before": 1, "events": [{"step": 1, "loss": None}], "measured": {"memory_gb": 2.5}}
    assert (columns["notes"], columns["done"], context.notes) == (noted, 1, noted)
    with pytest.raises(TypeError, match="not JSON serializable"):
        context.note(model=object())


def test_news_are_recorded_within_a_third_of_a_second(wait: Wait) -> None:
    """The median from a report to the record; the page's look is the other part of the way to the chart."""
    job_id = queue.submit("count", {"steps": 40, "pause": 0.07})
    last, late = 0, []
    while not ended(queue.get(job_id)):
        for row, _, _, _, at in queue.metrics(job_id, last, ["value"]):
            last = row
            late.append(time.time() - at)
        time.sleep(0.01)
    assert len(late) > 20
    assert statistics.median(late) < 0.3


def test_reporting_is_cheap_enough_for_every_step(tmp_path: Path) -> None:
    """2% of a 50 ms training step is 1 ms; a report of eight values takes a small part of that."""
    context = JobContext(1, {}, tmp_path)
    began = time.perf_counter()
    for step in range(1000):
        context.metric(step, a=1.0, b=2.0, c=3.0, d=4.0, e=5.0, f=6.0, g=7.0, h=8.0)
        context.progress(step, 1000, "Training")
        context.check_stop()
    assert (time.perf_counter() - began) / 1000 < 0.0002

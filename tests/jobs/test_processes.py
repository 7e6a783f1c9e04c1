"""Real processes, really killed: the record stays true, and the work goes on or can be resumed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from core.jobs import launcher, queue
from core.settings import REPOSITORY, get_settings
from core.store.database import session
from core.store.tables import Job
from tests.jobs import runner
from tests.jobs.conftest import Wait

SLOW = {"steps": 200, "pause": 0.05}
QUICK = {"steps": 3, "pause": 0.01}

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform == "win32", reason="kills the POSIX way"),
]


def at_work(job: Job) -> bool:
    return job.status == "running" and job.done >= 2


def ended(job: Job) -> bool:
    return job.status not in queue.ACTIVE


def counted(job_id: int) -> list[float]:
    return [value for _, _, name, value, _ in queue.metrics(job_id) if name == "value"]


def app(code: str) -> subprocess.Popen[str]:
    """Another program that uses the queue, until it is killed."""
    setup = "from tests.jobs import runner; runner.prepare(); from core.jobs import queue, run\n"
    return subprocess.Popen(
        [sys.executable, "-u", "-c", setup + code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_job_runs_in_its_own_process_to_its_end(wait: Wait) -> None:
    job_id = queue.submit("count", QUICK, title="Count to three")
    job = wait(job_id, ended)
    assert (job.status, job.result, job.done, job.total) == ("done", {"first": 0, "steps": 3}, 3, 3)
    assert counted(job_id) == [0, 1, 2]
    pids = {value for _, _, name, value, _ in queue.metrics(job_id) if name == "pid"}
    assert len(pids) == 1 and pids != {os.getpid()}
    assert job.pid is None and job.finished_at is not None


def _dispatch_when_all_are_ready(barrier: threading.Barrier) -> None:
    runner.prepare()
    barrier.wait()
    queue.dispatch()


def test_six_dispatchers_start_one_job_once() -> None:
    ids = [queue.submit("count", SLOW, start=False) for _ in range(3)]
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(6)
    dispatchers = [spawn.Process(target=_dispatch_when_all_are_ready, args=(barrier,)) for _ in range(6)]
    for process in dispatchers:
        process.start()
    for process in dispatchers:
        process.join(timeout=30)
    assert [queue.get(job_id).status for job_id in ids] == ["running", "queued", "queued"]
    mine = [p for p in psutil.process_iter(["cmdline"]) if "tests.jobs.runner" in (p.info["cmdline"] or [])]
    of_this_home = [p for p in mine if p.environ()["LOWEST_RUNG_HOME"] == str(get_settings().home)]
    assert [p.pid for p in of_this_home] == [queue.get(ids[0]).pid]


def test_killed_job_is_interrupted_then_resumes_and_the_next_one_starts(wait: Wait) -> None:
    first = queue.submit("count", {"steps": 30, "pause": 0.05})
    second = queue.submit("count", QUICK)
    running = wait(first, at_work)
    assert queue.get(second).status == "queued"
    assert f"job {first}" in queue.get(second).message
    assert running.pid is not None
    os.kill(running.pid, signal.SIGKILL)

    job = wait(first, ended)
    assert job.status == "interrupted"
    assert "killed" in job.error and "Resume" in job.remedy
    assert wait(second, ended).status == "done"

    queue.resume(first)
    assert (queue.get(first).error, queue.get(first).done) == ("", job.done)
    job = wait(first, ended)
    assert (job.status, job.traceback) == ("done", "")
    assert job.result["first"] > 0
    # The last steps before the kill were not written yet; none was done twice.
    assert len(counted(first)) == len(set(counted(first)))


def test_waiting_jobs_start_in_the_order_a_person_gave_them(wait: Wait) -> None:
    first, second, third = (queue.submit("count", QUICK, start=False) for _ in range(3))
    queue.move(third, before=first)
    queue.move(first, before=None)
    assert [job.id for job in queue.waiting("cpu")] == [third, second, first]
    for job_id in (first, second, third):
        wait(job_id, ended)
    began = {job.id: job.started_at or 0 for job in queue.jobs()}
    assert sorted(began, key=began.__getitem__) == [third, second, first]


def test_job_goes_on_when_the_app_is_killed(wait: Wait) -> None:
    process = app(f"print(queue.submit('count', {SLOW | {'steps': 40}})); import time; time.sleep(60)")
    job_id = int(first_line(process))
    wait(job_id, at_work)
    process.kill()
    process.wait()
    assert wait(job_id, ended).status == "done"
    assert counted(job_id) == list(range(40))


def test_finished_job_starts_the_next_without_the_app(wait: Wait) -> None:
    process = app(f"a = queue.submit('count', {SLOW | {'steps': 10}}); print(a, queue.submit('count', {QUICK}))")
    first, second = map(int, first_line(process).split())
    process.wait()
    deadline = time.monotonic() + 15
    while not ended(queue.get(second)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [queue.get(first).status, queue.get(second).status] == ["done", "done"]


def test_stop_is_honoured_at_the_next_step(wait: Wait) -> None:
    job_id = queue.submit("count", SLOW)
    wait(job_id, at_work)
    queue.request_stop(job_id)
    job = wait(job_id, ended)
    assert job.status == "stopped"
    assert job.error == ""
    # Reported to the last step, although it left in a hurry.
    assert counted(job_id) == list(range(int(job.done)))
    assert int((queue.folder(job_id) / "counted").read_text()) == job.done


def test_paused_job_resumes_and_remembers_its_notes(wait: Wait) -> None:
    job_id = queue.submit("learn", {"steps": 500})
    wait(job_id, at_work)
    queue.request_stop(job_id)
    job = wait(job_id, ended)
    stopped_at = int((queue.folder(job_id) / "checkpoint" / "step").read_text())
    assert (job.status, job.stop_then, job.notes) == ("stopped", "", {"begun": [0], "last": None})
    queue.resume(job_id)
    job = wait(job_id, lambda job: at_work(job) and job.done > stopped_at)
    assert job.notes["begun"] == [0, stopped_at]
    assert counted(job_id)[: stopped_at + 1] == list(range(stopped_at + 1))


def test_stop_and_keep_ends_with_what_it_has(wait: Wait) -> None:
    job_id = queue.submit("learn", {"steps": 500})
    wait(job_id, at_work)
    queue.request_stop(job_id, "keep")
    job = wait(job_id, ended)
    assert (job.status, job.result) == ("done", {"kept": job.done})
    assert 2 <= job.done < 500


def test_stop_and_discard_leaves_the_log_alone_and_resume_begins_anew(wait: Wait) -> None:
    job_id = queue.submit("learn", {"steps": 500})
    wait(job_id, at_work)
    queue.request_stop(job_id, "discard")
    wait(job_id, ended)
    deadline = time.monotonic() + 5
    while len(left := [path.name for path in queue.folder(job_id).iterdir()]) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    job = queue.get(job_id)
    assert (job.status, job.stop_then, left) == ("stopped", "discard", ["log.txt"])
    assert counted(job_id) != []
    queue.resume(job_id)
    job = wait(job_id, at_work)
    assert (job.stop_then, job.notes["begun"]) == ("", [0])
    assert counted(job_id)[0] == 0


def test_sigterm_is_a_stop_request(wait: Wait) -> None:
    job_id = queue.submit("count", SLOW)
    job = wait(job_id, at_work)
    assert job.pid is not None
    os.kill(job.pid, signal.SIGTERM)
    assert wait(job_id, ended).status == "stopped"


@pytest.mark.parametrize(("then", "kept"), [("", True), ("keep", True), ("discard", False)])
def test_job_that_will_not_stop_is_killed_with_its_helpers(
    then: queue.Then, kept: bool, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOWEST_RUNG_STOP_GRACE_S", "0.5")
    monkeypatch.setenv("LOWEST_RUNG_KILL_GRACE_S", "0.5")
    get_settings.cache_clear()
    job_id = queue.submit("stubborn", {})
    wait(job_id, lambda job: bool(queue.metrics(job_id)))
    helper = int(queue.metrics(job_id)[0][3])
    queue.request_stop(job_id, then)
    job = wait(job_id, ended)
    assert (job.status, job.stop_then) == ("stopped", then)
    assert (queue.folder(job_id) / "saved").exists() == kept
    time.sleep(0.1)
    assert not psutil.pid_exists(helper) or psutil.Process(helper).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("then", "kept"), [("", True), ("keep", True), ("discard", False)])
def test_waiting_job_stops_at_once(then: queue.Then, kept: bool) -> None:
    job_id = queue.submit("count", QUICK, start=False)
    (queue.folder(job_id) / "counted").write_text("2")
    queue.request_stop(job_id, then)
    assert queue.get(job_id).status == "stopped"
    assert (queue.folder(job_id) / "counted").exists() == kept
    assert queue.dispatch() == []


def test_job_whose_process_cannot_be_started_fails_and_lets_the_next_one_in(wait: Wait, home: Path) -> None:
    broken = queue.submit("count", QUICK, start=False)
    (home / "jobs").mkdir()
    (home / "jobs" / str(broken)).write_text("in the way of the job's folder")
    fine = queue.submit("count", QUICK)
    job = queue.get(broken)
    assert job.status == "failed"
    assert "could not be started" in job.error and job.remedy
    assert wait(fine, ended).status == "done"


def test_job_whose_program_is_broken_fails_with_the_end_of_its_log(wait: Wait) -> None:
    launcher.use(launcher.LocalLauncher("tests.jobs.no_such_program"))
    job = wait(queue.submit("count", QUICK), ended)
    assert job.status == "failed"
    assert "before it could begin" in job.error
    assert "No module named tests.jobs.no_such_program" in job.traceback


def test_process_that_was_not_given_the_job_does_nothing() -> None:
    job_id = queue.submit("count", QUICK, start=False)
    done = subprocess.run(
        [sys.executable, "-m", "tests.jobs.runner", str(job_id)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not given to this process" in done.stderr
    assert queue.get(job_id).status == "queued"


def test_zombie_is_dead() -> None:
    child = subprocess.Popen(["true"])
    started = launcher.start_time(child.pid)
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not launcher.LocalLauncher().is_alive(child.pid, started)
    child.wait()


def test_pid_used_again_is_another_process() -> None:
    started = launcher.start_time(os.getpid())
    assert launcher.LocalLauncher().is_alive(os.getpid(), started)
    assert not launcher.LocalLauncher().is_alive(os.getpid(), started - 3600)


def test_ended_job_leaves_no_zombie(wait: Wait) -> None:
    wait(queue.submit("count", QUICK), ended)
    time.sleep(0.5)
    assert [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []


def test_attempt_that_was_given_up_writes_nothing_more(wait: Wait) -> None:
    """Someone took the job for dead although it runs: the old process notices, and stops."""
    job_id = queue.submit("count", SLOW)
    job = wait(job_id, at_work)
    assert job.pid is not None and job.process_started is not None
    with session() as opened:
        opened.get_one(Job, job_id).status = "interrupted"
    deadline = time.monotonic() + 10
    while launcher.current().is_alive(job.pid, job.process_started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not launcher.current().is_alive(job.pid, job.process_started)
    assert queue.get(job_id).status == "interrupted"
    assert "no longer this process's" in queue.log_tail(job_id)


def test_ctrl_c_in_the_foreground_stops_and_keeps_what_was_done(wait: Wait) -> None:
    process = app(f"print(run.run_foreground('count', {SLOW}, on_progress=lambda *at: print(*at)).status)")
    first_line(process)
    job_id = queue.jobs()[0].id
    wait(job_id, at_work)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[0].splitlines()[-1] == "stopped"
    job = queue.get(job_id)
    assert job.status == "stopped"
    assert int((queue.folder(job_id) / "counted").read_text()) == job.done


def test_foreground_job_killed_while_it_waits_is_resumable(wait: Wait) -> None:
    busy = queue.submit("count", SLOW)
    process = app(f"run.run_foreground('count', {QUICK}, on_progress=lambda *at: print(*at))")
    assert f"Waits for job {busy}" in first_line(process)
    waiting = queue.jobs()[0].id
    process.kill()
    process.wait()
    queue.reconcile()
    assert queue.get(waiting).status == "interrupted"
    queue.request_stop(busy)
    queue.resume(waiting)
    assert wait(waiting, ended).status == "done"

"""The server as a job: started, asked, stopped, killed and started again, in real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import httpx2
import openai
import pytest
import typer
from typer.testing import CliRunner

from core.api import keys, serve_job
from core.api.command import key_commands
from core.errors import UserError
from core.jobs import queue
from core.jobs.run import run_foreground
from core.settings import REPOSITORY
from core.store.database import session
from core.store.tables import Job

T = TypeVar("T")
# A busy machine starts a process slowly.
WAIT_S = 300


@pytest.fixture(autouse=True)
def no_server_outlives_its_test(home: Path) -> Iterator[None]:
    yield
    for job in queue.jobs("serve"):
        if job.status == "running" and job.pid is not None and job.pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(job.pid, signal.SIGKILL)


def until(look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError([(job.status, job.error, queue.log_tail(job.id)) for job in queue.jobs("serve")])


def answering(job_id: int) -> str:
    """The URL of a job's server once it answers."""

    def look() -> str | None:
        found = serve_job.running()
        return found.url if found is not None and found.job.id == job_id else None

    return until(look)


def ended(job_id: int) -> Job:
    def look() -> Job | None:
        queue.reconcile()
        job = queue.get(job_id)
        return None if job.status in queue.ACTIVE else job

    return until(look)


@pytest.mark.integration
def test_a_server_is_started_asked_stopped_killed_and_started_again(tiny_model: Path) -> None:
    job_id = serve_job.start(port=0, model=str(tiny_model))
    url = answering(job_id)
    client = openai.OpenAI(base_url=url, api_key="none")
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
    answer = client.chat.completions.create(**asked)  # type: ignore[call-overload]
    assert answer.usage.completion_tokens > 0

    # A second one has no place beside it; a training has.
    with pytest.raises(UserError, match=f"runs already at {url}"):
        serve_job.start(port=0)
    assert queue.get(job_id).device == serve_job.DEVICE

    # Its figures are in the record, for whoever looks.
    until(lambda: any(name == "first_token_ms_p50" for _, _, name, _, _ in queue.metrics(job_id)))
    names = {name for _, _, name, _, _ in queue.metrics(job_id)}
    assert names >= {"requests_per_min", "tokens_per_s", "first_token_ms_p95", "running", "waiting"}
    assert queue.get(job_id).notes["models"] == ["smollm2-135m", "tiny"]

    # Killed, it is known to be, and nobody is told that it answers.
    pid = queue.get(job_id).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert ended(job_id).status == "interrupted"
    assert serve_job.running() is None

    queue.resume(job_id)
    again = answering(job_id)
    assert openai.OpenAI(base_url=again, api_key="none").models.list().data

    # An answer under way does not hold up its end.
    stream = openai.OpenAI(base_url=again, api_key="none").chat.completions.create(
        **asked | {"max_tokens": 400, "stream": True}  # type: ignore[arg-type]
    )
    next(iter(stream))
    serve_job.stop(job_id)
    job = ended(job_id)
    assert (job.status, job.error) == ("stopped", "")
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(again)


@pytest.mark.integration
def test_the_command_prints_its_url_and_ends_with_ctrl_c(home: Path) -> None:
    code = "import typer; from core.api.command import serve; typer.run(serve)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--port", "0"], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("Serving at http://127.0.0.1:")
        url = line.split()[-1]
        assert httpx2.get(f"{url}/models").json()["data"][0]["id"] == "smollm2-135m"
        deadline = time.monotonic() + 20
        # Printed at once, and in the record at the next heartbeat.
        while (found := serve_job.running()) is None or not found.url:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert found.url == url
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, b"Traceback" in said) == (0, False)
    assert serve_job.running() is None


def test_a_port_in_use_is_told(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        job = run_foreground("serve", serve_job.spec_of("127.0.0.1", port, ""), device=serve_job.DEVICE)
    assert job.status == "failed"
    assert job.error == f"Port {port} is in use by another program."
    assert "another port" in job.remedy


def test_addresses_of_others_are_no_place_to_listen() -> None:
    with pytest.raises(UserError, match=r"cannot listen at 203\.0\.113\.7"):
        serve_job.bind("203.0.113.7", 0)
    with pytest.raises(UserError, match="cannot listen at no-such-host"):
        serve_job.bind("no-such-host.invalid", 0)


def test_others_are_let_in_by_key_only() -> None:
    with pytest.raises(UserError, match="no API key has been made"):
        serve_job.start(host="0.0.0.0", port=0)
    assert queue.jobs("serve") == []
    # The record of a job may be older than the keys are gone.
    job = run_foreground("serve", {"host": "0.0.0.0", "port": 0, "model": ""}, device=serve_job.DEVICE)
    assert job.status == "failed" and "no API key" in job.error
    keys.create("Anna")
    assert serve_job.spec_of("0.0.0.0", 8000, "")["host"] == "0.0.0.0"


def test_a_model_that_is_nowhere_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no model nowhere"):
        serve_job.start(model="nowhere")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert serve_job.spec_of("127.0.0.1", 8000, "mine")["model"] == str(tmp_path / "mine")


def test_a_broken_model_fails_the_job_in_words(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    spec = serve_job.spec_of("127.0.0.1", 0, str(tmp_path / "broken"))
    job = run_foreground("serve", spec, device=serve_job.DEVICE)
    assert job.status == "failed" and "broken is not a model" in job.error


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/v1"),
        ("0.0.0.0", "http://127.0.0.1:8000/v1"),
        ("::", "http://[::1]:8000/v1"),
        ("box.example", "http://box.example:8000/v1"),
    ],
)
def test_the_url_is_one_that_can_be_called(host: str, url: str) -> None:
    assert serve_job._url(host, 8000) == url


def test_a_resumed_server_does_not_tell_the_url_of_before() -> None:
    job = Job(kind="serve", status="running", device="server", notes={"url": "http://old", "since": 10.0})
    job.started_at, job.pid, job.process_started = 20.0, os.getpid(), _started()
    with session() as db:
        db.add(job)
    found = serve_job.running()
    assert found is not None and found.url == ""


def _started() -> float:
    from core.jobs.launcher import start_time

    return start_time(os.getpid())


# Keys on the command line


def test_keys_are_made_listed_and_revoked_by_command() -> None:
    app = typer.Typer()
    app.add_typer(key_commands, name="keys")
    runner = CliRunner()
    assert "No key" in runner.invoke(app, ["keys", "list"]).stdout
    made = runner.invoke(app, ["keys", "create", "Anna [x]", "--expires-days", "2", "--requests-per-minute", "5"])
    key = made.stdout.strip()
    found = keys.authorize(key)
    assert found is not None and found.name == "Anna [x]" and found.requests_per_minute == 5
    assert found.expires_at is not None and abs(found.expires_at - time.time() - 2 * 86400) < 60
    listed = runner.invoke(app, ["keys", "list"]).stdout
    assert "Anna [x]" in listed and "active" in listed and key not in listed
    assert runner.invoke(app, ["keys", "revoke", str(found.id)]).exit_code == 0
    assert "revoked" in runner.invoke(app, ["keys", "list"]).stdout

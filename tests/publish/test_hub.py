"""A push to the hub arrives whole, is private, and leaves its token nowhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import UserError
from core.jobs import queue
from core.models.package import FILES
from core.publish import hub
from core.settings import get_settings
from core.store.tables import Adapter, Job
from tests.publish.hub_server import TOKEN, Hub, started
from tests.publish.weights import an_adapter

pytestmark = pytest.mark.integration


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, as the process of a push finds it: by the libraries' own environment variables."""
    found, server = started()
    monkeypatch.setenv("HF_ENDPOINT", found.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    # Its newer way to upload speaks to a storage service that no small server can stand for.
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    yield found
    server.should_exit = True


def ended(job_id: int) -> Job:
    deadline = time.monotonic() + 120
    while (job := queue.get(job_id)).status in queue.ACTIVE and time.monotonic() < deadline:
        time.sleep(0.2)
        queue.dispatch()
    return job


def push(adapter: Adapter, repo: str = "me/sorting", token: str = TOKEN, private: bool = True) -> Job:
    return ended(hub.push(adapter, repo, token, private=private))


def test_push_arrives_whole_and_private_and_the_token_stays_nowhere(tiny_model: Path, away: Hub, home: Path) -> None:
    adapter = an_adapter(tiny_model)
    job = push(adapter)
    assert job.status == "done", f"{job.error} {job.remedy} {job.traceback}"
    assert job.result["url"] == f"{away.url}/me/sorting"
    files = away.files["me/sorting"]
    assert away.stored, "weights come as large files do"
    assert away.private["me/sorting"] and files.keys() == {*FILES, "README.md"}
    assert files[FILES[0]] == (get_settings().home / adapter.path / FILES[0]).read_bytes()
    assert json.loads(files[FILES[1]])["base_model_name_or_path"] == tiny_model.name
    for path in home.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_push_to_what_everybody_sees_is_refused_unless_that_is_meant(tiny_model: Path, away: Hub) -> None:
    away.files["me/sorting"], away.private["me/sorting"] = {}, False
    adapter = an_adapter(tiny_model)
    job = push(adapter)
    assert job.status == "failed" and "everybody can see it" in job.error and away.files["me/sorting"] == {}
    assert push(adapter, private=False).status == "done" and FILES[0] in away.files["me/sorting"]


def test_what_the_hub_refuses_is_said_in_words(tiny_model: Path, away: Hub) -> None:
    adapter = an_adapter(tiny_model)
    wrong = push(adapter, token="hf_wrong")
    assert wrong.status == "failed" and "does not know this token" in wrong.error
    assert "hf_wrong" not in wrong.traceback
    away.refuse_with = 403
    assert "may not write to me/sorting" in push(adapter).error


def test_hub_that_cannot_be_reached_is_said(tiny_model: Path, away: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    job = push(an_adapter(tiny_model))
    assert job.status == "failed" and "could not be reached" in job.error


def test_push_is_stopped_at_once_and_not_resumed_without_its_token(tiny_model: Path, away: Hub) -> None:
    away.upload_takes_s = 30
    job_id = hub.push(an_adapter(tiny_model), "me/sorting", TOKEN)
    while not queue.get(job_id).message.startswith("Uploading"):
        time.sleep(0.1)
    begun = time.monotonic()
    queue.request_stop(job_id)
    assert ended(job_id).status == "stopped" and time.monotonic() - begun < 20
    queue.resume(job_id)
    again = ended(job_id)
    assert again.status == "failed" and "token" in again.error and "Push again" in again.remedy


def test_names_and_empty_tokens_are_refused_before_anything_starts(tiny_model: Path) -> None:
    adapter = an_adapter(tiny_model)
    for repo in ("", "a b", "x/y/z", "--x", "../x"):
        with pytest.raises(UserError, match="no name for a repository"):
            hub.push(adapter, repo, TOKEN)
    with pytest.raises(UserError, match="asks for a token"):
        hub.push(adapter, "me/sorting", " ")
    assert queue.jobs("export") == []

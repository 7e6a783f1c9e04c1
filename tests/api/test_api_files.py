"""The routes of files, through the official client and a real connection."""

from __future__ import annotations

import errno
import sqlite3
import time
from pathlib import Path

import httpx2
import openai
import pytest
from openai import pagination
from sqlalchemy import update

from core.api import file_store
from core.settings import get_settings
from core.store.database import session
from core.store.tables import ApiFile
from tests.api.conftest import Served
from tests.api.training import conforms, upload


@pytest.fixture
def http(server: Served) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, timeout=30)


def test_a_file_is_kept_shown_read_and_deleted(client: openai.OpenAI, home: Path) -> None:
    made = client.files.create(file=("train.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
    conforms(made)
    assert (made.filename, made.bytes, made.purpose, made.status) == ("train.jsonl", 17, "fine-tune", "processed")
    assert client.files.retrieve(made.id) == made
    assert client.files.wait_for_processing(made.id) == made
    assert client.files.content(made.id).read() == b'{"messages": []}\n'
    gone = client.files.delete(made.id)
    conforms(gone)
    assert gone.deleted and gone.id == made.id
    assert list((home / "api-files").iterdir()) == []
    with pytest.raises(openai.NotFoundError) as error:
        client.files.retrieve(made.id)
    assert error.value.body == {
        "message": f"No such File object: {made.id}",
        "type": "invalid_request_error",
        "param": "id",
        "code": None,
    }


def test_a_path_as_upload_keeps_its_last_part_only(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_bytes(b"x")
    with path.open("rb") as opened:
        assert client.files.create(file=opened, purpose="fine-tune").filename == "examples.jsonl"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\train.jsonl", "train.jsonl"),
        ("..", "file"),
        ("a\x00b\x1b.jsonl", "ab.jsonl"),
    ],
)
def test_names_never_become_paths(home: Path, name: str, shown: str) -> None:
    file = file_store.store(name, "fine-tune", b"content")
    assert file.name == shown
    assert [path.name for path in (home / "api-files").iterdir()] == [file.public_id]
    assert not (home / "api-files").stat().st_mode & 0o077


def test_lists_are_paged_through_by_the_client(client: openai.OpenAI) -> None:
    sent = [upload(client, name=f"{number}.jsonl").id for number in range(5)]
    page = client.files.list(limit=2)
    assert isinstance(page, pagination.SyncCursorPage) and page.has_more
    assert page.to_dict()["first_id"] == sent[4] and page.to_dict()["last_id"] == sent[3]  # type: ignore[index]
    assert [file.id for file in client.files.list(limit=2)] == sent[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == sent
    assert [file.id for file in client.files.list(after=sent[2])] == sent[1::-1]
    assert list(client.files.list(purpose="fine-tune-results")) == []


def test_a_page_after_nothing_known_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.files.list(after="file-nobody")
    assert error.value.param == "after"


def test_files_go_when_their_time_has_run_out(client: openai.OpenAI, home: Path) -> None:
    made = client.files.create(
        file=("a.jsonl", b"x"), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    conforms(made)
    assert made.expires_at is not None and abs(made.expires_at - time.time() - 3600) < 5
    with session() as db:
        db.execute(update(ApiFile).values(expires_at=time.time() - 1))
    assert list(client.files.list()) == []
    assert list((home / "api-files").iterdir()) == []


@pytest.mark.parametrize("seconds", [3599, 2_592_001])
def test_expiry_is_from_an_hour_to_thirty_days(client: openai.OpenAI, seconds: int) -> None:
    with pytest.raises(openai.BadRequestError, match="expires_after"):
        client.files.create(
            file=("a.jsonl", b"x"), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": seconds}
        )


@pytest.mark.parametrize("purpose", ["assistants", "batch", "vision", "user_data", "evals", "nonsense"])
def test_other_purposes_are_refused(client: openai.OpenAI, purpose: str) -> None:
    with pytest.raises(openai.BadRequestError, match="'fine-tune'") as error:
        client.files.create(file=("a.jsonl", b"x"), purpose=purpose)  # type: ignore[arg-type]
    assert error.value.param == "purpose"


def test_an_upload_without_a_file_or_bytes_is_refused(http: httpx2.Client) -> None:
    error = http.post("/files", data={"purpose": "fine-tune"}).json()["error"]
    assert (error["param"], error["code"]) == ("file", "missing_required_parameter")
    error = http.post("/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", b"")}).json()["error"]
    assert error["message"] == "The file is empty."
    error = http.post("/files", files={"file": ("a.jsonl", b"x")}).json()["error"]
    assert error["param"] == "purpose"
    answer = http.post(
        "/files", content=b"--x\r\nnonsense", headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_a_file_too_large_is_refused_and_not_kept(
    client: openai.OpenAI, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOWEST_RUNG_UPLOAD_LIMIT_MB", "1")
    get_settings.cache_clear()
    assert upload(client, b"x" * 1_000_000).bytes == 1_000_000
    with pytest.raises(openai.APIStatusError) as error:
        upload(client, b"x" * 1_200_000)
    assert (error.value.status_code, error.value.code) == (413, "request_too_large")
    assert len(list((home / "api-files").iterdir())) == 1


def test_a_full_disk_is_said_and_nothing_stays(
    client: openai.OpenAI, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(home), "touch", full)
    with pytest.raises(openai.InternalServerError, match="No space left") as error:
        upload(client)
    assert error.value.status_code == 507
    monkeypatch.undo()
    assert list((home / "api-files").iterdir()) == []


def test_no_bytes_stay_when_the_record_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(file_store, "session", broken)
    with pytest.raises(sqlite3.OperationalError):
        file_store.store("a.jsonl", "fine-tune", b"content")
    assert list((home / "api-files").iterdir()) == []

"""Keys: shown once, kept as hashes, and what each refusal says."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api import keys
from core.api.errors import ApiError
from core.errors import UserError
from tests.api.conftest import Served


def refused(key: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        keys.authorize(key)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    return caught.value


def test_a_key_is_nowhere_in_the_home_folder(home: Path) -> None:
    made, key = keys.create("Anna")
    assert key.startswith("lr-") and key.startswith(made.beginning)
    assert len(made.beginning) < len(key) / 4
    assert keys.authorize(key).id == made.id  # type: ignore[union-attr]
    found = [file for file in home.rglob("*") if file.is_file() and key.encode() in file.read_bytes()]
    assert found == []


def test_keys_differ_and_each_opens_for_its_own_name() -> None:
    made = [keys.create(name) for name in ("Anna", "Ben")]
    assert made[0][1] != made[1][1]
    assert [keys.authorize(key).name for _, key in made] == ["Anna", "Ben"]  # type: ignore[union-attr]
    assert [key.name for key in reversed(keys.keys())][::-1] == ["Ben", "Anna"]


@given(text=st.text())
def test_nothing_else_opens(text: str) -> None:
    error = refused(text)
    assert not text or text not in error.message or len(text) < 4


def test_a_revoked_key_is_refused_and_the_door_stays_shut() -> None:
    made, key = keys.create("Anna")
    keys.revoke(made.id)
    assert "revoked" in refused(key).message
    assert keys.needed()
    keys.forget(made.id)
    assert not keys.needed()


def test_a_key_in_use_cannot_be_forgotten() -> None:
    made, _ = keys.create("Anna")
    with pytest.raises(UserError, match="in use"):
        keys.forget(made.id)
    with pytest.raises(UserError, match="no key 99"):
        keys.revoke(99)


def test_an_expired_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made, key = keys.create("Anna", expires_at=time.time() + 60)
    assert keys.state(made) == "active"
    keys.authorize(key)
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert keys.state(made) == "expired"
    assert "expired" in refused(key).message


def test_last_use_is_noted_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = keys.create("Anna")
    now = 1_800_000_000.0
    for later, noted in ((0, now), (30, now), (61, now + 61)):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        keys.authorize(key)
        assert keys.keys()[0].last_used_at == noted


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "  "},
        {"name": "x" * 101},
        {"name": "Anna", "expires_at": 1.0},
        {"name": "Anna", "requests_per_minute": 0},
        {"name": "Anna", "tokens_per_minute": -1},
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        keys.create(**wrong)  # type: ignore[arg-type]
    assert keys.keys() == []


def test_the_app_s_own_key_is_its_owner_s_alone_and_stays_the_same(home: Path) -> None:
    key = keys.page_key()
    file = home / "server.key"
    assert file.read_text() == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in home.glob("server.key*")) == ["server.key"]
    keys._page_key.cache_clear()
    assert keys.page_key() == key
    # It has no limits and makes no key needed.
    assert keys.authorize(key) is None
    assert not keys.needed()


# Over a real connection


def test_from_the_first_key_on_every_request_needs_one(server: Served) -> None:
    def client(key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=server.url, api_key=key, max_retries=0)

    assert client("anything").models.list().data
    made, key = keys.create("Anna")
    with pytest.raises(openai.AuthenticationError) as caught:
        client("anything").models.list()
    assert caught.value.code == "invalid_api_key"
    assert client(key).models.list().data
    assert client(keys.page_key()).models.list().data
    keys.revoke(made.id)
    with pytest.raises(openai.AuthenticationError):
        client(key).models.list()


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "lr-key"])
def test_no_key_at_all_is_told_how_to_give_one(server: Served, header: str | None) -> None:
    keys.create("Anna")
    answer = httpx2.get(f"{server.url}/models", headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert "Authorization" in error["message"]

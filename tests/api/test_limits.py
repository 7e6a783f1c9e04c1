"""Limits of a key: requests and tokens in a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx2
import openai
import pytest

from core.api import keys, limits
from core.api.errors import ApiError
from core.store.tables import ApiKey
from tests.api.conftest import Served

Clock = Callable[[float], None]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Each test counts from nought: the ids of keys begin anew with each home folder."""
    limits._strategies.cache_clear()
    yield
    limits._strategies.cache_clear()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the clock to so many seconds after the beginning of a minute."""
    began = 1_800_000_000.0

    def set_clock(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: began + seconds)

    set_clock(0)
    return set_clock


def limited(call: Callable[[], None]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    return caught.value


def test_requests_over_the_limit_wait_until_the_first_of_them_is_a_minute_old(at: Clock) -> None:
    key, _ = keys.create("Anna", requests_per_minute=3)
    for seconds in (0, 10, 20):
        at(seconds)
        limits.count_request(key)
    at(25)
    error = limited(lambda: limits.count_request(key))
    assert error.type == "requests"
    # One that is refused does not count, and the client is told when it will not be.
    assert 34 <= int(error.headers["Retry-After"]) <= 36
    at(25 + int(error.headers["Retry-After"]) + 0.1)
    limits.count_request(key)
    limited(lambda: limits.count_request(key))


def test_keys_do_not_use_up_each_other_s_share(at: Clock) -> None:
    one, _ = keys.create("Anna", requests_per_minute=1)
    other, _ = keys.create("Ben", requests_per_minute=1)
    limits.count_request(one)
    limits.count_request(other)
    limited(lambda: limits.count_request(one))


@pytest.mark.parametrize("key", [None, ApiKey(id=1, name="free")])
def test_without_a_limit_nothing_is_refused(key: ApiKey | None) -> None:
    for _ in range(100):
        limits.count_request(key)
        limits.take_tokens(key, 1_000_000)
        limits.spend_tokens(key, 1_000_000)


def test_tokens_of_prompt_and_answer_come_back_within_two_minutes(at: Clock) -> None:
    key, _ = keys.create("Anna", tokens_per_minute=1000)
    limits.take_tokens(key, 800)
    limits.spend_tokens(key, 150)
    error = limited(lambda: limits.take_tokens(key, 100))
    assert error.type == "tokens"
    limits.take_tokens(key, 50)
    at(121)
    limits.take_tokens(key, 1000)


def test_requests_that_begin_together_do_not_share_what_is_left_for_one(at: Clock) -> None:
    key, _ = keys.create("Anna", tokens_per_minute=1000)
    limits.take_tokens(key, 600)
    # The first has not been answered yet.
    limited(lambda: limits.take_tokens(key, 600))


def test_an_answer_longer_than_what_was_left_leaves_no_debt(at: Clock) -> None:
    key, _ = keys.create("Anna", tokens_per_minute=100)
    limits.spend_tokens(key, 90)
    limits.spend_tokens(key, 5000)
    limited(lambda: limits.take_tokens(key, 1))
    at(121)
    limits.take_tokens(key, 100)


def test_a_prompt_that_never_fits_is_not_told_to_wait(at: Clock) -> None:
    key, _ = keys.create("Anna", tokens_per_minute=100)
    error = limited(lambda: limits.take_tokens(key, 101))
    assert "Retry-After" not in error.headers
    assert "101" in error.message


def test_the_official_client_sees_a_rate_limit_and_when_to_come_back(server: Served) -> None:
    _, key = keys.create("Anna", requests_per_minute=2)
    client = openai.OpenAI(base_url=server.url, api_key=key, max_retries=0)
    client.models.list()
    client.models.list()
    with pytest.raises(openai.RateLimitError) as caught:
        client.models.list()
    assert caught.value.code == "rate_limit_exceeded"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    # Refused before its body is read, whatever it holds.
    answer = httpx2.post(f"{server.url}/chat/completions", content=b"{", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 429

"""A remote service that fails in every documented way: each question has one outcome, and the others go on."""

from __future__ import annotations

import time
from typing import Any

import pytest

from core.errors import UserError
from core.models.budget import Budget, CapReached
from core.models.generation import Completion, Request, Sampling
from core.models.open import open_generator
from core.models.remote import Endpoint, RemoteGenerator
from core.settings import get_settings
from tests.models.service import Handler, Service, echo, serving

SAMPLING = Sampling(max_new_tokens=9, temperature=0.5)


def chats(count: int) -> list[Request]:
    return [Request([{"role": "user", "content": f"question {n}"}], seed=3) for n in range(count)]


def ask(service: Service, count: int, **options: Any) -> list[Completion]:
    """In the order of the questions; fails when one is missing or comes twice."""
    endpoint = Endpoint(service.url, "secret", **({"retries": 1, "timeout_s": 5.0} | options))
    batches = list(RemoteGenerator("big-model", endpoint).answer(chats(count), SAMPLING))
    found = [pair for batch in batches for pair in batch]
    assert sorted(i for i, _ in found) == list(range(count))
    return [completion for _, completion in sorted(found, key=lambda pair: pair[0])]


def only_second_fails(fail: Any) -> Any:
    def behave(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        if request["messages"][-1]["content"] == "question 1":
            fail(handler)
        else:
            echo(handler, request, attempt)

    return behave


def test_answers_come_back_in_order_with_tokens_and_cost() -> None:
    def slow_first(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        time.sleep(0.2 if request["messages"][-1]["content"] == "question 0" else 0)
        echo(handler, request, attempt)

    with serving(slow_first) as service:
        completions = ask(service, 6, price_input=2.0, price_output=10.0, concurrency=3)
    assert [c.text for c in completions] == [f"question {n}" for n in range(6)]
    assert {(c.input_tokens, c.output_tokens, c.finish_reason, c.error) for c in completions} == {(11, 3, "stop", None)}
    assert [c.cost_usd for c in completions] == pytest.approx([(11 * 2 + 3 * 10) / 1e6] * 6)
    assert completions[0].latency_s >= 0.2
    sent = service.requests[0]
    assert (sent["model"], sent["max_completion_tokens"], sent["temperature"], sent["seed"]) == ("big-model", 9, 0.5, 3)
    assert service.keys == {"Bearer secret"}


def test_no_more_requests_are_under_way_than_allowed() -> None:
    def slow(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        time.sleep(0.05)
        echo(handler, request, attempt)

    with serving(slow) as service:
        ask(service, 12, concurrency=3)
    assert 1 < service.most_at_once <= 3


def test_busy_service_is_asked_again_after_the_pause_it_names() -> None:
    def busy_once(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        if attempt == 1:
            handler.refuse(429, "Rate limit reached", {"Retry-After": "1"})
        else:
            echo(handler, request, attempt)

    with serving(busy_once) as service:
        completions = ask(service, 3)
    assert [c.text for c in completions] == ["question 0", "question 1", "question 2"]
    assert all(c.error is None and c.latency_s >= 1 for c in completions)
    assert len(service.requests) == 6


def truncated(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.drop()


NO_CHOICE = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []}


@pytest.mark.parametrize(
    ("fail", "tries", "said"),
    [
        (lambda handler: handler.refuse(500, "it broke"), 2, "status 500"),
        (lambda handler: handler.refuse(429, "quota used up"), 2, "status 429"),
        (lambda handler: handler.refuse(401, "Incorrect API key"), 1, "status 401"),
        (lambda handler: handler.refuse(400, "maximum context length"), 1, "maximum context length"),
        (lambda handler: handler.reply(404, b"<html>nothing here</html>"), 1, "status 404"),
        (lambda handler: handler.reply(200, b"{not json"), 1, "could not be read"),
        (lambda handler: handler.reply(200, b""), 1, "could not be read"),
        (lambda handler: handler.reply(200, b"[]"), 1, "could not be read"),
        (lambda handler: handler.reply(200, {}), 1, "could not be read"),
        (lambda handler: handler.reply(200, NO_CHOICE), 1, "could not be read"),
        (lambda handler: handler.answer({"model": "m"}, 7), 1, "could not be read"),
        (Handler.drop, 2, "could not be reached"),
        (truncated, 2, "could not be reached"),
        (lambda handler: time.sleep(1.5), 2, "No answer within 1 s, after 1 more tries"),
    ],
    ids=["500", "429", "401", "400", "html", "malformed", "empty", "list", "object", "no-choice", "number", "dropped",
         "truncated", "timeout"],
)  # fmt: skip
def test_failure_is_one_error_and_the_others_are_answered(fail: Any, tries: int, said: str) -> None:
    with serving(only_second_fails(fail)) as service:
        first, failed, third = ask(service, 3, timeout_s=1.0)
    assert (first.text, third.text) == ("question 0", "question 2")
    assert first.error is None and third.error is None
    assert failed.error is not None and said in failed.error
    assert (failed.text, failed.finish_reason, failed.cost_usd) == ("", "error", 0)
    assert len(service.requests) == 2 + tries
    assert "secret" not in failed.error


def test_service_that_is_not_there_fails_every_question() -> None:
    with serving(echo) as service:
        pass
    completions = ask(service, 3)
    assert all("could not be reached" in str(c.error) for c in completions)


def test_refused_content_is_an_empty_answer_not_an_error() -> None:
    with serving(
        lambda handler, request, attempt: handler.answer(request, None, finish_reason="content_filter")
    ) as service:
        (completion,) = ask(service, 1)
    assert (completion.text, completion.error, completion.finish_reason) == ("", None, "content_filter")


def test_closing_asks_no_further_question() -> None:
    def slow(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        time.sleep(0.1)
        echo(handler, request, attempt)

    with serving(slow) as service:
        work = RemoteGenerator("m", Endpoint(service.url, "", concurrency=2)).answer(chats(50), SAMPLING)
        next(work)
        work.close()  # type: ignore[attr-defined]
        asked = len(service.requests)
        assert asked <= 5
        time.sleep(0.3)
        assert len(service.requests) == asked


def test_local_adapter_cannot_be_put_on_a_remote_model(tmp_path: Any) -> None:
    with pytest.raises(UserError, match="cannot be put on the remote model"):
        list(RemoteGenerator("m", Endpoint("http://127.0.0.1:9/v1", "")).answer([Request([], tmp_path)], SAMPLING))


def test_service_comes_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(echo) as service:
        monkeypatch.setenv("LOWEST_RUNG_GENERATION_URL", service.url)
        monkeypatch.setenv("LOWEST_RUNG_GENERATION_KEY", "from-settings")
        monkeypatch.setenv("LOWEST_RUNG_GENERATION_PRICE_OUTPUT", "1000000")
        get_settings.cache_clear()
        ((pair,),) = list(open_generator("remote/small").answer(chats(1), SAMPLING))
    assert pair[1].text == "question 0" and pair[1].cost_usd == 3
    assert service.requests[0]["model"] == "small"
    assert service.keys == {"Bearer from-settings"}


def test_stop_asks_nothing_more_and_loses_no_answer_under_way() -> None:
    def slow(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        time.sleep(0.1)
        echo(handler, request, attempt)

    with serving(slow) as service:
        generator = RemoteGenerator("m", Endpoint(service.url, "", concurrency=3))
        work = generator.answer(chats(50), SAMPLING, stop=lambda: len(service.requests) >= 6)
        found = [pair for batch in work for pair in batch]
        assert len(found) == len(service.requests) <= 9


def test_older_service_is_asked_with_the_former_name_of_the_longest_answer() -> None:
    def old(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        if "max_completion_tokens" in request:
            handler.refuse(400, "Unrecognized request argument supplied: max_completion_tokens")
        else:
            echo(handler, request, attempt)

    with serving(old) as service:
        completions = ask(service, 4, concurrency=1)
    assert [c.error for c in completions] == [None] * 4
    assert [r.get("max_tokens") for r in service.requests] == [None, 9, 9, 9, 9]


def test_no_more_requests_a_minute_than_allowed() -> None:
    with serving(echo) as service:
        generator = RemoteGenerator("m", Endpoint(service.url, "", requests_per_minute=2))
        started = time.monotonic()
        work = generator.answer(chats(5), SAMPLING, stop=lambda: time.monotonic() > started + 1.5)
        assert len([pair for batch in work for pair in batch]) == len(service.requests) == 2
    # Those that were still waiting for their turn were never sent, and nobody waited a minute for them.
    assert time.monotonic() - started < 10


PRICED = {"price_input": 0.0, "price_output": 1e6}  # a dollar for each token of the answer: three, of nine allowed


def test_budget_is_never_passed_and_keeps_what_was_paid_for() -> None:
    with serving(echo) as service:
        budget = Budget(cap_usd=20.0)
        generator = RemoteGenerator("m", Endpoint(service.url, "", concurrency=4, **PRICED), budget)
        found: list[Any] = []
        with pytest.raises(CapReached, match=r"cap of \$20.00 is reached: \$12.0000 is spent"):
            for batch in generator.answer(chats(10), SAMPLING):
                found += batch
    # Four answers cost 12 dollars, and a fifth might cost 9.
    assert len(found) == len(service.requests) == 4
    assert sum(completion.cost_usd for _, completion in found) == budget.spent_usd == 12


def _spent_on_nobody() -> float:
    with serving(echo) as service:
        pass
    budget = Budget(cap_usd=100.0)
    list(RemoteGenerator("m", Endpoint(service.url, "", retries=0, **PRICED), budget).answer(chats(1), SAMPLING))
    return budget.spent_usd


def test_request_of_unknown_fate_counts_as_paid_and_a_refused_one_does_not() -> None:
    assert _spent_on_nobody() == 0
    for fail, spent in ((Handler.drop, 9), (lambda handler: handler.refuse(401, "no"), 0)):
        with serving(lambda handler, request, attempt, fail=fail: fail(handler)) as service:
            budget = Budget(cap_usd=100.0)
            generator = RemoteGenerator("m", Endpoint(service.url, "", retries=0, **PRICED), budget)
            list(generator.answer(chats(1), SAMPLING))
        assert budget.spent_usd == spent


def test_models_opened_within_a_budget_are_held_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(echo) as service:
        monkeypatch.setenv("LOWEST_RUNG_GENERATION_URL", service.url)
        monkeypatch.setenv("LOWEST_RUNG_GENERATION_PRICE_OUTPUT", "1000000")
        get_settings.cache_clear()
        with Budget(cap_usd=5.0).keep():
            held = open_generator("remote/judge")
        with pytest.raises(CapReached):
            list(held.answer(chats(1), SAMPLING))
        assert len(list(open_generator("remote/judge").answer(chats(1), SAMPLING))) == 1

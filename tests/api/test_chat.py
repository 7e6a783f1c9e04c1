"""POST /v1/chat/completions, asked by the official client over a real connection."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, ValidationError

from core.api import keys
from core.api.chat_types import ChatRequest
from core.models.generation import Request, Sampling
from core.models.loading import load_model
from core.models.local import LocalGenerator

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "What is a ladder?"}], "max_tokens": 12}


def whole(client: OpenAI, **more: Any) -> ChatCompletion:
    """An answer as the client reads it, of which every field is as the package's own type demands."""
    raw = client.chat.completions.with_raw_response.create(**{"model": "tiny", **ASKED, **more})
    ChatCompletion.model_validate_json(raw.content, strict=True)
    return raw.parse()


def parts(client: OpenAI, **more: Any) -> list[ChatCompletionChunk]:
    stream = client.chat.completions.create(**{"model": "tiny", **ASKED, **more}, stream=True)
    return [ChatCompletionChunk.model_validate(chunk.model_dump(), strict=True) for chunk in stream]


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def refused(client: OpenAI, status: int = 400, **more: Any) -> dict[str, Any]:
    """The error's body, which the client has read."""
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(**{"model": "tiny", **ASKED, **more})
    assert raised.value.status_code == status
    body = raised.value.body
    assert isinstance(body, dict) and set(body) == {"message", "type", "param", "code"}
    return body


def test_an_answer_is_that_of_compare(client: OpenAI, tiny_model: Any) -> None:
    completion = whole(client, temperature=0)
    generator = LocalGenerator(load_model(str(tiny_model)))
    ((_, expected),) = next(iter(generator.answer([Request(ASKED["messages"])], Sampling(12))))
    (choice,) = completion.choices
    assert choice.message.content == expected.text
    assert (choice.finish_reason, choice.index, choice.logprobs) == (expected.finish_reason, 0, None)
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == expected.input_tokens
    assert completion.usage.completion_tokens == expected.output_tokens
    assert completion.usage.total_tokens == expected.input_tokens + expected.output_tokens
    assert completion.id.startswith("chatcmpl-") and abs(completion.created - time.time()) < 60
    assert completion.system_fingerprint == whole(client).system_fingerprint


def test_a_stream_tells_the_same_in_pieces(client: OpenAI) -> None:
    completion, chunks = whole(client, temperature=0), parts(client, temperature=0)
    first, *middle, last = [chunk.choices[0] for chunk in chunks]
    assert (first.delta.role, first.delta.content) == ("assistant", "")
    assert text_of(chunks) == completion.choices[0].message.content
    assert last.finish_reason == completion.choices[0].finish_reason and last.delta.content is None
    assert all(choice.finish_reason is None for choice in [first, *middle])
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_in_a_stream_that_asks_for_it(client: OpenAI) -> None:
    *chunks, last = parts(client, temperature=0, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage is not None
    expected = whole(client, temperature=0).usage
    assert expected is not None and last.usage.total_tokens == expected.total_tokens
    assert all(chunk.usage is None for chunk in chunks)


def test_the_wire_is_that_of_the_reference(client: OpenAI, server: Any) -> None:
    body = {"model": "tiny", **ASKED, "stream": True, "stream_options": {"include_usage": True}}
    response = httpx.post(f"{server.url}/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, end = response.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    sent = [json.loads(event.removeprefix("data: ")) for event in events]
    assert all(set(chunk) >= {"id", "object", "created", "model", "choices", "usage"} for chunk in sent)
    assert set(sent[0]["choices"][0]) == {"index", "delta", "logprobs", "finish_reason"}
    assert sent[-2]["choices"][0]["delta"] == {}


def test_several_answers_differ_and_are_repeated_by_their_seed(client: OpenAI) -> None:
    first, again = (whole(client, n=3, seed=11, temperature=1.5) for _ in range(2))
    said = [choice.message.content for choice in first.choices]
    assert len(set(said)) > 1 and [choice.index for choice in first.choices] == [0, 1, 2]
    assert said == [choice.message.content for choice in again.choices]
    # The second answer is the first one of the next seed.
    assert said[1] == whole(client, seed=12, temperature=1.5).choices[0].message.content
    chunks = parts(client, n=3, seed=11, temperature=1.5)
    assert said == [text_of(chunks, i) for i in range(3)]
    assert first.usage is not None and first.usage.prompt_tokens == whole(client).usage.prompt_tokens  # type: ignore[union-attr]


def test_temperature_is_one_unless_given(client: OpenAI) -> None:
    assert whole(client, seed=5).choices[0] == whole(client, seed=5, temperature=1, top_p=1).choices[0]


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(client: OpenAI) -> None:
    said = whole(client, temperature=0).choices[0].message.content or ""
    stop = said[len(said) // 2 :][:3]
    cut = whole(client, temperature=0, stop=[stop, "never said"]).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.message.content == said[: said.index(stop)].rstrip()
    assert text_of(parts(client, temperature=0, stop=stop)) == cut.message.content


def test_both_names_of_the_longest_answer_mean_the_same(client: OpenAI) -> None:
    asked = {"messages": ASKED["messages"], "model": "tiny", "temperature": 0}
    old = client.chat.completions.create(**asked, max_tokens=3)
    new = client.chat.completions.create(**asked, max_completion_tokens=3)
    assert old.choices == new.choices and old.choices[0].finish_reason == "length"


def test_logprobs_come_with_their_bytes(client: OpenAI) -> None:
    (choice,) = whole(client, temperature=0, logprobs=True, top_logprobs=2).choices
    assert choice.logprobs is not None and choice.logprobs.content
    for token in choice.logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 2
        # Greedy: the chosen token is the likeliest.
        assert token.top_logprobs[0].token == token.token
    raw = b"".join(bytes(token.bytes or []) for token in choice.logprobs.content)
    assert raw.decode("utf-8", "replace").strip() == choice.message.content
    streamed = [chunk.choices[0].logprobs for chunk in parts(client, temperature=0, logprobs=True, top_logprobs=2)]
    tokens = [token for logprobs in streamed if logprobs for token in logprobs.content or []]
    assert [token.token for token in tokens] == [token.token for token in choice.logprobs.content]
    plain = whole(client, temperature=0, logprobs=True).choices[0].logprobs
    assert plain is not None and plain.content and plain.content[0].top_logprobs == []


class Ladder(BaseModel):
    steps: int
    wood: bool


def test_json_follows_its_schema(client: OpenAI) -> None:
    asked = {"model": "tiny", **ASKED, "max_tokens": 60, "temperature": 0}
    parsed = client.chat.completions.parse(**asked, response_format=Ladder).choices[0].message.parsed
    assert isinstance(parsed, Ladder)
    with client.chat.completions.stream(**asked, response_format=Ladder) as stream:
        kinds = {event.type for event in stream}
        assert stream.get_final_completion().choices[0].message.parsed == parsed
    assert {"chunk", "content.delta", "content.done"} <= kinds


def test_json_mode_writes_an_object_or_its_beginning(client: OpenAI) -> None:
    (choice,) = whole(client, max_tokens=60, response_format={"type": "json_object"}).choices
    text = choice.message.content or ""
    assert text.startswith("{") and (choice.finish_reason == "length" or isinstance(json.loads(text), dict))


def test_a_schema_that_cannot_be_held_to_is_refused(client: OpenAI) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no such type"}}}
    assert refused(client, response_format=schema)["param"] == "response_format"


def test_parts_and_earlier_turns_are_read_as_texts(client: OpenAI) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"what": "ladder"}'}}
    talk = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "What is"}, {"type": "text", "text": "this?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "A ladder.", "tool_call_id": "1"},
    ]
    told = ChatRequest.model_validate({"model": "tiny", "messages": talk}).turns
    assert told[1]["content"] == "What is\nthis?"
    plain = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is\nthis?"},
        {
            "role": "assistant",
            "content": '<tool_call>\n{"name": "find", "arguments": {"what": "ladder"}}\n</tool_call>',
        },
        {"role": "user", "content": "<tool_response>\nA ladder.\n</tool_response>"},
    ]
    one, other = (whole(client, messages=messages, temperature=0) for messages in (talk, plain))
    assert one.choices == other.choices
    # A message that was received can be sent back as it came.
    said = one.choices[0].message.model_dump()
    assert whole(client, messages=[*ASKED["messages"], said, *ASKED["messages"]]).choices


def test_tools_are_described_as_in_training(client: OpenAI) -> None:
    function = {"name": "find", "parameters": {"type": "object"}, "description": "Finds things."}
    tools = [{"type": "function", "function": function}]
    without, none, auto = (
        whole(client, temperature=0, **more).usage.prompt_tokens  # type: ignore[union-attr]
        for more in ({}, {"tools": tools, "tool_choice": "none"}, {"tools": tools})
    )
    assert without == none < auto
    (tool,) = ChatRequest.model_validate({"model": "tiny", **ASKED, "tools": tools}).offered_tools
    assert list(tool.sent["function"]) == list(function)


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_type"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "hello"}, "messages", "invalid_type"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "pope", "content": "x"}]}, "messages[0]", "invalid_value"),
        ({"messages": [{"role": "assistant"}]}, "messages[0]", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_completion_tokens": 5}, "max_tokens", "invalid_value"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"presence_penalty": 0.5}, "presence_penalty", "unsupported_value"),
        ({"logit_bias": {"5": 100}}, "logit_bias", "unsupported_parameter"),
        ({"tool_choice": "required"}, "tool_choice", "unsupported_value"),
        ({"functions": [{"name": "x"}]}, "functions", "unsupported_parameter"),
        ({"extra_body": {"beams": 4}}, "beams", "unknown_parameter"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "messages[0].content[0].image_url",
            "unsupported_value",
        ),
    ],
)
def test_what_is_wrong_is_said_of_its_parameter(client: OpenAI, more: dict[str, Any], param: str, code: str) -> None:
    body = refused(client, **more)
    assert (body["param"], body["code"], body["type"]) == (param, code, "invalid_request_error")
    assert body["message"].endswith(".") and "Traceback" not in body["message"]


def test_text_that_is_none_is_refused(server: Any) -> None:
    """JSON can bring half a character, and numbers that are none."""
    talk = b'"messages": [{"role": "user", "content": "%b"}]'
    for body in (
        b'{"model": "tiny", %b}' % (talk % b"\\ud800"),
        b'{"model": "\\udc00", %b}' % (talk % b"x"),
        b'{"model": "tiny", "prediction": {"a": NaN}, %b}' % (talk % b"x"),
        b'{"\\ud800": 1}',
    ):
        headers = {"content-type": "application/json"}
        response = httpx.post(f"{server.url}/chat/completions", content=body, headers=headers)
        assert response.status_code == 400 and response.json()["error"]["type"] == "invalid_request_error"
    assert httpx.post(f"{server.url}/chat/completions", content=b"messages=none").status_code == 400


def test_neutral_values_of_what_is_not_offered_are_right(client: OpenAI) -> None:
    neutral = {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "tools": [], "user": "someone"}
    hints = {"store": True, "metadata": {"a": "b"}, "service_tier": "auto", "safety_identifier": "x", "n": None}
    completion = whole(client, **neutral, **hints)
    assert completion.service_tier == "default"


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    body = refused(client, 404, model="gpt-4o-mini")
    assert (body["code"], body["param"]) == ("model_not_found", "model")


def test_what_the_context_cannot_hold_is_refused_with_the_numbers(client: OpenAI) -> None:
    body = refused(client, max_tokens=5000)
    assert (body["code"], body["param"]) == ("context_length_exceeded", "messages")
    assert "512" in body["message"] and "5000" in body["message"]
    long = [{"role": "user", "content": "ladder " * 600}]
    assert refused(client, messages=long, max_tokens=None)["code"] == "context_length_exceeded"


def test_an_answer_of_no_given_length_ends(client: OpenAI) -> None:
    (choice,) = whole(client, max_tokens=None, seed=3).choices
    assert choice.finish_reason in ("stop", "length")


def test_asynchronous_clients_ask_at_once(server: Any, client: OpenAI) -> None:
    async def both() -> tuple[list[ChatCompletion], str]:
        async with AsyncOpenAI(base_url=server.url, api_key="none") as asynchronous:
            ask = asynchronous.chat.completions.create
            several = await asyncio.gather(*[ask(model="tiny", **ASKED, temperature=0) for _ in range(20)])
            stream = await ask(model="tiny", **ASKED, temperature=0, stream=True)
            return several, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    several, streamed = asyncio.run(both())
    expected = whole(client, temperature=0).choices[0].message.content
    assert {completion.choices[0].message.content for completion in several} == {expected} == {streamed}


def until(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def endless(server: Any) -> Iterator[dict[str, Any]]:
    """A request whose answers do not end by themselves: no end may be written within a string."""
    asked = {"model": "tiny", "messages": ASKED["messages"], "max_tokens": 450, "n": 4}
    letters = {"name": "x", "schema": {"type": "string", "minLength": 4000}}
    yield {**asked, "response_format": {"type": "json_schema", "json_schema": letters}}


def test_the_rows_of_a_stream_leave_with_its_client(client: OpenAI, server: Any, endless: dict[str, Any]) -> None:
    stream = client.chat.completions.create(**endless, stream=True)
    for _ in range(8):
        next(stream)
    assert server.models.running_and_waiting()[0] == 4
    stream.close()
    until(lambda: server.models.running_and_waiting() == (0, 0), 2)


def test_the_rows_of_a_whole_answer_leave_with_its_client(server: Any, endless: dict[str, Any]) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/chat/completions", json=endless, timeout=httpx.Timeout(5, read=0.2))
    until(lambda: server.models.running_and_waiting() == (0, 0), 2)


def test_an_error_ends_a_stream_and_says_so(client: OpenAI, server: Any, endless: dict[str, Any]) -> None:
    stream = client.chat.completions.create(**endless, stream=True)
    for _ in range(6):
        next(stream)
    server.models.close()
    with pytest.raises(openai.APIError, match=r"[Ss]erver"):
        for _ in stream:
            pass


def test_an_answer_that_fails_is_an_error_of_the_server(server: Any, endless: dict[str, Any]) -> None:
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(httpx.post, f"{server.url}/chat/completions", json=endless, timeout=20)
        until(lambda: server.models.running_and_waiting()[0] == 4)
        server.models.close()
        response = asked.result()
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"


def test_a_full_line_says_when_to_come_back(client: OpenAI, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.models.live.MOST_WAITING", 0)
    with pytest.raises(openai.InternalServerError) as raised:
        whole(client)
    assert raised.value.status_code == 503 and raised.value.response.headers["retry-after"] == "1"
    assert raised.value.code == "engine_overloaded"


def test_what_was_answered_is_counted(client: OpenAI, server: Any) -> None:
    usage = whole(client, n=2, temperature=0).usage
    until(lambda: server.app.state.stats.requests == 2)
    assert usage is not None and server.app.state.stats.output_tokens == usage.completion_tokens


def test_tokens_of_a_key_run_out(client: OpenAI) -> None:
    _, key = keys.create("small", tokens_per_minute=60)
    limited = client.with_options(api_key=key)
    whole(limited)
    with pytest.raises(openai.RateLimitError) as raised:
        for _ in range(5):
            whole(limited)
    assert raised.value.code == "rate_limit_exceeded" and int(raised.value.response.headers["retry-after"]) > 0


def test_requests_are_checked_strictly() -> None:
    with pytest.raises(ValidationError):
        ChatRequest.model_validate({"model": "tiny", "messages": [{"role": "user", "content": "x", "colour": "red"}]})
    with pytest.raises(ValidationError):
        ChatRequest.model_validate({"model": "tiny", **ASKED, "temperature": float("nan")})

"""Clients that mean no good, or ask for too much: a clear refusal for them, and no harm to the others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from core.api import embeddings, strict
from core.api.app import create_app
from core.api.chat_types import Function, Tool
from core.api.errors import ApiError
from core.api.models import Models
from core.api.stats import Stats
from core.api.vllm import Vllm
from core.models import loading
from core.models.live import Engine
from tests.api.conftest import Served

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def tool(parameters: dict[str, Any]) -> Tool:
    return Tool(type="function", function=Function(name="look", strict=True, parameters=parameters))


def allowed(parameters: dict[str, Any], arguments: object) -> bool:
    return strict.allows(tool(parameters).function, arguments)


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """The address of a schema on another server, and the paths that were asked for there."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/inside.json", asked
        server.shutdown()


def test_a_client_s_schema_makes_the_server_fetch_nothing(elsewhere: tuple[str, list[str]]) -> None:
    address, asked = elsewhere
    schema = {"$ref": address}
    assert not allowed(schema, {"a": 1})
    with pytest.raises(ApiError, match="nothing is fetched") as caught:
        strict.check([tool(schema)])
    assert (caught.value.status, caught.value.param) == (400, "tools[0].function.parameters")
    assert asked == []


@pytest.mark.parametrize("key", ["properties", "patternProperties"])
def test_a_pattern_that_runs_away_is_stopped(key: str) -> None:
    text = "a" * 60 + "!"
    runaway = "^(a|a)+$"
    schema = {key: {runaway: {}}} if key == "patternProperties" else {key: {"a": {"pattern": runaway}}}
    began = time.monotonic()
    assert not allowed(schema, {text: 1} if key == "patternProperties" else {"a": text})
    assert time.monotonic() - began < 5


def test_a_schema_that_doubles_with_every_reference_is_stopped() -> None:
    doubling: dict[str, Any] = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    began = time.monotonic()
    assert not allowed({"$defs": doubling | {"d40": {}}, "$ref": "#/$defs/d0"}, {"a": 1})
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$ref": "#/nowhere"}, {"properties": {"a": {"pattern": "("}}}])
def test_what_cannot_be_decided_is_not_allowed(schema: dict[str, Any]) -> None:
    assert not allowed(schema, {"a": "b"})


def test_honest_schemas_decide() -> None:
    schema = {
        "$defs": {"city": {"type": "string", "pattern": "^[A-Z]"}},
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "patternProperties": {"^n_": {"type": "integer"}},
        "additionalProperties": False,
    }
    strict.check([tool(schema)])
    assert allowed(schema, {"city": "Rome", "n_days": 3})
    assert not allowed(schema, {"city": "rome"})
    assert not allowed(schema, {"city": "Rome", "n_days": "3"})
    assert not allowed(schema, {"town": "Rome"})


@pytest.mark.parametrize("schema", [{"type": 5}, {"unevaluatedProperties": False}])
@pytest.mark.integration
def test_a_strict_function_needs_a_schema(client: openai.OpenAI, server: Served, schema: dict[str, Any]) -> None:
    function: Any = {"type": "function", "function": {"name": "look", "strict": True, "parameters": schema}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=server.model, messages=HELLO, tools=[function])
    assert caught.value.param == "tools[0].function.parameters"


@pytest.mark.integration
def test_a_schema_too_deep_to_be_held_to_is_the_request_s_mistake(client: openai.OpenAI, server: Served) -> None:
    deep: Any = {"enum": [json.loads("[" * 300 + "]" * 300)]}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "deep", "schema": deep}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=server.model, messages=HELLO, response_format=wanted)
    assert caught.value.param == "response_format"


@pytest.mark.integration
def test_megabytes_are_refused_before_they_are_cut_into_tokens(
    server: Served, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.chat.completions.create(model=server.model, messages=HELLO, max_tokens=1)

    def never(*_: object) -> list[int]:
        raise AssertionError("it was cut into tokens")

    monkeypatch.setattr(Engine, "tokenize", never)
    for ask in (
        lambda: client.chat.completions.create(
            model=server.model, messages=[{"role": "user", "content": "word " * 500_000}]
        ),
        lambda: client.completions.create(model=server.model, prompt="word " * 500_000),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask()
        assert caught.value.code == "context_length_exceeded"


@pytest.mark.integration
def test_a_request_for_more_answers_than_may_wait_is_not_told_to_come_back(
    client: openai.OpenAI, server: Served
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=server.model, prompt=["a"] * 128, n=8, max_tokens=1)
    assert caught.value.param == "n"


@pytest.mark.integration
def test_a_model_being_opened_holds_up_nobody_who_asks_another(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow").symlink_to(tiny_model)
    models = Models([str(tiny_model), str(tmp_path / "slow")])
    opened, real = threading.Event(), loading.load_model

    def slowly(model: str) -> Any:
        if model.endswith("slow"):
            opened.wait(60)
        return real(model)

    monkeypatch.setattr(loading, "load_model", slowly)
    from starlette.testclient import TestClient

    def ask(model: str) -> int:
        body = {"model": model, "messages": HELLO, "max_tokens": 1}
        return http.post("/v1/chat/completions", json=body).status_code

    with TestClient(create_app(models), base_url="http://127.0.0.1") as http, ThreadPoolExecutor(20) as threads:
        assert ask("tiny") == 200
        waiting = [threads.submit(ask, "slow") for _ in range(16)]
        time.sleep(0.5)
        quick = threads.submit(ask, "tiny")
        try:
            assert quick.result(20) == 200
            assert not any(each.done() for each in waiting)
        finally:
            opened.set()
        assert [each.result(60) for each in waiting] == [200] * 16
    models.close()


@pytest.mark.integration
def test_many_texts_to_embed_let_others_have_their_turn(
    client: openai.OpenAI, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.models.embedding import Embedder

    steps, real = [], Embedder.embed

    def noted(embedder: Embedder, texts: Sequence[str]) -> Any:
        steps.append(len(texts))
        time.sleep(0.05)
        return real(embedder, texts)

    def ask(count: int) -> int:
        return len(client.embeddings.create(model="all-minilm-l6-v2", input=["word"] * count).data)

    ask(1)
    monkeypatch.setattr(Embedder, "embed", noted)
    with ThreadPoolExecutor(2) as threads:
        many = threads.submit(ask, 10 * embeddings.STEP)
        while not steps:
            time.sleep(0.01)
        assert ask(1) == 1
        assert not many.done()
        assert many.result() == 10 * embeddings.STEP
    assert steps.index(1) < len(steps) - 1


@pytest.mark.integration
def test_a_model_that_goes_in_the_very_moment_it_is_asked_is_asked_again(client: openai.OpenAI, server: Served) -> None:
    engine, _, _ = server.models.engine_for(server.model)
    engine.close()
    with pytest.raises(openai.InternalServerError) as caught:
        client.completions.create(model=server.model, prompt="a", max_tokens=1)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"] == "1"


def test_an_adapter_is_answered_by_transformers_when_vllm_ends_while_it_is_put_on(tmp_path: Path) -> None:
    import asyncio

    from core.api.names import Offered

    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')

    class Ending(Vllm):
        def __init__(self) -> None:
            self.base, self._stats, self._loaded, self._adding = "base", Stats(), set(), asyncio.Lock()

        @property
        def alive(self) -> bool:
            return True

        def _client(self) -> httpx2.AsyncClient:
            def refuse(request: httpx2.Request) -> httpx2.Response:
                raise httpx2.ConnectError("refused", request=request)

            return httpx2.AsyncClient(base_url="http://127.0.0.1", transport=httpx2.MockTransport(refuse))

    assert asyncio.run(Ending().has(Offered("ft:base:x:y:1", 0, "x", "base", folder=folder))) is False

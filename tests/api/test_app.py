"""The door and the form of every refusal, over a real connection."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import httpx2
import openai
import pytest
from pydantic import BaseModel

from core.api import doors, keys, serve_job
from tests.api.conftest import Served

# Of a request that brings no file.
MOST = 10_240_000


@pytest.fixture
def http(server: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.root, timeout=30) as made:
        yield made


def refusal(response: httpx2.Response) -> dict[str, str | None]:
    """The error of an answer, once it has been seen to have exactly the fields that the reference names."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and error["message"].endswith((".", ")"))
    return error


def test_health_is_told_to_everyone_and_says_nothing_else(http: httpx2.Client) -> None:
    keys.create("somebody")
    assert http.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/v1/nothing", "/", "/v1/models/../../etc/passwd"])
def test_unknown_url_is_refused_in_the_api_s_form(http: httpx2.Client, path: str) -> None:
    response = http.get(path)
    assert response.status_code == 404
    assert refusal(response)["type"] == "invalid_request_error"


def test_wrong_method_names_the_right_ones(http: httpx2.Client) -> None:
    for path, methods in (("/v1/models", "GET"), ("/v1/models/tiny", "GET, DELETE"), ("/v1/files", "GET, POST")):
        response = http.put(path)
        assert response.status_code == 405
        assert response.headers["allow"] == methods
        assert refusal(response)["code"] == "method_not_supported"


def test_a_mistake_in_the_body_is_named_by_its_path(http: httpx2.Client) -> None:
    wrong = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}, {"role": "user", "content": 7}]}
    error = refusal(http.post("/v1/chat/completions", json=wrong))
    assert error["param"] == "messages[1].content"
    error = refusal(http.post("/v1/chat/completions", json={"model": "tiny"}))
    assert (error["param"], error["code"]) == ("messages", "missing_required_parameter")
    error = refusal(http.post("/v1/chat/completions", json={"model": "tiny", "messages": [], "colour": "red"}))
    assert error["param"] in ("messages", "colour")


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff\xfe", b'{"model": ' + b"9" * 5000 + b"}", b"null"])
def test_what_is_no_json_is_refused_and_hurts_nobody(http: httpx2.Client, body: bytes) -> None:
    response = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    refusal(response)


def test_half_a_character_in_a_name_is_refused_not_fatal(http: httpx2.Client) -> None:
    body = b'{"model": "\\ud800", "messages": [{"role": "user", "content": "Hello"}]}'
    response = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert 400 <= response.status_code < 500
    refusal(response)


def test_unforeseen_errors_tell_the_client_nothing(
    server: Served, http: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    @server.app.get("/v1/broken")
    def broken() -> None:
        raise RuntimeError("the password is 1234")

    response = http.get("/v1/broken")
    assert response.status_code == 500
    assert refusal(response)["type"] == "server_error"
    assert "1234" not in response.text
    assert "1234" in caplog.text


def test_refusals_reach_the_official_client_as_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert str(caught.value.request_id).startswith("req_")
    assert str(client.models.list()._request_id).startswith("req_")


# What comes from web pages


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example:8000"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
def test_a_web_page_cannot_use_the_server_without_a_key(http: httpx2.Client, headers: dict[str, str]) -> None:
    response = http.get("/v1/models", headers=headers)
    assert response.status_code == 403
    assert refusal(response)["code"] == "forbidden_origin"


def test_with_a_key_it_does_not_matter_where_a_request_comes_from(http: httpx2.Client) -> None:
    _, key = keys.create("page")
    headers = {"Authorization": f"Bearer {key}", "Origin": "https://app.example", "Host": "models.example"}
    response = http.get("/v1/models", headers=headers)
    assert response.status_code == 200
    # Pages elsewhere are still not allowed to read the answer.
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_programs_of_this_computer_come_in_by_each_of_its_names(http: httpx2.Client, host: str) -> None:
    assert http.get("/v1/models", headers={"Host": host}).status_code == 200


# Size


def test_a_body_that_says_it_is_too_large_is_refused(http: httpx2.Client) -> None:
    response = http.post("/v1/chat/completions", json={"model": "x" * (MOST + 10)})
    assert response.status_code == 413
    assert refusal(response)["code"] == "request_too_large"


def test_a_body_without_a_length_is_read_no_further_than_the_limit(http: httpx2.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100 * MOST:
            sent += 100_000
            yield b" " * 100_000

    headers = {"content-type": "application/json"}
    response = http.post("/v1/chat/completions", content=endless(), headers=headers)
    assert response.status_code == 413
    assert refusal(response)["code"] == "request_too_large"
    # What is drained afterwards is bounded as well.
    assert sent < 30 * MOST


def test_a_stranger_s_body_is_not_even_parsed(server: Served, http: httpx2.Client) -> None:
    keys.create("somebody")
    response = http.post("/v1/chat/completions", content=b"{", headers={"content-type": "application/json"})
    assert response.status_code == 401


# Many, and slow


def test_two_hundred_connections_at_once_are_all_answered(server: Served) -> None:
    async def ask_all() -> list[int]:
        bounds = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=server.url, timeout=60, limits=bounds) as http:
            answers = await asyncio.gather(*(http.get("/models") for _ in range(200)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(ask_all()) == [200] * 200


def test_a_client_that_stops_in_the_middle_is_let_go(
    server: Served, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "BODY_WAIT_S", 0.3)
    monkeypatch.setattr(doors, "DRAINED_S", 0.3)
    port = int(server.root.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
        slow.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
        # Others are answered meanwhile.
        assert http.get("/v1/models").status_code == 200
        answer = slow.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"error"' in answer


def test_a_connection_without_a_request_is_let_go(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_job, "HEADERS_S", 0.3)
    port = int(server.root.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as idle:
        idle.sendall(b"GET /v1/mod")
        assert idle.recv(1) == b""


def test_more_requests_than_the_server_holds_are_asked_to_come_back(
    server: Served, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "MOST_OPEN", 0)
    response = http.get("/v1/models")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert refusal(response)["code"] == "server_overloaded"


# What the document says


def test_the_openapi_document_tells_of_refusals_in_their_real_form(http: httpx2.Client) -> None:
    document = http.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"], path
            if path != "/health":
                # Until a key is made none is needed here.
                assert operation["security"] == [{"HTTPBearer": []}, {}], path
                for kind in ("4XX", "5XX"):
                    schema = operation["responses"][kind]["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorResponse"}, path
    assert "HTTPValidationError" not in json.dumps(document)


class Body(BaseModel):
    inner: dict[str, list[int | str]]


def test_paths_leave_out_the_variants_that_were_tried(server: Served, http: httpx2.Client) -> None:
    @server.app.post("/v1/nested")
    def nested(body: Body) -> None:
        raise AssertionError

    error = refusal(http.post("/v1/nested", json={"inner": {"a": [1, {"b": 2}]}}))
    assert error["param"] == "inner.a[1]"

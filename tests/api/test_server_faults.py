"""What clients, people and the machine do to a server that runs; each time the others are answered as before.

One real server process for all of it, on the tiny model with an adapter.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import httpx2
import openai
import psutil
import pytest

from core.api import keys, serve_job, tunings
from core.api.models import public_name
from core.jobs import queue
from core.settings import get_settings
from core.store import database
from core.store.tables import Adapter
from tests.api import wire
from tests.factories import jsonl, sorting

pytestmark = pytest.mark.integration
T = TypeVar("T")
WAIT_S = 240
EMBEDDER = "all-minilm-l6-v2"
CHAT: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "What is a rung?"}],
    "max_tokens": 12,
    "temperature": 0,
}
# No end may be written within the string, so these answers last until they are as long as may be.
LETTERS = {"name": "x", "schema": {"type": "string", "minLength": 4000}}
ENDLESS = CHAT | {"max_tokens": 450, "response_format": {"type": "json_schema", "json_schema": LETTERS}}
# What two hundred requests at once may cost a process that holds its models already.
MOST_GROWTH = 300e6


@contextmanager
def at_home(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOWEST_RUNG_HOME", str(folder))
        get_settings.cache_clear()
        yield
        database.forget(get_settings().records_url)
    get_settings.cache_clear()


def until(look: Callable[[], T | None], seconds: float = WAIT_S) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError([(job.kind, job.status, job.error, queue.log_tail(job.id)) for job in queue.jobs()])


def answering() -> str:
    """The server's URL once it answers."""

    def look() -> str | None:
        found = serve_job.running()
        return found.url if found else None

    return until(look)


@pytest.fixture(scope="module")
def server_home(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder whose server runs."""
    folder = tmp_path_factory.mktemp("served")
    with at_home(folder):
        job_id = serve_job.start(port=0, model=str(tiny_model))
        url = answering()
        # From here on it holds what it will need for long.
        httpx2.post(f"{url}/chat/completions", json=CHAT, timeout=WAIT_S)
        httpx2.post(f"{url}/embeddings", json={"model": EMBEDDER, "input": "A rung"}, timeout=WAIT_S)
    yield folder
    with at_home(folder):
        for job in queue.jobs():
            if job.status in queue.ACTIVE:
                queue.request_stop(job.id)
        until(lambda: queue.reconcile() or queue.get(job_id).status not in queue.ACTIVE)


@pytest.fixture
def server_at(home: Path, server_home: Path) -> Iterator[str]:
    """The root of the server's URL; the records are those of its home."""
    with at_home(server_home):
        yield answering().removesuffix("/v1")


@pytest.fixture
def http(server_at: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server_at, timeout=WAIT_S) as made:
        yield made


def said(http: httpx2.Client, model: str = "tiny") -> str:
    answer = http.post("/v1/chat/completions", json=CHAT | {"model": model})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def refused(answer: httpx2.Response, status: int, code: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    wire.check("", "", status, answer.headers["content-type"], answer.content)
    if code is not None:
        assert answer.json()["error"]["code"] == code


def process() -> psutil.Process:
    found = serve_job.running()
    assert found is not None
    return psutil.Process(found.job.pid)


def figures(name: str, since: float) -> list[float]:
    """What the server has written down since, which it does every few seconds."""
    found = serve_job.running()
    assert found is not None
    return [value for _, _, _, value, at in queue.metrics(found.job.id, names=(name,)) if at > since]


def nothing_runs_any_more() -> None:
    now = time.time()
    until(lambda: 0 in figures("running", now) and figures("waiting", now)[-1] == 0, 60)


# Many at once


def test_two_hundred_at_once_get_right_answers_and_right_refusals(http: httpx2.Client, server_at: str) -> None:
    expected = said(http)
    vector = http.post("/v1/embeddings", json={"model": EMBEDDER, "input": "A rung"}).json()["data"][0]["embedding"]
    chat, form = "/v1/chat/completions", {"purpose": "fine-tune"}
    shaped = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["red", "green"]}}}

    async def whole(ask: httpx2.AsyncClient) -> None:
        answer = await ask.post(chat, json=CHAT)
        assert answer.json()["choices"][0]["message"]["content"] == expected

    async def streamed(ask: httpx2.AsyncClient) -> None:
        answer = await ask.post(chat, json=CHAT | {"stream": True})
        parts = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in wire.events(answer.content)]
        assert "".join(parts) == expected

    async def in_form(ask: httpx2.AsyncClient) -> None:
        answer = await ask.post(chat, json=CHAT | {"response_format": shaped, "temperature": 2})
        assert json.loads(answer.json()["choices"][0]["message"]["content"]) in ("red", "green")

    async def embedded(ask: httpx2.AsyncClient) -> None:
        answer = await ask.post("/v1/embeddings", json={"model": EMBEDDER, "input": "A rung"})
        assert answer.json()["data"][0]["embedding"] == pytest.approx(vector, abs=1e-5)

    async def stored(ask: httpx2.AsyncClient) -> None:
        content = os.urandom(100_000)
        file = (await ask.post("/v1/files", data=form, files={"file": ("a.jsonl", content)})).json()["id"]
        assert (await ask.get(f"/v1/files/{file}/content")).content == content
        assert (await ask.delete(f"/v1/files/{file}")).json()["deleted"]

    async def listed(ask: httpx2.AsyncClient) -> None:
        assert "tiny" in [model["id"] for model in (await ask.get("/v1/models")).json()["data"]]

    async def unknown(ask: httpx2.AsyncClient) -> None:
        refused(await ask.post(chat, json=CHAT | {"model": "gpt-9"}), 404, "model_not_found")

    async def broken(ask: httpx2.AsyncClient) -> None:
        refused(await ask.post(chat, content=b"{", headers={"content-type": "application/json"}), 400)

    async def huge(ask: httpx2.AsyncClient) -> None:
        refused(await ask.post(chat, content=b" " * 11_000_000), 413, "request_too_large")

    async def no_job(ask: httpx2.AsyncClient) -> None:
        refused(await ask.post(wire.JOBS, json={"model": "tiny", "training_file": "file-x"}), 400, "file_not_found")

    kinds = (whole, streamed, in_form, embedded, stored, listed, unknown, broken, huge, no_job)

    async def all_at_once() -> None:
        bounds = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=server_at, timeout=WAIT_S, limits=bounds) as ask:
            await asyncio.gather(*(kinds[i % len(kinds)](ask) for i in range(200)))

    before = process().memory_info().rss
    once, again = (_most_memory(lambda: asyncio.run(all_at_once())) for _ in range(2))
    assert once - before < MOST_GROWTH, f"{(once - before) / 1e6:.0f} MB more"
    assert again - once < MOST_GROWTH / 4, f"{(again - once) / 1e6:.0f} MB more the second time"


def _most_memory(work: Callable[[], None]) -> int:
    """The most bytes that the server's process held while this was done."""
    held, ended = [process().memory_info().rss], Event()

    def watch() -> None:
        server = process()
        while not ended.wait(0.02):
            held.append(server.memory_info().rss)

    watching = Thread(target=watch)
    watching.start()
    try:
        work()
    finally:
        ended.set()
        watching.join()
    return max(held)


# What is sent


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "\xff\xfe"}]}', "application/json"),
        (b'{"model": "tiny", "messages": ', "application/json"),
        (b'{"a":' * 50_000, "application/json"),
        (b'{"model": "tiny", "messages": [], "temperature": NaN}', "application/json"),
        (b"model=tiny", "application/x-www-form-urlencoded"),
        (b"\x00\x01\x02", "application/octet-stream"),
        (b"", "application/json"),
        (b"{}", "multipart/form-data"),
    ],
    ids=["not utf-8", "cut off", "deep", "no number", "form", "bytes", "empty", "form without border"],
)
@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", wire.JOBS, "/v1/files"])
def test_bodies_that_are_none(http: httpx2.Client, route: str, content: bytes, kind: str) -> None:
    refused(http.post(route, content=content, headers={"content-type": kind}), 400)


@pytest.mark.parametrize(
    "content",
    [
        b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nnever ended",
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n\xff\xfe\r\n--b--\r\n',
        b"--c\r\n\r\n--c--\r\n",
        b"--b\r\n" + b"X: y\r\n" * 5000 + b"\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: " + b"x" * 100_000 + b"\r\n\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n' * 2000 + b"--b--\r\n",
    ],
    ids=["no end", "no file", "not utf-8", "other border", "many headers", "long header", "many fields"],
)
def test_forms_that_are_none(http: httpx2.Client, server_home: Path, content: bytes) -> None:
    before = http.get("/v1/files").json()["data"]
    answer = http.post("/v1/files", content=content, headers={"content-type": "multipart/form-data; boundary=b"})
    refused(answer, 400)
    assert http.get("/v1/files").json()["data"] == before


def test_a_nul_is_a_character_like_others(http: httpx2.Client) -> None:
    nul = "a\x00b"
    for answer, status in (
        (http.post("/v1/chat/completions", json=CHAT | {"messages": [{"role": "user", "content": nul}]}), 200),
        (http.post("/v1/completions", json={"model": "tiny", "prompt": nul, "max_tokens": 2, "stop": nul}), 200),
        (http.post("/v1/embeddings", json={"model": EMBEDDER, "input": nul}), 200),
        (http.post("/v1/chat/completions", json=CHAT | {"model": nul}), 404),
        (http.post(wire.JOBS, json={"model": nul, "training_file": nul, "suffix": nul}), 404),
        (http.get("/v1/models/a%00b"), 404),
        (http.get("/v1/files/a%00b"), 404),
        (http.get(f"{wire.JOBS}/a%00b"), 404),
        (http.get("/v1/files", params={"after": nul}), 400),
        (http.get("/v1/files", params={"purpose": nul}), 200),
    ):
        assert answer.status_code == status, (answer.url, answer.text)


def test_what_is_too_large_is_refused_with_and_without_a_length(http: httpx2.Client, server_home: Path) -> None:
    def endless(most: int) -> Iterator[bytes]:
        for _ in range(most // 2**16):
            yield b" " * 2**16

    for route in ("/v1/chat/completions", "/v1/embeddings", wire.JOBS):
        refused(http.post(route, content=b" " * 11_000_000), 413, "request_too_large")
        refused(http.post(route, content=endless(30_000_000)), 413, "request_too_large")
    assert said(http)


# Slow clients, and those that leave


def test_slow_clients_hold_up_nobody(http: httpx2.Client, server_at: str) -> None:
    expected, address = said(http), ("127.0.0.1", httpx2.URL(server_at).port)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    asks = json.dumps(ENDLESS | {"stream": True}).encode()
    beginnings = (b"", b"POST /v1/ch", head, head + b"Content-Length: 500\r\n\r\n{", head + b"Transfer-Encoding: ch")
    # One reads nothing of what it is sent; its answer is written all the same, and kept in bounds.
    reads_nothing = head + b"Content-Length: %d\r\n\r\n%s" % (len(asks), asks)
    with ExitStack() as stack:
        for i in range(150):
            slow = stack.enter_context(socket.create_connection(address))
            slow.sendall(reads_nothing if i < 5 else beginnings[i % len(beginnings)])
        began = time.monotonic()
        assert said(http) == expected
        assert http.get("/v1/models").status_code == 200
        assert time.monotonic() - began < 30
    nothing_runs_any_more()


def test_the_rows_of_clients_that_leave_are_free_again(http: httpx2.Client, server_at: str) -> None:
    client = openai.OpenAI(base_url=f"{server_at}/v1", api_key="none", max_retries=0)
    began = time.time()
    streams = [client.chat.completions.create(**ENDLESS, n=8, stream=True) for _ in range(24)]
    for stream in streams:
        next(stream)
    until(lambda: any(figures("running", began)))
    for stream in streams:
        stream.close()
    with pytest.raises(httpx2.ReadTimeout):
        http.post("/v1/chat/completions", json=ENDLESS, timeout=httpx2.Timeout(5, read=0.3))
    assert said(http)
    nothing_runs_any_more()


# Keys


def test_keys_that_have_ended_open_no_more(http: httpx2.Client) -> None:
    def ask(key: str) -> httpx2.Response:
        return http.post("/v1/chat/completions", json=CHAT, headers={"authorization": f"Bearer {key}"})

    short, expiring = keys.create("short", expires_at=time.time() + 3)
    long, revoked = keys.create("long")
    try:
        assert ask(revoked).status_code == 200
        until(lambda: ask(expiring).status_code == 401)
        refused(ask(expiring), 401, "invalid_api_key")
        assert ask(revoked).status_code == 200
        keys.revoke(long.id)
        refused(ask(revoked), 401, "invalid_api_key")
        refused(ask("lr-nobody-s"), 401, "invalid_api_key")
        # What is wrong with the request is told to nobody outside.
        refused(http.post("/v1/chat/completions", content=b"{"), 401)
    finally:
        for made in (short, long):
            keys.revoke(made.id)
            keys.forget(made.id)
    assert said(http)


# Things that happen to the machine


@contextmanager
def asked_all_the_while(http: httpx2.Client, expected: str) -> Iterator[list[float]]:
    """Somebody asks one question after another, and gets the same answer each time; how long each took, in seconds."""
    took: list[float] = []
    wrong: list[str] = []
    ended = Event()

    def ask() -> None:
        while not ended.is_set():
            began = time.monotonic()
            try:
                if (answer := said(http)) != expected:
                    wrong.append(answer)
            except (AssertionError, httpx2.HTTPError) as error:
                wrong.append(repr(error))
            took.append(time.monotonic() - began)
            ended.wait(0.05)

    asking = Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        ended.set()
        asking.join()
    assert not wrong and took


def test_a_training_killed_meanwhile_fails_alone_and_goes_on_when_resumed(http: httpx2.Client) -> None:
    expected = said(http)
    with asked_all_the_while(http, expected):
        files = {"file": ("train.jsonl", jsonl(sorting(40)))}
        file = http.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
        asked = {"model": "tiny", "training_file": file, "hyperparameters": {"n_epochs": 2, "batch_size": 1}}
        name = http.post(wire.JOBS, json=asked).json()["id"]

        def job() -> Any:
            return http.get(f"{wire.JOBS}/{name}").json()

        def learning() -> int | None:
            found = tunings.find(name).job
            return found.pid if found and found.kind == "train" and found.done >= 2 and found.pid else None

        os.kill(until(learning), signal.SIGKILL)
        failed = until(lambda: found if (found := job())["status"] not in ("running", "queued") else None)
        assert (failed["status"], failed["error"]["code"]) == ("failed", "interrupted")
        assert failed["fine_tuned_model"] is None
        http.post(f"{wire.JOBS}/{name}/resume")
        done = until(lambda: found if (found := job())["status"] in ("succeeded", "failed") else None)
        assert done["status"] == "succeeded", done
    assert said(http, done["fine_tuned_model"])


def adapter(tiny_model: Path, name: str) -> Adapter:
    """A LoRA adapter of random weights on the tiny model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    config = LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear", init_lora_weights=False)
    made = Adapter(name=name, base_model=str(tiny_model), method="lora", path=f"adapters/{name}", recipe={"rank": 8})
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
    network.save_pretrained(get_settings().home / made.path)
    with database.session() as db:
        db.add(made)
    return made


def test_an_adapter_whose_folder_is_gone_hurts_nobody_else(http: httpx2.Client, tiny_model: Path) -> None:
    expected = said(http)
    served, unopened = adapter(tiny_model, "served"), adapter(tiny_model, "unopened")
    tuned = said(http, public_name(served))
    assert tuned != expected
    with http.stream(
        "POST", "/v1/chat/completions", json=CHAT | {"model": public_name(served), "max_tokens": 200, "stream": True}
    ) as stream:
        lines = stream.iter_lines()
        next(lines)
        for made in (served, unopened):
            shutil.rmtree(get_settings().home / made.path)
        # What was begun is ended: its matrices are in memory.
        assert "data: [DONE]" in list(lines)
    for made in (served, unopened):
        answer = http.post("/v1/chat/completions", json=CHAT | {"model": public_name(made)})
        refused(answer, 503, "model_not_available")
        assert str(get_settings().home) not in answer.text
    assert said(http) == expected


def test_a_server_that_is_killed_is_known_to_be_and_starts_again(http: httpx2.Client) -> None:
    expected = said(http)
    found = serve_job.running()
    assert found is not None and found.job.pid is not None
    with http.stream("POST", "/v1/chat/completions", json=ENDLESS | {"stream": True}) as stream:
        lines = stream.iter_lines()
        next(lines)
        os.kill(found.job.pid, signal.SIGKILL)
        with pytest.raises(httpx2.HTTPError):
            list(lines)
    with pytest.raises(httpx2.HTTPError):
        said(http)
    until(lambda: serve_job.running() is None)
    assert queue.get(found.job.id).status == "interrupted"
    queue.resume(found.job.id)
    with httpx2.Client(base_url=answering().removesuffix("/v1"), timeout=WAIT_S) as again:
        assert said(again) == expected

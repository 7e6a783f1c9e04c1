"""Answering many at once: our server against itself one request at a time, and against `transformers serve`.

    python -m bench.serve [--requests 32] [--tokens 64] [--probes 20] [--without transformers,batching]

The bundled model, the questions of the demo project, greedy, so many new tokens each. Each server is a process of its
own, asked over loopback. Throughput: output tokens by the server's own count, over the time from the first question to
the last answer; ours at once and one after another, theirs at once, as it comes and with its continuous batching. All
are warmed up by a few other questions before. Time to first token: of questions that come one by one to an idle
server, and of one more that comes while as many clients as --requests each stream one answer after another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from bench.machine import describe
from core.models.catalogue import BUNDLED_MODEL
from core.models.loading import bundled_folder, compute_device

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo"
TASKS = ("facts", "tickets", "cited")
# Room for 16,384 tokens. Left to itself it takes most of the machine's memory, and is killed for it on a busy one.
BATCHING = ["--continuous-batching", "--cb-block-size", "256", "--cb-num-blocks", "64", "--cb-max-batch-tokens", "512"]
# A server that is not up after so long will not be.
START_S = 180
# Between two probes, so that they fall on different moments of the turns.
PAUSE_S = 0.37
Body = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--probes", type=int, default=20)
    parser.add_argument("--without", default="", help="Peers to leave out: transformers, batching.")
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "lowest-rung-bench-serve")
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "LOWEST_RUNG_HOME": str(options.home)}
    print(describe())
    folder = str(bundled_folder())
    chats = _chats()
    warm, asked, probes = chats[:2], chats[2 : 2 + options.requests], chats[2 + options.requests :][: options.probes]
    speeds: dict[str, float] = {}
    texts: dict[str, list[str]] = {}
    port = _free_port()
    ours = [sys.executable, "-m", "core", "serve", "--port", str(port)]
    with _server(ours, port) as url:
        ask = _Asking(url, BUNDLED_MODEL, options.tokens)
        asyncio.run(ask.all(warm))
        speeds["one after another"], _ = asyncio.run(ask.all(asked, at_once=False))
        speeds["ours"], texts["ours"] = asyncio.run(ask.all(asked))
        idle = asyncio.run(ask.first_tokens(probes, []))
        loaded = asyncio.run(ask.first_tokens(probes, asked))
    for name, more in (("transformers", []), ("batching", BATCHING)):
        if name not in options.without.split(","):
            port = _free_port()
            script = str(Path(sys.executable).with_name("transformers"))
            command = [
                script,
                "serve",
                folder,
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--device",
                compute_device(),
                *more,
            ]
            with _server(command, port) as url:
                ask = _Asking(url, folder, options.tokens)
                asyncio.run(ask.all(warm))
                speeds[name], texts[name] = asyncio.run(ask.all(asked))
    for name, speed in speeds.items():
        print(f"{name}: {speed:.1f} tokens/s")
    for name in [name for name in speeds if name != "ours"]:
        print(f"ours / {name}: {speeds['ours'] / speeds[name]:.2f}")
    for name in [name for name in texts if name != "ours"]:
        same = sum(one.strip() == other.strip() for one, other in zip(texts["ours"], texts[name], strict=True))
        print(f"same answers, ours and {name}: {same} of {len(asked)}")
    for name, seconds in (("idle", idle), (f"{len(asked)} others", loaded)):
        print(f"first token, {name}: median {_ms(seconds, 50):.0f} ms, 95th percentile {_ms(seconds, 95):.0f} ms")
    for name, percentile in (("median", 50), ("95th percentile", 95)):
        print(f"under load / idle, {name}: {_ms(loaded, percentile) / _ms(idle, percentile):.2f}")


class _Asking:
    """A client that does as little as it can, since it shares the processors with the server."""

    def __init__(self, url: str, model: str, tokens: int) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._options: Body = {"model": model, "temperature": 0, "max_tokens": tokens}

    async def all(self, chats: Sequence[Any], *, at_once: bool = True) -> tuple[float, list[str]]:
        """(tokens a second, answers)"""
        async with _client() as client:
            started = time.perf_counter()
            if at_once:
                answers = await asyncio.gather(*[self._whole(client, chat) for chat in chats])
            else:
                answers = [await self._whole(client, chat) for chat in chats]
            seconds = time.perf_counter() - started
        tokens = sum(answer["usage"]["completion_tokens"] for answer in answers)
        return tokens / seconds, [answer["choices"][0]["message"]["content"] for answer in answers]

    async def first_tokens(self, probes: Sequence[Any], others: Sequence[Any]) -> list[float]:
        """Seconds to the first token of each probe, one after another, while `others` are asked over and over."""
        async with _client() as client:
            turned = [[*others[i:], *others[:i]] for i in range(len(others))]
            load = [asyncio.create_task(self._over_and_over(client, chats)) for chats in turned]
            try:
                await asyncio.sleep(5 if others else 0)  # until the load has spread over all moments of an answer
                found = []
                for probe in probes:
                    found.append(await self._stream(client, probe))
                    await asyncio.sleep(PAUSE_S)
                return found
            finally:
                for task in load:
                    task.cancel()
                await asyncio.gather(*load, return_exceptions=True)

    async def _over_and_over(self, client: httpx.AsyncClient, chats: Sequence[Any]) -> None:
        while True:
            for chat in chats:
                await self._stream(client, chat)

    async def _whole(self, client: httpx.AsyncClient, chat: Any) -> Any:
        response = await client.post(self._url, json={**self._options, "messages": chat})
        response.raise_for_status()
        return response.json()

    async def _stream(self, client: httpx.AsyncClient, chat: Any) -> float:
        """Read an answer to its end. Returns the seconds until its first word."""
        body = {**self._options, "messages": chat, "stream": True}
        started, first = time.perf_counter(), 0.0
        async with client.stream("POST", self._url, json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if not first and line.startswith("data: {") and _says(json.loads(line.removeprefix("data: "))):
                    first = time.perf_counter() - started
        return first or time.perf_counter() - started


def _says(chunk: Any) -> bool:
    return bool(chunk["choices"] and chunk["choices"][0]["delta"].get("content"))


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))


def _chats() -> list[Any]:
    """The questions of the demo project, those of its tasks in turn."""
    tasks = [(DEMO / task / "test.jsonl").read_text(encoding="utf-8").splitlines() for task in TASKS]
    return [json.loads(line)["messages"][:-1] for lines in zip(*tasks, strict=True) for line in lines]


def _ms(seconds: Sequence[float], percentile: int) -> float:
    import numpy as np

    return 1000 * float(np.percentile(seconds, percentile))


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        return port


@contextmanager
def _server(command: list[str], port: int) -> Iterator[str]:
    """A server in a process of its own, from when it is healthy; gives its URL."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_S
            while not _healthy(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"{' '.join(command)} did not come up:\n{log.read()}")
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()

"""A real server on loopback that speaks the OpenAI chat API as documented, and can be told to misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Service:
    """`behave(handler, request, attempt)` answers one request; `attempt` counts those of one question, from 1."""

    def __init__(self, behave: Callable[[Handler, dict[str, Any], int], None]) -> None:
        self.behave = behave
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.most_at_once = 0
        self._now = 0
        self._attempts: dict[str, int] = {}
        self._lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.service = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    @contextmanager
    def counted(self, request: dict[str, Any], key: str) -> Iterator[int]:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self.requests.append(request)
            self.keys.add(key)
            question = json.dumps(request["messages"])
            self._attempts[question] = attempt = self._attempts.get(question, 0) + 1
        try:
            yield attempt
        finally:
            with self._lock:
                self._now -= 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        service: Service = self.server.service  # type: ignore[attr-defined]
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        with service.counted(request, self.headers["Authorization"]) as attempt:
            service.behave(self, request, attempt)

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self.reply(status, {"error": {"message": message, "type": "error", "param": None, "code": None}}, headers)

    def answer(self, request: dict[str, Any], text: str | None, **more: Any) -> None:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
            "logprobs": None,
        }
        used = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": int(time.time()), "model": request["model"]}
        self.reply(200, head | {"choices": [choice | more], "usage": used})

    def drop(self) -> None:
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """The tests' output is not the place for it."""


@contextmanager
def serving(behave: Callable[[Handler, dict[str, Any], int], None]) -> Iterator[Service]:
    service = Service(behave)
    thread = threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.server.shutdown()
        service.server.server_close()
        thread.join()


def echo(handler: Handler, request: dict[str, Any], attempt: int) -> None:
    """Answer with the question."""
    handler.answer(request, request["messages"][-1]["content"])

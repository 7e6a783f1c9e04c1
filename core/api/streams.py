"""Server-sent events as the OpenAI API writes them: one `data:` line of JSON each, and `[DONE]` at the end."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import orjson
from pydantic import BaseModel
from sse_starlette import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from core.api import errors
from core.api.answers import Work

# Comments meanwhile: proxies cut a connection on which nothing moves, and a long prompt takes its time.
PING_S = 15


def as_json(value: BaseModel) -> Response:
    """A response of the openai package's types; what was not set is left out."""
    return Response(value.model_dump_json(exclude_unset=True, by_alias=True), media_type="application/json")


def new_id(kind: str) -> str:
    """A name for one response, such as "chatcmpl-..."."""
    return f"{kind}-{secrets.token_hex(12)}"


class Events(EventSourceResponse):
    """Chunks as they come; an error is the last event. However it ends, be it before it began, the work ends too."""

    def __init__(self, work: Work, chunks: AsyncIterator[BaseModel]) -> None:
        super().__init__(_events(chunks), sep="\n", ping=PING_S)
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._work.close()


async def _events(chunks: AsyncIterator[BaseModel]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield _event(chunk.model_dump_json(exclude_unset=True).encode())
        yield _event(b"[DONE]")
    except Exception as error:
        yield _event(orjson.dumps(errors.body(error)))


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


_EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
# `schema` would be read as one of the whole stream by some programs, and as one of each event by others.
OK_OR_EVENTS: dict[str, Any] = {"content": {"text/event-stream": {"itemSchema": _EVENT}}}

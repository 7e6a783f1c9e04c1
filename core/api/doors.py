"""The door: who comes in, before anything of a request's body is read.

With keys, every request needs one. Without any key made, a server on loopback lets in the programs of this computer,
and keeps out web pages that use a browser on it as their messenger: those name another host (DNS rebinding), or say
that they come from another site.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.api import errors, keys, limits
from core.api.errors import ApiError
from core.api.loopback import is_loopback
from core.store.tables import ApiKey

# Free to all: whether the server lives, and what its routes are.
OPEN_PATHS = ("/health", "/openapi.json")
# Requests under way at once. Each takes kilobytes, and their answers wait in the engine's own bounded line.
MOST_OPEN = 512
# A client that sends nothing of its request's body for so long is let go.
BODY_WAIT_S = 60.0
# Of a body that is refused, so much of what is still to come is taken in and thrown away.
DRAINED_BYTES = 64 * 1024 * 1024
DRAINED_S = 10.0
_CALLER = "lowest_rung_caller"


class Door:
    """ASGI middleware: lets a request in, with its caller known, or answers with the reason why not."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        self._loopback = is_loopback(host)
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _numbered(send)
        body = _Body(receive, send, limits.most_bytes(scope["method"], scope["path"]))
        try:
            if self._open >= MOST_OPEN:
                raise ApiError(
                    503,
                    "The server is overloaded: too many requests at once. Please try again.",
                    type="server_error",
                    code="server_overloaded",
                    headers={"Retry-After": "1"},
                )
            headers = Headers(scope=scope)
            if scope["path"] not in OPEN_PATHS:
                scope[_CALLER] = await run_in_threadpool(self._let_in, headers)
            body.check_length(headers)
        except Exception as error:
            await errors.response(error)(scope, body.receive, body.send)
            return
        self._open += 1
        try:
            await self.app(scope, body.receive, body.send)
        finally:
            self._open -= 1

    def _let_in(self, headers: Headers) -> ApiKey | None:
        """The caller; None for one without a key, or the app itself. Raises ApiError."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if self._loopback and not keys.needed():
            _refuse_web_pages(headers)
            return None
        if scheme.lower() != "bearer" or not key.strip():
            raise ApiError(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY). The server's owner makes keys on the Serve page.",
            )
        caller = keys.authorize(key.strip())
        limits.count_request(caller)
        return caller


def caller_of(request: Request) -> ApiKey | None:
    """Who asks, as the door has found; None where there are no limits."""
    found: ApiKey | None = request.scope.get(_CALLER)
    return found


async def _caller(request: Request, _: Annotated[object, Depends(HTTPBearer(auto_error=False))]) -> ApiKey | None:
    return caller_of(request)


# The same for routes, whose description then says that they need a key.
Caller = Annotated[ApiKey | None, Depends(_caller)]


def _refuse_web_pages(headers: Headers) -> None:
    """Raise ApiError for a request that a browser sends on behalf of a page from elsewhere."""
    host, origin = headers.get("host", ""), headers.get("origin")
    site = headers.get("sec-fetch-site", "none")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    if not _names_loopback(host) or foreign or site not in ("none", "same-origin"):
        raise ApiError(
            403,
            "Web pages may not use this server without an API key, and it must be called by the address of this "
            "computer (127.0.0.1 or localhost). Make a key on the Serve page to call it otherwise.",
            code="forbidden_origin",
        )


def _names_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)


def _numbered(send: Send) -> Send:
    """`send` that gives the answer a number, by which a client can report it."""
    number = f"req_{secrets.token_hex(16)}".encode()

    async def numbered(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", number)]
        await send(message)

    return numbered


class _Body:
    """A request's body on its way in: no larger than allowed, given up on when the client stops sending.

    Before a refusal the rest is taken in and thrown away, within bounds: a client that still sends reads no answer.
    """

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send = receive, send
        self._left = most
        self._whole = False

    def check_length(self, headers: Headers) -> None:
        """Refuse a body that is too large by its own account. Raises HTTPException 413."""
        # Whoever gives none, or a wrong one, is stopped on the way.
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._left:
            raise HTTPException(413)

    async def receive(self) -> Message:
        if self._whole:
            # From here on it only tells that the client has gone, which may take as long as an answer.
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), BODY_WAIT_S)
        except TimeoutError as error:
            # FastAPI takes any other error here for a mistake in the body.
            raise HTTPException(408, f"Nothing of the request came for {BODY_WAIT_S:.0f} seconds") from error
        self._whole = not message.get("more_body", False)
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400 and not self._whole:
            await self._drain()
            if not self._whole:
                # Else uvicorn would go on reading what nobody wants.
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        await self._send(message)

    async def _drain(self) -> None:
        left = DRAINED_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAINED_S):
                while left > 0 and not self._whole:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    self._whole = not message.get("more_body", False)

"""From a request to answers of the engine: begun together, counted once, and ended when nobody waits any more."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio
from fastapi import Request
from openai.types.completion_usage import CompletionTokensDetails, CompletionUsage, PromptTokensDetails

from core.api import limits
from core.api.errors import ApiError, model_not_available
from core.api.request_fields import Generation
from core.errors import UserError
from core.store.tables import ApiKey

if TYPE_CHECKING:
    from core.api.models import Models
    from core.api.stats import Stats
    from core.models.constraint import Shape
    from core.models.live import Answer, Asked, Engine, Piece, Token

# Of an answer whose length nobody limited: ends that a small model does not find by itself.
LONGEST_UNASKED = 1024
# Below this a logarithm is not told; constrained answers rule tokens out altogether. The value is OpenAI's.
LEAST_LOGPROB = -9999.0
# Threads for requests that begin, and others for those whose model is opened first: that takes up to minutes, in
# which the models that are open go on.
_BEGINNING, _OPENING = anyio.CapacityLimiter(8), anyio.CapacityLimiter(8)


@dataclass
class Work:
    """The answers to one request. `model` is what the client called it; `prompt_tokens` counts each prompt once."""

    model: str
    fingerprint: str
    groups: list[list[Answer]]
    prompt_tokens: int
    stats: Stats
    key: ApiKey | None
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def answers(self) -> list[Answer]:
        """Those to the first prompt, then those to the second, and so on."""
        return [answer for group in self.groups for answer in group]

    @property
    def usage(self) -> CompletionUsage:
        written = sum(answer.output_tokens for answer in self.answers)
        reused = sum(group[0].reused_tokens for group in self.groups)
        return CompletionUsage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=written,
            total_tokens=self.prompt_tokens + written,
            prompt_tokens_details=PromptTokensDetails(audio_tokens=0, cached_tokens=reused),
            completion_tokens_details=CompletionTokensDetails(
                accepted_prediction_tokens=0, audio_tokens=0, reasoning_tokens=0, rejected_prediction_tokens=0
            ),
        )

    def close(self) -> None:
        """End what is still being written, and count what was."""
        for group in self.groups:
            for i, answer in enumerate(group):
                answer.cancel()
                read = answer.input_tokens if i == 0 else 0
                self.stats.answered(read, answer.output_tokens, answer.first_token_s, answer.seconds)
        # Those of the prompt were taken when it began.
        limits.spend_tokens(self.key, self.usage.completion_tokens)


@dataclass
class Whole:
    """An answer that is complete."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] = "stop"


async def begin(
    request: Request, key: ApiKey | None, model: str, wanted: Callable[[Engine, Path | None], list[list[Asked]]]
) -> Work:
    """Ask the engine for what `wanted` says: for each prompt its answers. Raises ApiError and UserError.

    A model that is not in memory is loaded first. The caller closes the work.
    """
    state = request.app.state
    begun = partial(_begun, state.models, state.stats, key, model, wanted)
    while (work := await anyio.to_thread.run_sync(begun, limiter=_BEGINNING)) is None:
        await anyio.to_thread.run_sync(state.models.engine_for, model, limiter=_OPENING)
    return work


def _begun(
    models: Models,
    stats: Stats,
    key: ApiKey | None,
    model: str,
    wanted: Callable[[Engine, Path | None], list[list[Asked]]],
) -> Work | None:
    """None where the model is not in memory."""
    from core.models.constraint import ShapeRefused
    from core.models.live import Busy

    opened = models.in_memory(model)
    if opened is None:
        return None
    engine, adapter = opened
    groups: list[list[Answer]] = []
    try:
        asked = wanted(engine, adapter)
        prompt_tokens = sum(len(group[0].prompt) for group in asked)
        limits.take_tokens(key, prompt_tokens)
        for group in asked:
            groups.append([])
            for each in group:
                groups[-1].append(engine.ask(each))
    except UserError as error:
        for answer in [answer for group in groups for answer in group]:
            answer.cancel()
        if isinstance(error, Busy):
            raise ApiError(
                503, str(error), type="server_error", code="engine_overloaded", headers={"Retry-After": "1"}
            ) from error
        if isinstance(error, ShapeRefused):
            raise ApiError(400, str(error), param="response_format", code="invalid_value") from error
        # What is wrong with the request itself has been said before it came here.
        raise model_not_available(model, error) from error
    return Work(model, _fingerprint(engine.model, adapter), groups, prompt_tokens, stats, key)


@lru_cache(maxsize=256)
def _fingerprint(model: str, adapter: Path | None) -> str:
    """The same as long as weights and libraries are: what `seed` repeats depends on both."""
    from core.models.identity import fingerprint

    return "fp_" + hashlib.sha256(f"{fingerprint(model)} {adapter}".encode()).hexdigest()[:10]


def asked(
    wanted: Generation,
    prompt: Sequence[int],
    engine: Engine,
    adapter: Path | None,
    *,
    most: int,
    param: str,
    logprobs: int | None,
    shape: Shape | None = None,
    strip: bool = True,
) -> list[Asked]:
    """The `n` answers to one prompt; drawn ones differ in their seeds, which follow one another."""
    from core.models.live import Asked

    if len(prompt) + most > engine.longest:
        raise _too_long(len(prompt), most, engine.longest, param)
    seed = wanted.seed if wanted.seed is not None else secrets.randbits(31)
    return [
        Asked(
            prompt=prompt,
            adapter=adapter,
            max_new_tokens=most,
            temperature=1.0 if wanted.temperature is None else wanted.temperature,
            top_p=1.0 if wanted.top_p is None else wanted.top_p,
            seed=seed + i,
            stop=wanted.stops,
            logprobs=logprobs,
            shape=shape,
            strip=strip,
        )
        for i in range(wanted.n or 1)
    ]


def most_tokens(limit: int | None, prompt: Sequence[int], engine: Engine) -> int:
    """How long an answer may get: as asked, or else what the context leaves, within reason."""
    return limit if limit is not None else max(1, min(LONGEST_UNASKED, engine.longest - len(prompt)))


def check_characters(characters: int, engine: Engine, param: str) -> None:
    """Refuse a text that is too long for the model however it is cut into tokens: megabytes take long to cut."""
    if characters > engine.longest * engine.longest_token:
        raise ApiError(
            400,
            f"The model reads {engine.longest} tokens at most. {characters} characters in the {param} are more than "
            f"that in any case. Shorten the {param}.",
            param=param,
            code="context_length_exceeded",
        )


def _too_long(prompt: int, most: int, context: int, param: str) -> ApiError:
    return ApiError(
        400,
        f"The model reads {context} tokens at most, but {prompt + most} were requested: {prompt} in the {param} and "
        f"{most} for the answer. Shorten the {param}, or allow fewer tokens.",
        param=param,
        code="context_length_exceeded",
    )


async def pieces(work: Work) -> AsyncIterator[tuple[int, Piece]]:
    """What the engine writes, as it comes: (number of the answer, piece). Raises ApiError when an answer fails."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()

    def hand_over(number: int, piece: Piece) -> None:
        with suppress(RuntimeError):  # the loop is closed when the server has ended
            loop.call_soon_threadsafe(queue.put_nowait, (number, piece))

    for number, answer in enumerate(work.answers):
        answer.on_piece(partial(hand_over, number))
    left = len(work.answers)
    while left:
        number, piece = await queue.get()
        _check(piece)
        left -= piece.finish_reason is not None
        yield number, piece


async def wholes(request: Request, work: Work) -> list[Whole] | None:
    """All answers when they are complete; None when the client has gone before. Closes the work. Raises ApiError."""
    loop = asyncio.get_running_loop()
    complete = [_complete(answer, loop) for answer in work.answers]
    gone = asyncio.ensure_future(_gone(request))
    every = asyncio.gather(*complete)
    either: list[asyncio.Future[Any]] = [gone, every]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return every.result() if every.done() else None
    finally:
        for future in either:
            future.cancel()
        work.close()


def _complete(answer: Answer, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Whole]:
    """The answer once it is complete. Its pieces are gathered in the engine's thread: the loop is woken once."""
    future: asyncio.Future[Whole] = loop.create_future()
    texts: list[str] = []
    tokens: list[Token] = []

    def finish(last: Piece) -> None:
        if future.done():
            return
        try:
            future.set_result(Whole("".join(texts), tokens, _check(last) or "stop"))
        except ApiError as error:
            future.set_exception(error)

    def take(piece: Piece) -> None:
        texts.append(piece.text)
        tokens.extend(piece.tokens)
        if piece.finish_reason is not None:
            with suppress(RuntimeError):  # the loop is closed when the server has ended
                loop.call_soon_threadsafe(finish, piece)

    answer.on_piece(take)
    return future


def _check(piece: Piece) -> Literal["stop", "length"] | None:
    """Why the answer ended, if it did. Raises ApiError where that was no proper end."""
    if piece.finish_reason == "error":
        raise ApiError(500, piece.error or "The answer failed.", type="server_error")
    if piece.finish_reason == "cancelled":
        raise ApiError(503, "The server is being stopped. Ask again when it runs.", type="server_error")
    return piece.finish_reason


async def _gone(request: Request) -> None:
    """Returns when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

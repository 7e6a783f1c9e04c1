"""POST /v1/completions: a text is continued, without the turns of a chat."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from fastapi import APIRouter, Request
from openai.types import Completion, CompletionChoice
from openai.types.completion_choice import Logprobs
from pydantic import Discriminator, Field, Tag
from starlette.responses import Response

from core.api import answers, errors, vllm
from core.api.answers import LEAST_LOGPROB, Work
from core.api.doors import Caller
from core.api.errors import ApiError
from core.api.request_fields import Generation, NotOffered, text_or_tokens
from core.api.streams import OK_OR_EVENTS, Events, as_json, new_id

if TYPE_CHECKING:
    from core.models.live import Asked, Engine, Token

# OpenAI's; a continuation has no end of its own.
LONGEST_UNASKED = 16
MOST_PROMPTS = 128

Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Prompts = Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
TokenPrompts = Annotated[list[Tokens], Field(min_length=1, max_length=MOST_PROMPTS)]
Prompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[Prompts, Tag("texts")]
    | Annotated[Tokens, Tag("tokens")]
    | Annotated[TokenPrompts, Tag("token lists")],
    Discriminator(text_or_tokens),
]

router = APIRouter()


class CompletionRequest(Generation):
    """Body of POST /v1/completions. Without a prompt the model begins a new document."""

    prompt: Prompt | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    suffix: NotOffered = None

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        if self.prompt is None or isinstance(self.prompt, str):
            return [self.prompt or ""]
        one = isinstance(self.prompt[0], int)
        return cast("Sequence[str | list[int]]", [self.prompt] if one else self.prompt)


@router.post("/v1/completions", response_model=Completion, responses={200: OK_OR_EVENTS, **errors.RESPONSES})
async def create(request: Request, caller: Caller, wanted: CompletionRequest) -> Response:
    """Continue one or more texts, whole or as they are written."""
    _check(wanted)
    elsewhere = await vllm.forwarded(request, wanted.model)
    if elsewhere is not None:
        return elsewhere
    before: list[str] = []
    work = await answers.begin(request, caller, wanted.model, partial(_asked, wanted, before))
    if wanted.stream:
        return Events(work, _chunks(wanted, work, before))
    complete = await answers.wholes(request, work)
    if complete is None:
        return Response(status_code=499)
    choices = [
        _choice(wanted, i, before[i] + answer.text, answer.finish_reason, answer.tokens)
        for i, answer in enumerate(complete)
    ]
    completion = _completion(work, new_id("cmpl"), choices)
    completion.usage = work.usage
    return as_json(completion)


def _check(wanted: CompletionRequest) -> None:
    """What one field allows depends on another. Raises ApiError."""
    if wanted.best_of is not None and wanted.best_of != (wanted.n or 1):
        message = "best_of is offered only as large as n: all answers are returned."
        raise ApiError(400, message, param="best_of", code="unsupported_value")
    if len(wanted.prompts) * (wanted.n or 1) > MOST_PROMPTS:
        message = f"At most {MOST_PROMPTS} answers are written to one request: ask for fewer to each prompt."
        raise ApiError(400, message, param="n", code="invalid_value")
    if wanted.echo and wanted.logprobs is not None:
        message = "The tokens of the prompt have no logprobs here: leave echo or logprobs out."
        raise ApiError(400, message, param="echo", code="unsupported_value")
    if wanted.stream_options is not None and not wanted.stream:
        raise ApiError(400, "stream_options needs stream to be true.", param="stream_options", code="invalid_value")


def _asked(wanted: CompletionRequest, before: list[str], engine: Engine, adapter: Path | None) -> list[list[Asked]]:
    """For each prompt its answers; what stands before each of those in the response is added to `before`."""
    tokenizer, vocabulary = engine.loaded.tokenizer, engine.loaded.model.config.get_text_config().vocab_size
    asked = []
    for prompt in wanted.prompts:
        if isinstance(prompt, str):
            answers.check_characters(len(prompt), engine, "prompt")
            ids: list[int] = tokenizer(prompt)["input_ids"]
        elif max(prompt) < vocabulary:
            ids = prompt
        else:
            message = f"The prompt holds the token {max(prompt)}, but the model knows {vocabulary} tokens."
            raise ApiError(400, message, param="prompt", code="invalid_value")
        # Of nothing no model can go on: a document begins with this token, or ends with it before the next begins.
        ids = ids or [_beginning(tokenizer)]
        most = wanted.max_tokens or LONGEST_UNASKED
        asked.append(
            answers.asked(
                wanted, ids, engine, adapter, most=most, param="prompt", logprobs=wanted.logprobs, strip=False
            )
        )
        text = prompt if isinstance(prompt, str) else str(tokenizer.decode(prompt))
        before += [text if wanted.echo else ""] * len(asked[-1])
    return asked


def _beginning(tokenizer: Any) -> int:
    token: int = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return token


async def _chunks(wanted: CompletionRequest, work: Work, before: Sequence[str]) -> AsyncIterator[Completion]:
    name = new_id("cmpl")
    offsets = [0] * len(before)
    for i, text in enumerate(before):
        if text:
            yield _chunk(wanted, work, name, _choice(wanted, i, text, None))
    async for i, piece in answers.pieces(work):
        ended = piece.finish_reason if piece.finish_reason in ("stop", "length") else None
        if piece.text or piece.tokens or ended:
            yield _chunk(wanted, work, name, _choice(wanted, i, piece.text, ended, piece.tokens, offsets[i]))
            offsets[i] += len(piece.text)
    if wanted.usage_in_stream:
        last = _chunk(wanted, work, name)
        last.usage = work.usage
        yield last


def _chunk(wanted: CompletionRequest, work: Work, name: str, *choices: CompletionChoice) -> Completion:
    chunk = _completion(work, name, choices)
    if wanted.usage_in_stream:
        chunk.usage = None
    return chunk


def _completion(work: Work, name: str, choices: Sequence[CompletionChoice]) -> Completion:
    return Completion(
        id=name,
        object="text_completion",
        created=work.created,
        model=work.model,
        choices=list(choices),
        system_fingerprint=work.fingerprint,
    )


def _choice(
    wanted: CompletionRequest,
    index: int,
    text: str,
    reason: Literal["stop", "length"] | None,
    tokens: Sequence[Token] = (),
    offset: int = 0,
) -> CompletionChoice:
    """`reason` is None in the parts of a stream before the last, which the type does not foresee and the API does."""
    logprobs = None if wanted.logprobs is None else _logprobs(tokens, offset, wanted.logprobs)
    choice = CompletionChoice(text=text, index=index, logprobs=logprobs, finish_reason=reason or "stop")
    return choice if reason else choice.model_copy(update={"finish_reason": None})


def _logprobs(tokens: Sequence[Token], offset: int, wanted: int) -> Logprobs:
    """The older form: lists side by side. `offset` is where the first token begins, in characters of the text."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(decoder.decode(token.bytes))
    top = [
        {_name(token.text, token.bytes): token.logprob}
        | {_name(text, raw): max(logprob, LEAST_LOGPROB) for _, text, raw, logprob in token.top}
        for token in tokens
    ]
    return Logprobs(
        tokens=[_name(token.text, token.bytes) for token in tokens],
        token_logprobs=[max(token.logprob, LEAST_LOGPROB) for token in tokens],
        top_logprobs=top if wanted else None,
        text_offset=offsets,
    )


def _name(text: str, raw: bytes) -> str:
    """A token as text; by its bytes where they are a part of a character only, since two such would look alike."""
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw) if "\ufffd" in text else text

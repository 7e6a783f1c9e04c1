"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat import chat_completion as whole
from openai.types.chat import chat_completion_chunk as part
from openai.types.chat.chat_completion_message_function_tool_call import ChatCompletionMessageFunctionToolCall
from openai.types.chat.chat_completion_message_function_tool_call import Function as CalledFunction
from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob, TopLogprob
from starlette.responses import Response

from core.api import answers, errors, strict, vllm
from core.api.answers import LEAST_LOGPROB, Whole, Work
from core.api.chat_types import ChatRequest, JsonObject, JsonSchema, NamedSchema
from core.api.doors import Caller
from core.api.errors import ApiError
from core.api.streams import OK_OR_EVENTS, Events, as_json, new_id
from core.api.tool_calls import Reader, ToolCall
from core.errors import UserError
from core.models.prompt import build_messages

if TYPE_CHECKING:
    from core.models.constraint import Shape
    from core.models.live import Asked, Engine, Token

router = APIRouter()


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses={200: OK_OR_EVENTS, **errors.RESPONSES})
async def create(request: Request, caller: Caller, wanted: ChatRequest) -> Response:
    """Answer a conversation, whole or as it is written."""
    _check(wanted)
    elsewhere = await vllm.forwarded(request, wanted.model)
    if elsewhere is not None:
        return elsewhere
    work = await answers.begin(request, caller, wanted.model, partial(_asked, wanted))
    if wanted.stream:
        return Events(work, _chunks(wanted, work))
    complete = await answers.wholes(request, work)
    return as_json(_completion(wanted, work, complete)) if complete is not None else Response(status_code=499)


def _check(wanted: ChatRequest) -> None:
    """What one field allows depends on another. Raises ApiError."""
    if wanted.top_logprobs is not None and not wanted.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs to be true.", param="top_logprobs", code="invalid_value")
    if wanted.stream_options is not None and not wanted.stream:
        raise ApiError(400, "stream_options needs stream to be true.", param="stream_options", code="invalid_value")
    if wanted.max_tokens is not None and wanted.max_completion_tokens is not None:
        message = "max_tokens is the older name of max_completion_tokens: give one of them."
        raise ApiError(400, message, param="max_tokens", code="invalid_value")
    if wanted.tools and _shaped(wanted):
        # A call is no JSON of the wanted form, and a model held to that form could never make one.
        message = "response_format can only be text where tools are offered."
        raise ApiError(400, message, param="response_format", code="unsupported_value")


def _shaped(wanted: ChatRequest) -> bool:
    return isinstance(wanted.response_format, (JsonObject, JsonSchema))


def _asked(wanted: ChatRequest, engine: Engine, adapter: Path | None) -> list[list[Asked]]:
    strict.check(wanted.offered_tools)
    chat = build_messages(wanted.turns, tools=[tool.sent for tool in wanted.offered_tools])
    answers.check_characters(sum(len(str(turn["content"])) for turn in chat), engine, "messages")
    try:
        prompt = engine.tokenize(chat)
    except UserError as error:
        raise ApiError(400, str(error), param="messages", code="invalid_value") from error
    most = answers.most_tokens(wanted.most_tokens, prompt, engine)
    logprobs = (wanted.top_logprobs or 0) if wanted.logprobs else None
    shape = _shape(wanted)
    return [answers.asked(wanted, prompt, engine, adapter, most=most, param="messages", logprobs=logprobs, shape=shape)]


def _shape(wanted: ChatRequest) -> Shape | None:
    from core.models.constraint import Shape

    match wanted.response_format:
        case JsonSchema(json_schema=NamedSchema(schema_=dict(schema))):
            return Shape.schema(schema)
        case JsonObject() | JsonSchema():
            return Shape.json()
    return None


def _completion(wanted: ChatRequest, work: Work, complete: Sequence[Whole]) -> ChatCompletion:
    completion = ChatCompletion(
        id=new_id("chatcmpl"),
        object="chat.completion",
        created=work.created,
        model=work.model,
        choices=[_choice(wanted, i, answer) for i, answer in enumerate(complete)],
        usage=work.usage,
        system_fingerprint=work.fingerprint,
    )
    if wanted.service_tier is not None:
        completion.service_tier = "default"
    return completion


def _choice(wanted: ChatRequest, index: int, answer: Whole) -> whole.Choice:
    reader = Reader(wanted.offered_tools)
    said = [*reader.feed(answer.text), *reader.rest()]
    calls = [part for part in said if isinstance(part, ToolCall)]
    content = "".join(part for part in said if isinstance(part, str))
    message = ChatCompletionMessage(role="assistant", content=content or (None if calls else ""), refusal=None)
    if calls:
        message.tool_calls = [
            ChatCompletionMessageFunctionToolCall(
                id=call.id, type="function", function=CalledFunction(name=call.name, arguments=call.arguments)
            )
            for call in calls
        ]
    logprobs = whole.ChoiceLogprobs(content=_logprobs(answer.tokens), refusal=None) if wanted.logprobs else None
    reason = _reason(answer.finish_reason, reader)
    return whole.Choice(index=index, message=message, logprobs=logprobs, finish_reason=reason)


def _reason(ended: Literal["stop", "length"], reader: Reader) -> Literal["stop", "length", "tool_calls"]:
    return "tool_calls" if reader.calls and ended == "stop" else ended


async def _chunks(wanted: ChatRequest, work: Work) -> AsyncIterator[ChatCompletionChunk]:
    """The roles first, in the order of the answers, since clients number them as they come."""
    chunk = partial(_chunk, wanted, work, new_id("chatcmpl"))
    readers = [Reader(wanted.offered_tools) for _ in work.answers]
    held: list[list[Token]] = [[] for _ in readers]
    for i in range(len(readers)):
        yield chunk(_delta(wanted, i, part.ChoiceDelta(role="assistant", content="", refusal=None)))
    async for i, piece in answers.pieces(work):
        reader = readers[i]
        held[i] += piece.tokens
        ended = piece.finish_reason is not None
        first = reader.calls
        for said in [*reader.feed(piece.text), *(reader.rest() if ended else ())]:
            if isinstance(said, ToolCall):
                delta, first = _call_delta(said, first), first + 1
            else:
                delta = part.ChoiceDelta(content=said)
            yield chunk(_delta(wanted, i, delta, held[i]))
            held[i] = []
        if piece.finish_reason in ("stop", "length"):
            yield chunk(_delta(wanted, i, part.ChoiceDelta(), held[i], _reason(piece.finish_reason, reader)))
    if wanted.usage_in_stream:
        yield chunk(usage=True)


def _chunk(
    wanted: ChatRequest, work: Work, name: str, choice: part.Choice | None = None, *, usage: bool = False
) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(
        id=name,
        object="chat.completion.chunk",
        created=work.created,
        model=work.model,
        system_fingerprint=work.fingerprint,
        choices=[choice] if choice else [],
    )
    if wanted.service_tier is not None:
        chunk.service_tier = "default"
    if wanted.usage_in_stream:
        chunk.usage = work.usage if usage else None
    return chunk


def _delta(
    wanted: ChatRequest,
    index: int,
    delta: part.ChoiceDelta,
    tokens: Sequence[Token] = (),
    reason: Literal["stop", "length", "tool_calls"] | None = None,
) -> part.Choice:
    logprobs = part.ChoiceLogprobs(content=_logprobs(tokens), refusal=None) if wanted.logprobs and tokens else None
    return part.Choice(index=index, delta=delta, logprobs=logprobs, finish_reason=reason)


def _call_delta(call: ToolCall, index: int) -> part.ChoiceDelta:
    function = part.ChoiceDeltaToolCallFunction(name=call.name, arguments=call.arguments)
    return part.ChoiceDelta(
        tool_calls=[part.ChoiceDeltaToolCall(index=index, id=call.id, type="function", function=function)]
    )


def _logprobs(tokens: Sequence[Token]) -> list[ChatCompletionTokenLogprob]:
    return [
        ChatCompletionTokenLogprob(
            token=token.text,
            bytes=list(token.bytes),
            logprob=max(token.logprob, LEAST_LOGPROB),
            top_logprobs=[
                TopLogprob(token=text, bytes=list(raw), logprob=max(logprob, LEAST_LOGPROB))
                for _, text, raw, logprob in token.top
            ],
        )
        for token in tokens
    ]

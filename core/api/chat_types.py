"""The request for a chat completion, and the turns of its conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from core.api.request_fields import Body, Generation, Metadata, NotOffered, Tier, only, text_or_list
from core.models.prompt import Message

Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class TextPart(Body):
    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None


class RefusalPart(Body):
    type: Literal["refusal"]
    refusal: str


class OtherPart(Body):
    """An image, a sound or a file, which no model here reads."""

    type: Literal["image_url", "input_audio", "file"]
    image_url: Any = None
    input_audio: Any = None
    file: Any = None

    @model_validator(mode="after")
    def _refused(self) -> OtherPart:
        raise PydanticCustomError("unsupported_value", f"Only text is read here; a part is of type {self.type}.")


Part = TextPart | RefusalPart | OtherPart
Parts = Annotated[list[Annotated[Part, Field(discriminator="type")]], Field(min_length=1)]
Content = Annotated[Annotated[str, Tag("text")] | Annotated[Parts, Tag("list")], Discriminator(text_or_list)]


class Instructions(Body):
    role: Literal["system", "developer"]
    content: Content
    name: str | None = None


class Question(Body):
    role: Literal["user"]
    content: Content
    name: str | None = None


class CalledFunction(Body):
    name: str
    arguments: str


class Call(Body):
    id: str
    type: Literal["function"]
    function: CalledFunction


class Said(Body):
    """What the assistant said before. A message of an earlier response can be sent back as it came."""

    role: Literal["assistant"]
    content: Content | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: CalledFunction | None = None
    audio: NotOffered = None
    annotations: NotOffered = None

    @model_validator(mode="after")
    def _says_something(self) -> Said:
        if self.content is None and self.refusal is None and not self.tool_calls and not self.function_call:
            raise PydanticCustomError("invalid_value", "An assistant message needs content, unless it calls a tool.")
        return self


class ToolResult(Body):
    role: Literal["tool"]
    content: Content
    tool_call_id: str


class FunctionResult(Body):
    """The older form of a tool's turn."""

    role: Literal["function"]
    content: str | None
    name: str


Turn = Annotated[Instructions | Question | Said | ToolResult | FunctionResult, Field(discriminator="role")]


class Function(Body):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    type: Literal["function"]
    function: Function
    # As it was sent: the order of its keys is part of what the model reads, and was when it was trained.
    _sent: dict[str, Any] = PrivateAttr()

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, sent: Any, handler: ModelWrapValidatorHandler[Tool]) -> Tool:
        tool = handler(sent)
        tool._sent = sent if isinstance(sent, dict) else tool.model_dump(exclude_none=True)
        return tool

    @property
    def sent(self) -> dict[str, Any]:
        return self._sent


class PlainText(Body):
    type: Literal["text"]


class JsonObject(Body):
    type: Literal["json_object"]


class NamedSchema(Body):
    name: Name
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class JsonSchema(Body):
    type: Literal["json_schema"]
    json_schema: NamedSchema


Format = Annotated[PlainText | JsonObject | JsonSchema, Field(discriminator="type")]


class ChatRequest(Generation):
    """Body of POST /v1/chat/completions."""

    messages: list[Turn] = Field(min_length=1)
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: Format | None = None
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Annotated[Any, *only("none", "auto")] = None
    parallel_tool_calls: bool | None = None
    # Hints and labels: to leave them aside changes no answer.
    metadata: Metadata | None = None
    prediction: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    safety_identifier: str | None = None
    service_tier: Tier | None = None
    store: bool | None = None
    # Known, but nothing that an open model on one's own machine has.
    audio: NotOffered = None
    function_call: Annotated[Any, *only("none")] = None
    functions: NotOffered = None
    modalities: Annotated[Any, *only(["text"])] = None
    moderation: NotOffered = None
    reasoning_effort: Annotated[Any, *only("none")] = None
    verbosity: Annotated[Any, *only("medium")] = None
    web_search_options: NotOffered = None

    @property
    def most_tokens(self) -> int | None:
        """The longest answer wanted, in tokens; None where nothing is said about it."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def offered_tools(self) -> list[Tool]:
        """The functions the model may call: none where none was to be called."""
        return [] if self.tool_choice == "none" else self.tools or []

    @property
    def turns(self) -> list[Message]:
        """The conversation in the form that `build_messages` takes."""
        return [_message(turn) for turn in self.messages]


def _message(turn: Instructions | Question | Said | ToolResult | FunctionResult) -> Message:
    if isinstance(turn, FunctionResult):
        return {"role": "tool", "content": turn.content or ""}
    message: Message = {"role": turn.role, "content": _text(turn.content)}
    if isinstance(turn, Said):
        calls = [call.function for call in turn.tool_calls or ()]
        calls += [turn.function_call] if turn.function_call else []
        message["content"] = message["content"] or turn.refusal or ""
        message["tool_calls"] = [{"function": call.model_dump()} for call in calls]
    return message


def _text(content: str | Sequence[Part] | None) -> str:
    """Parts are joined by line ends, as they are when examples are read for training."""
    if content is None or isinstance(content, str):
        return content or ""
    known = [part for part in content if not isinstance(part, OtherPart)]  # which never pass their validator
    return "\n".join(part.text if isinstance(part, TextPart) else part.refusal for part in known)

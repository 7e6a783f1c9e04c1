"""What the requests for answers have in common, field by field as OpenAI's API has it.

Types are not converted: "1" is no number. What is not known is refused, and so is what is known but not offered here,
since an answer that ignores a wish looks as if it had been granted.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

INT64 = 2**63
# Each answer asked for takes a row of the engine, which others wait for.
MOST_ANSWERS = 8


class Body(BaseModel):
    """A part of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class WholeBody(Body):
    """All of a request. Python's reader of JSON lets pass what is none: half a character (\\ud800), and NaN."""

    @model_validator(mode="before")
    @classmethod
    def _is_json(cls, sent: object) -> object:
        if not isinstance(sent, dict):  # sent as something else than JSON
            return sent
        try:
            json.dumps(sent, ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:
            raise PydanticCustomError("invalid_value", f"The request is no JSON: {_reason(error)}.") from error
        return sent


def _reason(error: ValueError) -> str:
    half = isinstance(error, UnicodeEncodeError)
    return "a text holds one half of a surrogate pair" if half else "it holds a number that is none"


def only(*offered: object) -> tuple[AfterValidator, WithJsonSchema]:
    """For a field of which only these values are offered; null and leaving it out are always right."""

    def check(value: object, info: ValidationInfo) -> object:
        if value is None or value in offered:
            return value
        listed = ", ".join(repr(each).lower() for each in offered)
        raise PydanticCustomError(
            "unsupported_value", f"{info.field_name} is not offered by this server with any other value than: {listed}."
        )

    return AfterValidator(check), WithJsonSchema({"enum": [None, *offered]})


def _refuse(value: object, info: ValidationInfo) -> object:
    if value is None or value in ([], {}):
        return value
    raise PydanticCustomError("unsupported_parameter", f"{info.field_name} is not offered by this server.")


NotOffered = Annotated[Any, AfterValidator(_refuse), WithJsonSchema({"enum": [None, [], {}]})]
Penalty = Annotated[float | None, *only(0)]


def text_or_list(value: object) -> str:
    """Which variant of a union is meant, so that what is wrong is said of that one alone."""
    return "list" if isinstance(value, list) else "text"


def text_or_tokens(value: object) -> str:
    """The same for the four ways to write input: a text, several, the tokens of one, or of several."""
    if not isinstance(value, list):
        return "text"
    first = value[0] if value else ""
    return "token lists" if isinstance(first, list) else "tokens" if isinstance(first, int) else "texts"


StopText = Annotated[str, StringConstraints(min_length=1)]
Stop = Annotated[
    Annotated[StopText, Tag("text")] | Annotated[list[StopText], Field(max_length=4), Tag("list")],
    Discriminator(text_or_list),
]
Metadata = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
    Field(max_length=16),
]


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False
    """Padding against eavesdroppers who measure lengths; never added, which clients cannot tell from short padding."""


class Generation(WholeBody):
    """What chat and plain completions share."""

    model: str = Field(max_length=512)
    frequency_penalty: Penalty = None
    logit_bias: NotOffered = None
    n: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] | None = None
    presence_penalty: Penalty = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: str | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def usage_in_stream(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


Tier = Literal["auto", "default", "flex", "scale", "priority", "fast"]

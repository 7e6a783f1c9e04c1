"""What the API reference says of every answer, told by the openai package's own types and checked on the bytes sent.

The client builds its objects without checking them, so here each answer is validated: literals, types without
conversion, no field that the reference does not have, and none missing that it requires.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

from openai.types import (
    Completion,
    CompletionChoice,
    CreateEmbeddingResponse,
    Embedding,
    FileDeleted,
    FileObject,
    Model,
    ModelDeleted,
)
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage, chat_completion
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from openai.types.shared import ErrorObject
from pydantic import BaseModel, ConfigDict, TypeAdapter

Item = TypeVar("Item", bound=BaseModel)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Page(Strict, Generic[Item]):
    """The package's pages keep only what they need to fetch the next one."""

    object: Literal["list"]
    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None


class ModelList(Strict):
    object: Literal["list"]
    data: list[Model]


class Refusal(Strict):
    error: ErrorObject


class Job(FineTuningJob):
    """With the statuses that the reference has and the package's type has not, and the suffix that the API sends."""

    status: Literal[  # type: ignore[assignment]
        "validating_files", "queued", "running", "succeeded", "failed", "cancelled", "pausing", "paused"
    ]
    user_provided_suffix: str | None


class Base64Embedding(Embedding):
    """The package decodes these itself before it fills its type."""

    embedding: str  # type: ignore[assignment]


class Base64Embeddings(CreateEmbeddingResponse):
    data: list[Base64Embedding]  # type: ignore[assignment]


class UnfinishedChoice(CompletionChoice):
    """Only the last part of a stream says why it ended."""

    finish_reason: Literal["stop", "length", "content_filter"] | None  # type: ignore[assignment]


class CompletionPart(Completion):
    choices: list[UnfinishedChoice]  # type: ignore[assignment]


Embeddings = CreateEmbeddingResponse | Base64Embeddings

# Fields that may be null but must be there, which the package's types leave open.
REQUIRED: dict[type[BaseModel], set[str]] = {
    FineTuningJob: {"error", "fine_tuned_model", "finished_at", "trained_tokens", "validation_file"},
    chat_completion.Choice: {"logprobs"},
    ChatCompletionMessage: {"content", "refusal"},
    CompletionChoice: {"logprobs"},
    ErrorObject: {"code", "param"},
}

JOBS = "/v1/fine_tuning/jobs"
JOB = f"{JOBS}/{{fine_tuning_job_id}}"
# By method and route: what an answer with status 200 is, if it is JSON.
ANSWERS: dict[tuple[str, str], object] = {
    ("POST", "/v1/chat/completions"): ChatCompletion,
    ("POST", "/v1/completions"): Completion,
    ("POST", "/v1/embeddings"): Embeddings,
    ("POST", "/v1/files"): FileObject,
    ("GET", "/v1/files"): Page[FileObject],
    ("GET", "/v1/files/{file_id}"): FileObject,
    ("DELETE", "/v1/files/{file_id}"): FileDeleted,
    ("POST", JOBS): Job,
    ("GET", JOBS): Page[Job],
    ("GET", JOB): Job,
    ("POST", f"{JOB}/cancel"): Job,
    ("POST", f"{JOB}/pause"): Job,
    ("POST", f"{JOB}/resume"): Job,
    ("GET", f"{JOB}/events"): Page[FineTuningJobEvent],
    ("GET", f"{JOB}/checkpoints"): Page[FineTuningJobCheckpoint],
    ("GET", "/v1/models"): ModelList,
    ("GET", "/v1/models/{model}"): Model,
    ("DELETE", "/v1/models/{model}"): ModelDeleted,
}
# Of the routes that stream: what each event is.
PARTS: dict[str, object] = {"/v1/chat/completions": ChatCompletionChunk, "/v1/completions": CompletionPart}


def check(method: str, route: str, status: int, content_type: str, content: bytes) -> None:
    """Raises ValidationError or AssertionError for an answer that is not as the reference has it."""
    if status >= 400:
        assert content_type == "application/json", (status, content_type)
        read(content, Refusal)
    elif content_type.startswith("text/event-stream"):
        for event in events(content):
            read(event, PARTS[route] if b'"error"' not in event[:10] else Refusal)
    elif (method, route) in ANSWERS:
        assert content_type == "application/json", (status, content_type)
        read(content, ANSWERS[method, route])


def read(content: bytes, kind: object) -> BaseModel:
    """An answer as the type, strictly. Raises ValidationError or AssertionError."""
    found: BaseModel = TypeAdapter(kind).validate_json(content, strict=True)  # type: ignore[arg-type]
    for each in _within(found):
        assert not each.model_extra, (type(each).__name__, each.model_extra)
        missing = {name for kind, names in REQUIRED.items() if isinstance(each, kind) for name in names}
        missing -= each.model_fields_set
        assert not missing, (type(each).__name__, missing)
    return found


def events(content: bytes) -> list[bytes]:
    """The data of a stream's events, which ends properly: with [DONE], or with an error."""
    *sent, rest = content.split(b"\n\n")
    assert rest == b""
    told = [event.removeprefix(b"data: ") for event in sent if not event.startswith(b":")]
    if told[-1] == b"[DONE]":
        return told[:-1]
    assert set(json.loads(told[-1])) == {"error"}, told[-1]
    return told


def _within(value: object) -> Iterator[BaseModel]:
    """All models in a value, itself included."""
    if isinstance(value, BaseModel):
        yield value
        value = [getattr(value, name) for name in type(value).model_fields]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _within(each)

"""POST /v1/embeddings: texts as vectors, by the models that documents are searched with."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
from fastapi import APIRouter, Request
from openai.types import CreateEmbeddingResponse, Embedding
from openai.types.create_embedding_response import Usage
from pydantic import Discriminator, Field, StringConstraints, Tag
from starlette.responses import Response

from core.api import errors, limits
from core.api.doors import Caller
from core.api.errors import ApiError
from core.api.names import not_found
from core.api.request_fields import WholeBody, text_or_tokens
from core.api.streams import as_json
from core.models.catalogue import BUNDLED_EMBEDDER, catalogue
from core.store.tables import ApiKey

if TYPE_CHECKING:
    import numpy as np

    from core.models.embedding import Embedder

MOST_TEXTS = 2048

Text = Annotated[str, StringConstraints(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS)]
Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MOST_TEXTS)]
TokenTexts = Annotated[list[Tokens], Field(min_length=1, max_length=MOST_TEXTS)]
Input = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[Texts, Tag("texts")]
    | Annotated[Tokens, Tag("tokens")]
    | Annotated[TokenTexts, Tag("token lists")],
    Discriminator(text_or_tokens),
]

router = APIRouter()
# Texts of one request that are embedded before others have their turn.
STEP = 64
# One at a time: tokenizers take no two threads, and processors gain nothing by them.
_ONE = anyio.CapacityLimiter(1)


class EmbeddingRequest(WholeBody):
    """Body of POST /v1/embeddings. Token ids are those of the model's own tokenizer."""

    model: str = Field(max_length=512)
    input: Input
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class Vector(Embedding):
    """As the package has it, and as base64 of its little-endian float32 numbers, which the package asks for itself."""

    embedding: list[float] | str  # type: ignore[assignment]


class EmbeddingResponse(CreateEmbeddingResponse):
    data: list[Vector]  # type: ignore[assignment]


@router.post("/v1/embeddings", response_model=EmbeddingResponse, responses=errors.RESPONSES)
async def create(request: Request, caller: Caller, wanted: EmbeddingRequest) -> Response:
    """Embed one or more texts."""
    embedder, texts, tokens = await anyio.to_thread.run_sync(_read, caller, wanted, limiter=_ONE)
    vectors: list[np.ndarray] = []
    for start in range(0, len(texts), STEP):
        if await request.is_disconnected():
            return Response(status_code=499)
        step = texts[start : start + STEP]
        vectors += [*await anyio.to_thread.run_sync(embedder.embed, step, limiter=_ONE)]
    return as_json(_response(wanted, vectors, tokens))


def embedders() -> dict[str, str]:
    """The embedding models on this machine: what clients call each, such as `all-minilm-l6-v2`, and its id."""
    from huggingface_hub import try_to_load_from_cache

    here = [
        entry.id
        for entry in catalogue("embedding")
        if entry.id == BUNDLED_EMBEDDER or isinstance(try_to_load_from_cache(entry.id, "config.json"), str)
    ]
    return {embedder.rpartition("/")[2].lower(): embedder for embedder in here}


def _read(key: ApiKey | None, wanted: EmbeddingRequest) -> tuple[Embedder, list[str], int]:
    """The model, the texts, and how many tokens these have. Raises ApiError."""
    from core.models.embedding import load_embedder

    embedder = load_embedder(_found(wanted.model))
    texts = _texts(wanted.input, embedder)
    lengths = [len(ids) for ids in embedder.tokenizer(texts, verbose=False)["input_ids"]]
    longest = max(lengths)
    if longest > embedder.max_tokens:
        message = (
            f"The model reads {embedder.max_tokens} tokens at most, but text {lengths.index(longest)} of the input has "
            f"{longest}. Cut it into shorter pieces."
        )
        raise ApiError(400, message, param="input", code="context_length_exceeded")
    if wanted.dimensions is not None and wanted.dimensions != (made := len(embedder.embed(["a"])[0])):
        message = f"The model's vectors have {made} dimensions and cannot be shortened."
        raise ApiError(400, message, param="dimensions", code="unsupported_value")
    limits.take_tokens(key, sum(lengths))
    return embedder, texts, sum(lengths)


def _response(wanted: EmbeddingRequest, vectors: Sequence[np.ndarray], tokens: int) -> EmbeddingResponse:
    as_text = wanted.encoding_format == "base64"
    return EmbeddingResponse(
        object="list",
        model=wanted.model,
        data=[
            Vector(
                object="embedding",
                index=i,
                embedding=base64.b64encode(vector.astype("<f4").tobytes()).decode() if as_text else vector.tolist(),
            )
            for i, vector in enumerate(vectors)
        ],
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _found(name: str) -> str:
    """The id of the embedding model that clients call so. Raises ApiError 404."""
    for short, embedder in embedders().items():
        if name in (short, embedder):
            return embedder
    raise not_found(name)


def _texts(given: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]], embedder: Embedder) -> list[str]:
    if isinstance(given, str):
        return [given]
    several = given if isinstance(given[0], (str, list)) else [given]
    return [text if isinstance(text, str) else _decoded(text, embedder) for text in several]


def _decoded(ids: object, embedder: Embedder) -> str:
    known = len(embedder.tokenizer)
    assert isinstance(ids, list)
    if max(ids) >= known:
        message = f"The input holds the token {max(ids)}, but the model knows {known} tokens. Send the text itself."
        raise ApiError(400, message, param="input", code="invalid_value")
    return str(embedder.tokenizer.decode(ids, skip_special_tokens=True))

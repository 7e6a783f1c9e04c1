"""POST /v1/embeddings with the bundled embedding model, asked by the official client."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai import OpenAI
from openai.types import CreateEmbeddingResponse

from core.models.catalogue import BUNDLED_EMBEDDER

pytestmark = pytest.mark.integration
MODEL = "all-minilm-l6-v2"
TEXTS = ["A ladder has rungs.", "The sea is wide."]


def whole(client: OpenAI, given: Any, **more: Any) -> CreateEmbeddingResponse:
    raw = client.embeddings.with_raw_response.create(
        **{"model": MODEL, "encoding_format": "float", **more}, input=given
    )
    CreateEmbeddingResponse.model_validate_json(raw.content, strict=True)
    return raw.parse()


def test_vectors_are_those_that_documents_are_searched_with(client: OpenAI) -> None:
    from core.models.embedding import load_embedder

    expected = load_embedder().embed(TEXTS)
    response = whole(client, TEXTS)
    assert [each.index for each in response.data] == [0, 1]
    np.testing.assert_allclose([each.embedding for each in response.data], expected, atol=1e-6)
    # As the client asks by itself, which is in base64; one text as well as several; the full id as well as the short.
    for given, count in ((TEXTS, 2), (TEXTS[0], 1)):
        found = client.embeddings.create(model=BUNDLED_EMBEDDER, input=given)
        np.testing.assert_allclose([each.embedding for each in found.data], expected[:count], atol=1e-6)


def test_base64_is_little_endian_float32(client: OpenAI, server: Any) -> None:
    body = {"model": MODEL, "input": TEXTS[0], "encoding_format": "base64", "dimensions": 384}
    (sent,) = httpx.post(f"{server.url}/embeddings", json=body).json()["data"]
    vector = np.frombuffer(base64.b64decode(sent["embedding"]), "<f4")
    np.testing.assert_allclose(vector, whole(client, TEXTS[0]).data[0].embedding, atol=1e-6)


def test_tokens_are_as_good_as_text(client: OpenAI) -> None:
    from core.models.embedding import load_embedder

    ids = load_embedder().tokenizer(TEXTS[1], add_special_tokens=False)["input_ids"]
    response, expected = whole(client, ids), whole(client, TEXTS[1])
    np.testing.assert_allclose(response.data[0].embedding, expected.data[0].embedding, atol=1e-6)
    assert response.usage == expected.usage
    assert response.usage.total_tokens == len(ids) + 2  # where the text begins and ends


@pytest.mark.parametrize(
    ("given", "more", "status", "param", "code"),
    [
        ("", {}, 400, "input", "invalid_value"),
        ([], {}, 400, "input", "invalid_value"),
        ([""], {}, 400, "input[0]", "invalid_value"),
        ([10**6], {}, 400, "input", "invalid_value"),
        (["x"] * 2049, {}, 400, "input", "invalid_value"),
        (["short", "long " * 300], {}, 400, "input", "context_length_exceeded"),
        ("x", {"dimensions": 256}, 400, "dimensions", "unsupported_value"),
        ("x", {"model": "text-embedding-3-small"}, 404, "model", "model_not_found"),
        # In the catalogue, but not on this machine: a request starts no download.
        ("x", {"model": "BAAI/bge-small-en-v1.5"}, 404, "model", "model_not_found"),
        ("x", {"extra_body": {"colour": "red"}}, 400, "colour", "unknown_parameter"),
    ],
)
def test_what_is_wrong_is_said(
    client: OpenAI, given: Any, more: dict[str, Any], status: int, param: str, code: str
) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        whole(client, given, **more)
    assert (raised.value.status_code, raised.value.param, raised.value.code) == (status, param, code)

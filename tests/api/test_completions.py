"""POST /v1/completions, asked by the official client over a real connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Completion

ASKED: dict[str, Any] = {"model": "tiny", "prompt": "Once upon a time", "temperature": 0, "max_tokens": 10}


def whole(client: OpenAI, **more: Any) -> Completion:
    raw = client.completions.with_raw_response.create(**{**ASKED, **more})
    Completion.model_validate_json(raw.content, strict=True)
    return raw.parse()


def parts(client: OpenAI, **more: Any) -> list[Completion]:
    return list(client.completions.create(**{**ASKED, **more}, stream=True))


def tokenizer(folder: Path) -> Any:
    from core.models.loading import load_tokenizer

    return load_tokenizer(str(folder))


def plainly_continued(folder: Path, text: str, tokens: int) -> str:
    """What transformers' own `generate` makes of it."""
    from core.models.loading import load_model

    loaded = load_model(str(folder))
    inputs = loaded.tokenizer(text, return_tensors="pt")
    output = loaded.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return str(loaded.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def test_a_text_is_continued_as_it_stands(client: OpenAI, tiny_model: Path) -> None:
    completion = whole(client)
    assert completion.choices[0].text == plainly_continued(tiny_model, ASKED["prompt"], 10)
    assert completion.id.startswith("cmpl-") and completion.object == "text_completion"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == len(tokenizer(tiny_model)(ASKED["prompt"])["input_ids"])


def test_several_prompts_are_answered_in_their_order(client: OpenAI) -> None:
    prompts = ["Once upon a time", "The sea"]
    single = [whole(client, prompt=prompt) for prompt in prompts]
    both = whole(client, prompt=prompts, n=2)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in both.choices] == [one.choices[0].text for one in single for _ in range(2)]
    assert both.usage is not None and both.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in single)  # type: ignore[union-attr]


def test_tokens_are_as_good_as_text(client: OpenAI, tiny_model: Path) -> None:
    ids = tokenizer(tiny_model)(ASKED["prompt"])["input_ids"]
    expected = whole(client).choices[0].text
    assert whole(client, prompt=ids).choices[0].text == expected
    assert [choice.text for choice in whole(client, prompt=[ids, ids]).choices] == [expected] * 2
    with pytest.raises(openai.BadRequestError, match="knows 49152 tokens") as raised:
        whole(client, prompt=[10**6])
    assert raised.value.param == "prompt"


def test_without_a_prompt_a_document_begins(client: OpenAI) -> None:
    assert whole(client, prompt="").choices == whole(client, prompt=None).choices


def test_sixteen_tokens_unless_more_are_asked_for(client: OpenAI) -> None:
    usage = whole(client, max_tokens=None, prompt="The sea").usage
    assert usage is not None and usage.completion_tokens <= 16


def test_echo_repeats_the_prompt(client: OpenAI) -> None:
    expected = whole(client).choices[0].text
    assert whole(client, echo=True).choices[0].text == ASKED["prompt"] + expected
    assert "".join(chunk.choices[0].text for chunk in parts(client, echo=True)) == ASKED["prompt"] + expected


def test_a_stream_tells_the_same_in_pieces(client: OpenAI) -> None:
    expected, chunks = whole(client).choices[0], parts(client, stream_options={"include_usage": True})
    *chunks, last = chunks
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected.text
    reasons: list[Any] = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons[-1] == expected.finish_reason and set(reasons[:-1]) <= {None}
    assert last.choices == [] and last.usage is not None and last.usage.completion_tokens == 10


def test_logprobs_lie_side_by_side(client: OpenAI) -> None:
    (choice,) = whole(client, logprobs=3).choices
    found = choice.logprobs
    assert found is not None
    assert found.tokens is not None and found.token_logprobs is not None
    assert found.top_logprobs is not None and found.text_offset is not None
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(found.text_offset)
    for token, offset in zip(found.tokens, found.text_offset, strict=True):
        if not token.startswith("bytes:"):
            assert choice.text[offset:].startswith(token)
    assert all(3 <= len(top) <= 4 for top in found.top_logprobs)
    streamed = [chunk.choices[0].logprobs for chunk in parts(client, logprobs=3)]
    assert [offset for part in streamed if part for offset in part.text_offset or []] == found.text_offset
    none = whole(client, logprobs=0).choices[0].logprobs
    assert none is not None and none.top_logprobs is None and none.token_logprobs == found.token_logprobs


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": 5}, "prompt", "invalid_type"),
        ({"prompt": ["a", 5]}, "prompt[1]", "invalid_type"),
        ({"prompt": [-1]}, "prompt[0]", "invalid_value"),
        ({"logprobs": 6}, "logprobs", "invalid_value"),
        ({"logprobs": 2, "echo": True}, "echo", "unsupported_value"),
        ({"best_of": 2}, "best_of", "unsupported_value"),
        ({"suffix": "end"}, "suffix", "unsupported_parameter"),
        ({"max_tokens": 600}, "prompt", "context_length_exceeded"),
        ({"extra_body": {"messages": []}}, "messages", "unknown_parameter"),
    ],
)
def test_what_is_wrong_is_said_of_its_parameter(client: OpenAI, more: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        whole(client, **more)
    assert (raised.value.param, raised.value.code) == (param, code)

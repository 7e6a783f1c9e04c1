"""How many tokens a provider will train on: counted with OpenAI's own tokenizers, which come with bpe-openai."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from core.managed.providers import known_model

# What stands around a message and around a conversation; source: OpenAI's cookbook, "Data preparation and analysis
# for chat model fine-tuning". The role is a token more.
PER_MESSAGE, PER_NAME, PER_EXAMPLE = 3, 1, 3
# The tokenizer refuses longer texts; cut apart, each seam may cost a token more.
PIECE = 50_000
# Epochs that are left to OpenAI, by the same page: about 3, more for small sets, fewer for huge ones.
EPOCHS, FEWEST, MOST, MOST_EPOCHS = 3, 100, 25_000, 25

Encoding = Literal["o200k_base", "cl100k_base"]


def counter(base_model: str) -> tuple[Callable[[dict[str, Any]], int], bool, str]:
    """(tokens of one line of the file, whether the tokenizer is the model's own, how it was counted in words)."""
    known = known_model(base_model)
    name: Encoding = known.tokenizer if known else "o200k_base"
    how = f"Counted with {name}, OpenAI's tokenizer for this model"
    if known is None:
        how = f"Estimated with {name}: the tokenizer of {base_model} is not known here, and may differ by a third"
    return lambda record: tokens_of(record, name), known is not None, how


def tokens_of(record: dict[str, Any], encoding: Encoding) -> int:
    """Tokens of one example. Tools and calls are counted as the JSON they are written in, which comes close."""
    encode = _tokenizer(encoding)

    def length(text: str) -> int:
        return sum(len(encode(text[start : start + PIECE])) for start in range(0, len(text), PIECE))

    total = PER_EXAMPLE
    for message in record["messages"]:
        total += PER_MESSAGE + (PER_NAME if "name" in message else 0)
        for name, value in message.items():
            if name != "weight" and value is not None:
                total += length(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return total + (length(json.dumps(record["tools"], ensure_ascii=False)) if record.get("tools") else 0)


@cache
def _tokenizer(encoding: Encoding) -> Callable[[str], list[int]]:
    from bpe_openai import get_encoding

    encode: Callable[[str], list[int]] = get_encoding(encoding).encode_ordinary
    return encode


def usual_epochs(examples: int) -> int:
    """How many epochs OpenAI's rule of thumb chooses where it is left to it."""
    if examples * EPOCHS < FEWEST:
        return min(MOST_EPOCHS, FEWEST // max(1, examples))
    if examples * EPOCHS > MOST:
        return max(1, MOST // examples)
    return EPOCHS

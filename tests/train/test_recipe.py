"""The recipe and the tokens a run learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import UserError
from core.models.loading import load_tokenizer
from core.train.recipe import Recipe
from core.train.tokens import IGNORED, encode, encode_all
from tests.factories import example


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(str(tiny_model))


def test_only_the_answer_and_its_end_are_learned(tokenizer: Any) -> None:
    encoded = encode(tokenizer, example("Which kind is a pear?", "fruit"), 512)
    prompt = [token for token, label in zip(encoded.input_ids, encoded.labels, strict=True) if label == IGNORED]
    learned = [label for label in encoded.labels if label != IGNORED]
    assert tokenizer.decode(learned) == "fruit<|im_end|>"
    assert encoded.learned == len(learned)
    assert tokenizer.decode(prompt).endswith("Which kind is a pear?<|im_end|>\n<|im_start|>assistant\n")
    assert encoded.input_ids[len(prompt) :] == learned


def test_training_shows_the_very_prompt_that_generation_asks(tiny_model: Path, tokenizer: Any) -> None:
    from core.models.loading import load_model
    from core.models.local import LocalGenerator
    from core.models.prompt import build_messages

    one = example("Which kind is a pear?", "fruit")
    encoded = encode(tokenizer, one, 512)
    asked = LocalGenerator(load_model(str(tiny_model))).tokenize(build_messages(one.messages))
    assert encoded.input_ids[: len(asked)] == asked
    assert set(encoded.labels[: len(asked)]) == {IGNORED}


def test_examples_whose_answer_is_cut_off_are_refused_by_number(tokenizer: Any) -> None:
    rows = [
        example("short", "ok"),
        example("long " * 100, "lost"),
        example("short too", "ok"),
        example("long " * 90, "lost"),
    ]
    with pytest.raises(
        UserError, match=r"2 of 4 training examples are longer than 64 tokens.*\(examples 2, 4\)"
    ) as caught:
        encode_all(tokenizer, rows, 64)
    assert "max_length" in caught.value.remedy
    assert all(encoded.learned for encoded in encode_all(tokenizer, rows, 512))


@pytest.mark.parametrize(
    "wrong", [{"method": "magic"}, {"epochs": 0}, {"learning_rate": -1}, {"rank": 0}, {"dropout": 1}, {"warmup": 3}]
)
def test_recipe_refuses_what_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(wrong)


@given(st.integers(1, 500), st.integers(1, 16), st.integers(1, 4), st.sampled_from([0.1, 0.5, 1, 2, 3.7]))
def test_steps_cover_the_epochs(examples: int, batch: int, accumulation: int, epochs: float) -> None:
    steps = Recipe(batch_size=batch, accumulation=accumulation, epochs=epochs).steps(examples)
    assert steps >= 1
    assert steps * batch * accumulation >= examples * epochs * 0.999

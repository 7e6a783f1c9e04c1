"""The recipe that is suggested: what an expert would start from, with a reason for each choice."""

from __future__ import annotations

import pytest

from core.models.access import ModelFacts, describe
from core.models.catalogue import BUNDLED_MODEL
from core.models.devices import ThisDevice
from core.train.defaults import suggest
from core.train.estimate import estimate
from core.train.recipe import Recipe

LAPTOP = ThisDevice("laptop", 16, 0.18, 20, "cpu", 12)
GPU_24 = ThisDevice("RTX 4090", 24, 165, 1008, "cuda", 23)
H100 = ThisDevice("H100", 80, 989, 3350, "cuda", 79)
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"


def test_the_bundled_model_and_240_examples_get_the_usual_recipe_at_the_data_s_length() -> None:
    recipe, why = suggest(describe(BUNDLED_MODEL), [70] * 200 + [150] * 40, 240, LAPTOP)
    usual = Recipe()
    same = ("model", "method", "rank", "alpha", "learning_rate", "epochs", "batch_size", "accumulation", "packing")
    assert all(getattr(recipe, field) == getattr(usual, field) for field in same)
    assert recipe.max_length == 192
    assert "150 tokens" in why["max_length"]
    assert set(why) <= set(Recipe.model_fields)
    assert all(reason.endswith(".") for reason in why.values())


def test_few_examples_are_seen_more_often_and_many_once() -> None:
    epochs = [suggest(describe(BUNDLED_MODEL), [100] * 50, n, LAPTOP)[0].epochs for n in (50, 150, 1_000, 100_000)]
    assert epochs == [4, 3, 2, 1]


def test_larger_models_take_smaller_steps() -> None:
    rates = [suggest(describe(m), [100], 500, H100)[0].learning_rate for m in (BUNDLED_MODEL, LLAMA_8B, LLAMA_70B)]
    assert rates == [5e-4, 2e-4, 1e-4]


@pytest.mark.parametrize(
    ("model", "device", "length", "method"),
    [
        (LLAMA_8B, H100, 1000, "lora"),
        (LLAMA_8B, GPU_24, 500, "lora"),
        (LLAMA_8B, GPU_24, 10_000, "qlora"),
        (LLAMA_70B, H100, 500, "qlora"),
        (BUNDLED_MODEL, LAPTOP, 4000, "lora"),
    ],
)
def test_what_is_suggested_fits_the_device(model: str, device: ThisDevice, length: int, method: str) -> None:
    facts = describe(model)
    recipe, why = suggest(facts, [length] * 100, 100, device, answer_share=0.2)
    assert recipe.method == method
    assert recipe.batch_size * recipe.accumulation == 8  # 100 examples
    assert estimate(recipe, [length] * 100, 0.2, facts, device).fits
    assert why["method"]


def test_what_cannot_fit_is_suggested_at_its_smallest_and_says_so() -> None:
    recipe, why = suggest(describe(LLAMA_70B), [500], 100, LAPTOP)
    assert (recipe.method, recipe.batch_size, recipe.accumulation) == ("qlora", 1, 8)
    assert "Not even four bits fit" in why["method"]


def test_the_length_never_exceeds_what_the_model_reads() -> None:
    recipe, why = suggest(describe(BUNDLED_MODEL), [100, 20_000], 500, H100)
    assert recipe.max_length == 8192
    assert "1 are cut" in why["max_length"]


def test_a_model_of_unknown_shape_still_gets_a_recipe() -> None:
    facts = ModelFacts("some/mixture", "mit", False, None, 4096, None, 2.0, "hub")
    recipe, why = suggest(facts, [300], 300, LAPTOP)
    assert recipe.model == "some/mixture"
    assert recipe.max_length == 320
    assert "pre-flight" in why["method"]

"""What a run will take, and which runs are refused before they start."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import UserError
from core.models.access import ModelFacts, describe
from core.models.catalogue import BUNDLED_MODEL
from core.models.devices import ThisDevice, this_device
from core.models.estimate import Device
from core.train.estimate import estimate, refuse
from core.train.recipe import Recipe

LAPTOP = ThisDevice("laptop", 16, 0.18, 20, "cpu", 12)
GPU_24 = ThisDevice("RTX 4090", 24, 165, 1008, "cuda", 23)
H100 = Device("H100", 80, 989, 3350)
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"
SHORT = [100] * 240


def told(
    lengths: Any = SHORT, share: float = 0.2, device: Device = LAPTOP, examples: int | None = None, **recipe: Any
) -> Any:
    wanted = Recipe(**recipe)
    return estimate(wanted, lengths, share, describe(wanted.model), device, examples=examples)


def test_tokens_steps_and_time_follow_from_the_data() -> None:
    found = told()
    assert (found.tokens, found.steps) == (48_000, 60)
    # 135 million parameters, 4 operations each, at 56% of 0.18 TFLOP/s, and 15 s to start.
    assert found.seconds == pytest.approx(4 * 134.5e6 * 48_000 / (0.18e12 * 0.56) + 15, rel=0.01)
    assert told(epochs=4).tokens == 2 * found.tokens
    assert told(max_steps=30).tokens == 24_000
    assert told(max_length=50).tokens == found.tokens / 2


def test_a_sample_of_lengths_stands_for_all_examples() -> None:
    assert told(examples=2_400).tokens == 10 * told().tokens
    assert told(examples=2_400).steps == 600
    assert told(examples=2_400).memory == told().memory


def test_packing_fills_rows() -> None:
    packed = told(packing=True, max_length=1000, batch_size=2)
    assert packed.steps == 24  # 24 rows of 1000, 2 epochs, 2 at a time
    assert packed.tokens == 48_000
    assert packed.memory.activations == pytest.approx(
        told([1000] * 240, max_length=1000, batch_size=2).memory.activations
    )


def test_the_longest_batch_sets_the_peak_and_what_is_cut_is_not_counted() -> None:
    peak = told([100] * 239 + [800]).memory
    assert peak.activations == pytest.approx(8 * told().memory.activations)
    assert told([100] * 239 + [800], max_length=100).memory.activations == told().memory.activations
    assert told([5_000_000], device=H100, model=LLAMA_8B, max_length=131_072).tokens == 2 * 131_072


def test_learning_the_prompts_too_holds_more_logits() -> None:
    assert told(answers_only=False).memory.logits == pytest.approx(5 * told().memory.logits)


def test_a_measured_speed_is_believed() -> None:
    found = estimate(Recipe(), SHORT, 0.2, describe(BUNDLED_MODEL), LAPTOP, tokens_per_s=480)
    assert found.seconds == pytest.approx(115)


def test_a_gpu_holds_no_more_than_a_tile_of_the_logits() -> None:
    lengths = [2048] * 100
    one = told(lengths, 1.0, GPU_24, model=LLAMA_8B, method="qlora", max_length=2048, batch_size=1)
    assert one.fits
    # All logits of 2048 positions would be 2 GB.
    assert one.memory.logits < 0.3


def test_what_does_not_fit_says_what_to_change_mildest_first() -> None:
    found = told([2000] * 100, device=GPU_24, model=LLAMA_8B, max_length=2048, batch_size=16, method="lora")
    assert found.fits is False
    text = " ".join(found.advice)
    assert found.advice[0].startswith("Set batch_size to ")
    assert "qlora" in text
    assert "max_length" in text
    assert "Choose a smaller model" in found.advice[-1]


def test_every_advice_of_the_estimate_is_true() -> None:
    """What is promised to fit, fits."""
    start = {"model": LLAMA_8B, "max_length": 4096, "batch_size": 32, "method": "lora"}
    found = told([4000] * 100, device=GPU_24, **start)
    assert not found.fits
    for advice in found.advice:
        changed = dict(start)
        if advice.startswith("Set batch_size to "):
            changed["batch_size"] = int(advice.split()[3])
        elif advice.startswith("Choose the method "):
            changed["method"] = advice.split()[3]
        elif advice.startswith("Set max_length to "):
            changed["max_length"] = int(advice.split()[3].rstrip(";"))
        elif advice.startswith("Take qlora"):
            changed |= {"method": "qlora", "batch_size": 1, "max_length": 128}
        else:
            changed["model"] = advice.split()[4]
        assert told([4000] * 100, device=GPU_24, **changed).fits, advice


def test_a_busy_device_says_that_one_must_wait() -> None:
    busy = ThisDevice("GPU", 24, 165, 1008, "cuda", 1.0)
    found = told(device=busy, model=LLAMA_8B, method="qlora")
    assert found.fits
    assert found.available_gb == 1.0
    assert "Only 1.0 GB are free at the moment" in found.advice[0]


def test_a_model_without_a_known_shape_says_what_cannot_be_told() -> None:
    facts = ModelFacts("some/mixture", "mit", False, None, 4096, 90_000_000_000, 2.0, "hub")
    found = estimate(Recipe(model="some/mixture"), SHORT, 0.2, facts, LAPTOP)
    assert (found.memory, found.fits, found.seconds) == (None, None, None)
    assert found.steps == 60
    assert "90.0 GB" in found.unknown
    assert "pre-flight" in found.unknown
    json.dumps(found.as_dict())


def test_the_estimate_is_json_with_a_total() -> None:
    found = json.loads(json.dumps(told().as_dict()))
    parts = {name: gb for name, gb in found["memory"].items() if name != "total"}
    assert found["memory"]["total"] == pytest.approx(sum(parts.values()))
    assert {"weights", "adapter", "gradients", "optimiser", "activations", "logits", "cache", "overhead"} == set(parts)


def test_qlora_of_a_70b_model_without_a_gpu_is_refused_with_what_would_fit() -> None:
    with pytest.raises(UserError, match=r"Llama-3.3-70B.* with qlora takes at least \d\d") as caught:
        refuse(Recipe(model=LLAMA_70B, method="qlora"), describe(LLAMA_70B), 500, LAPTOP)
    assert "smaller model" in caught.value.remedy
    assert "GPU" in caught.value.remedy


def test_lora_of_an_8b_model_on_24_gb_is_allowed_and_full_training_is_refused_for_lora() -> None:
    facts = describe(LLAMA_8B)
    refuse(Recipe(model=LLAMA_8B), facts, 500, GPU_24)
    with pytest.raises(UserError, match="with full takes at least") as caught:
        refuse(Recipe(model=LLAMA_8B, method="full"), facts, 500, GPU_24)
    assert "lora" in caught.value.remedy


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(UserError, match="9 training examples are too few") as caught:
        refuse(Recipe(), describe(BUNDLED_MODEL), 9, LAPTOP)
    assert "at least 10" in caught.value.remedy
    refuse(Recipe(), describe(BUNDLED_MODEL), 10, LAPTOP)


def test_unsloth_where_it_cannot_run_is_refused() -> None:
    pytest.importorskip("core.train.unsloth")
    from core.train.unsloth import available

    if not available():
        pytest.skip("Unsloth is installed here, beside a GPU")
    with pytest.raises(UserError, match="Unsloth cannot be used here") as caught:
        refuse(Recipe(engine="unsloth"), describe(BUNDLED_MODEL), 100, LAPTOP)
    assert "trl" in caught.value.remedy


def test_this_device_is_what_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    from core.settings import get_settings

    monkeypatch.setenv("LOWEST_RUNG_DEVICE", "cpu")
    get_settings.cache_clear()
    here = this_device()
    assert here.kind == "cpu"
    assert here.memory_gb <= psutil.virtual_memory().total / 1e9
    assert 0 < here.free_gb <= here.memory_gb
    assert here.usable_gb < here.memory_gb
    # From a very slow board to a very large server, in 10^12 operations a second.
    assert 0.001 < here.bf16_tflops < 100

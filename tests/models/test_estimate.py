"""Estimates against what others have measured and published; "within" always means: by a factor of 1.5."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core.models.catalogue import CatalogueEntry, catalogue
from core.models.estimate import (
    NF4_BITS,
    Device,
    Memory,
    Shape,
    _block_bytes,
    decode_seconds,
    serving_memory,
    serving_tokens_per_s,
    training_hours,
    training_memory,
)

SHAPES = {entry.id: entry.shape for entry in catalogue() if entry.shape}
SMOLLM2 = SHAPES["bundled/SmolLM2-135M-Instruct"]
LLAMA_8B = SHAPES["meta-llama/Llama-3.1-8B-Instruct"]
LLAMA_70B = SHAPES["meta-llama/Llama-3.3-70B-Instruct"]
LLAMA_2_7B = Shape(
    layers=32, hidden=4096, intermediate=11008, heads=32, kv_heads=32, head_dim=128, vocab=32000, tied=False
)
RTX_4090 = Device("RTX 4090", 24, 165.2, 1008)
A100 = Device("A100", 80, 312, 2039)
A100_40 = Device("A100 40 GB", 40, 312, 1555)
H100 = Device("H100", 80, 989.4, 3350)
# Two laptop cores, matrix products in fp32 measured at 180 GFLOP/s.
LAPTOP = Device("two CPU cores", 24, 0.18, 20)
GIB = 2**30 / 1e9


def within(estimate: float, published: float, factor: float = 1.5) -> bool:
    return published / factor <= estimate <= published * factor


def speed(shape: Shape, method: str, device: Device, checkpointing: bool = True) -> float:
    """Training tokens per second."""
    return 1e6 / training_hours(shape, method, 1e6, device, checkpointing=checkpointing) / 3600  # type: ignore[arg-type]


@pytest.mark.parametrize("entry", [e for e in catalogue() if e.shape], ids=lambda e: e.id)
def test_shapes_have_the_parameters_and_the_size_the_catalogue_prints(entry: CatalogueEntry) -> None:
    assert entry.shape is not None
    assert entry.shape.parameters / 1e9 == pytest.approx(entry.parameters, rel=0.01)
    assert entry.shape.weight_bytes(16) / 1e9 == pytest.approx(entry.size_gb, rel=0.02)


def test_every_generation_model_has_a_shape_and_no_misspelt_one_is_read() -> None:
    assert all(entry.shape for entry in catalogue())
    raw = catalogue()[0].model_dump()
    with pytest.raises(ValidationError, match="hiden"):
        CatalogueEntry.model_validate({**raw, "shape": {**raw["shape"], "hiden": 1}})


def test_lora_on_all_linear_layers_of_llama_8b_has_42_million_parameters_at_rank_16() -> None:
    # PEFT prints "trainable params: 41,943,040" for this model.
    assert LLAMA_8B.adapter(16) == 41_943_040


@pytest.mark.parametrize(
    ("shape", "method", "sequence", "batch", "rank", "logits_share", "published"),
    [
        # torchtune README: batch 2, packed 2048, the loss in eight chunks.
        (LLAMA_8B, "qlora", 2048, 2, 8, 1 / 8, 7.4 * GIB),
        (LLAMA_8B, "lora", 2048, 2, 8, 1 / 8, 16.2 * GIB),
        # LLaMA-Factory wiki, 2024-04: batch 4, 1024 tokens, rank 8.
        (LLAMA_2_7B, "qlora", 1024, 4, 8, 1.0, 9),
        (LLAMA_2_7B, "lora", 1024, 4, 8, 1.0, 18),
        # The same, batch 1: FlashAttention 2, four bits.
        (LLAMA_2_7B, "qlora", 1024, 1, 8, 1.0, 6),
        (LLAMA_2_7B, "qlora", 8192, 1, 8, 1.0, 12),
        (LLAMA_2_7B, "qlora", 32768, 1, 8, 1.0, 32),
        # Unsloth requirements, "the absolute minimum": short examples, a fused loss.
        (LLAMA_8B, "qlora", 256, 1, 16, 0.1, 6),
        (LLAMA_8B, "lora", 256, 1, 16, 0.1, 22),
        (LLAMA_70B, "qlora", 256, 1, 16, 0.1, 41),
    ],
)
def test_training_memory_is_within_published_figures(
    shape: Shape, method: str, sequence: int, batch: int, rank: int, logits_share: float, published: float
) -> None:
    memory = training_memory(
        shape,
        method,  # type: ignore[arg-type]
        rank=rank,
        sequence=sequence,
        batch=batch,
        logits_share=logits_share,
    )
    assert within(memory.total, published)


def test_a_7b_model_trains_fully_on_no_single_card_with_lora_in_24_gb_and_with_qlora_in_12() -> None:
    full, lora, qlora = (
        training_memory(LLAMA_2_7B, method, sequence=1024, batch=1).total for method in ("full", "lora", "qlora")
    )
    assert full > 100
    assert 14 < lora < 24
    assert qlora < 12


def test_full_training_holds_sixteen_bytes_a_parameter_before_any_activation() -> None:
    memory = training_memory(LLAMA_2_7B, "full", sequence=1, batch=1)
    assert memory.weights + memory.gradients + memory.optimiser == pytest.approx(16 * LLAMA_2_7B.parameters / 1e9)
    assert memory.adapter == 0


def test_qlora_as_we_train_it_keeps_an_8b_model_within_what_torchtune_takes() -> None:
    # Batch 2 x 2048, every position learned, as torchtune measures it: 7.4 GiB allocated.
    memory = training_memory(
        LLAMA_8B, "qlora", rank=8, sequence=2048, batch=2, fused_head=True, offloading=True, cached_tokens=600
    )
    assert 0.9 * 7.4 * GIB < memory.allocated < 1.1 * 7.4 * GIB
    assert memory.allocated == pytest.approx(memory.total - memory.overhead)


def test_dora_takes_more_than_lora_and_rslora_the_same_and_few_targets_less() -> None:
    def taken(method: str, **more: Any) -> Memory:
        return training_memory(
            SMOLLM2,
            method,
            sequence=256,
            batch=4,
            checkpointing=False,
            device="cpu",
            **more,  # type: ignore[arg-type]
        )

    lora = taken("lora")
    assert taken("rslora") == lora
    assert taken("dora").activations > lora.activations
    assert taken("dora").adapter > lora.adapter
    # Two of seven layers, 576 in and 576 or 192 out, rank 16.
    few = taken("lora", targets=["q_proj", "v_proj"])
    assert few.adapter == pytest.approx(4 * 30 * 16 * (576 + 576 + 576 + 192) / 1e9)
    assert few.activations < lora.activations


def test_a_cpu_holds_weights_in_32_bits_and_packed_ones_in_four() -> None:
    memories = [
        training_memory(SMOLLM2, method, sequence=256, batch=1, checkpointing=False, device="cpu")
        for method in ("lora", "qlora")
    ]
    assert memories[0].weights == pytest.approx(4 * SMOLLM2.parameters / 1e9)
    # 106 million linear parameters at 4.127 bits, 28 million of the embedding at 32, one matrix unpacked.
    assert memories[1].weights == pytest.approx(0.055 + 0.113 + 0.0035, abs=0.002)


def test_sample_answers_cost_memory_only_beyond_the_room_of_a_step() -> None:
    few = training_memory(LLAMA_8B, "qlora", sequence=2048, batch=2, cached_tokens=3 * 2112)
    many = training_memory(LLAMA_8B, "qlora", sequence=128, batch=1, cached_tokens=10 * 2112, offloading=True)
    assert few.cache == 0
    assert many.cache > 1
    assert many.cache + many.activations + many.logits == pytest.approx(10 * 2112 * LLAMA_8B.kv_bytes / 1e9)


def test_checkpointing_saves_memory_and_costs_time() -> None:
    kept = training_memory(LLAMA_8B, "lora", sequence=2048, batch=1, checkpointing=False)
    saved = training_memory(LLAMA_8B, "lora", sequence=2048, batch=1)
    assert saved.activations < kept.activations / 3
    assert speed(LLAMA_8B, "lora", A100) == pytest.approx(speed(LLAMA_8B, "lora", A100, checkpointing=False) * 4 / 6)


@pytest.mark.parametrize(
    ("shape", "method", "device", "checkpointing", "published"),
    [
        (LLAMA_8B, "qlora", RTX_4090, True, 2413),  # torchtune README
        (LLAMA_2_7B, "qlora", A100_40, True, 2415),  # LLaMA-Factory wiki: Hugging Face
        (LLAMA_2_7B, "qlora", A100_40, True, 3726),  # the same with Unsloth
        (LLAMA_2_7B, "lora", A100_40, True, 2954),  # Hugging Face with FlashAttention 2
        (LLAMA_2_7B, "lora", A100_40, True, 4007),  # Unsloth
        (SMOLLM2, "lora", LAPTOP, False, 138),  # measured here: 126 to 150
    ],
)
def test_training_speed_is_within_published_figures(
    shape: Shape, method: str, device: Device, checkpointing: bool, published: float
) -> None:
    assert within(speed(shape, method, device, checkpointing), published)


def test_full_training_takes_half_as_long_again_as_lora_and_qlora_a_quarter() -> None:
    # 6 operations a parameter against 4, without recomputation.
    lora = training_hours(LLAMA_8B, "lora", 1e6, H100, checkpointing=False)
    assert training_hours(LLAMA_8B, "full", 1e6, H100, checkpointing=False) == pytest.approx(1.5 * lora)
    assert training_hours(LLAMA_8B, "qlora", 1e6, H100, checkpointing=False) == pytest.approx(1.25 * lora)


def test_serving_memory_is_weights_and_cache() -> None:
    # 32 layers x 8 heads x 128 x (key, value) x 2 bytes = 131,072 bytes a token; 16.06 GB of weights; 1 GB beside.
    assert LLAMA_8B.kv_bytes == 131_072
    memory = serving_memory(LLAMA_8B, context=8000, concurrent=4)
    assert memory == pytest.approx(16.06 + 4 * 8000 * 131_072 / 1e9 + 1, abs=0.01)
    assert serving_memory(LLAMA_8B, bits=NF4_BITS, context=8000, concurrent=1) < 8


@pytest.mark.parametrize(
    ("shape", "device", "prompt", "output", "bits", "published"),
    [
        (LLAMA_2_7B, A100, 5, 200, 16, 104.9),  # gpt-fast README
        (LLAMA_2_7B, A100, 5, 200, NF4_BITS, 196.8),
        (LLAMA_8B, A100_40, 1024, 128, 16, 75),  # vLLM 0.23, John Musgrave's sweep
        (LLAMA_8B, H100, 100, 200, 16, 122),  # vLLM 0.21, InferenceBench, short chats
    ],
)
def test_a_lone_request_is_written_as_fast_as_published(
    shape: Shape, device: Device, prompt: int, output: int, bits: float, published: float
) -> None:
    assert within(output / decode_seconds(shape, device, prompt, output, bits), published)


def test_eight_at_once_write_as_fast_as_published() -> None:
    # The vLLM sweep above: 6.6 times the 75 tokens per second of one.
    assert within(serving_tokens_per_s(LLAMA_8B, A100_40, 1024, 128, 8), 6.6 * 75)


def test_batching_raises_throughput_until_computing_is_the_limit() -> None:
    speeds = [serving_tokens_per_s(LLAMA_8B, H100, 200, 200, n) for n in (1, 4, 16, 64, 256)]
    assert speeds == sorted(speeds)
    assert speeds[1] / speeds[0] > 3.5
    # 2 operations for each of 7.5 billion multiplied parameters, at half of 989 TFLOP/s.
    assert speeds[-1] < 989.4e12 * 0.5 / (2 * LLAMA_8B.multiplied)


def test_one_request_at_a_time_is_the_lone_request() -> None:
    alone = decode_seconds(LLAMA_8B, RTX_4090, 1000, 200)
    assert serving_tokens_per_s(LLAMA_8B, RTX_4090, 1000, 200, 1) == pytest.approx(200 / alone)


def test_a_cached_prompt_is_answered_sooner_and_a_longer_one_later() -> None:
    cold = decode_seconds(LLAMA_8B, RTX_4090, 20_000, 100)
    assert decode_seconds(LLAMA_8B, RTX_4090, 20_000, 100, cached_tokens=16_000) < 0.7 * cold
    assert decode_seconds(LLAMA_8B, RTX_4090, 40_000, 100) > cold


def saved_bytes(layers: int, method: str) -> int:
    """What autograd keeps of a batch of 2 x 64 tokens in a network of so many layers: each storage once, no weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=100,
        hidden_size=SMALL.hidden,
        intermediate_size=SMALL.intermediate,
        num_hidden_layers=layers,
        num_attention_heads=SMALL.heads,
        num_key_value_heads=SMALL.kv_heads,
    )
    network = LlamaForCausalLM(config)
    if method != "full":
        lora = LoraConfig(r=16, target_modules="all-linear", use_dora=method == "dora", task_type="CAUSAL_LM")
        network = get_peft_model(network, lora)
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        # Matrices that DoRA forms and drops again are no activations: their first side is no number of tokens.
        if storage.data_ptr() not in weights and tensor.shape[0] in (2, 128):
            kept[storage.data_ptr()] = storage
        return tensor

    ids = torch.zeros(2, 64, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(input_ids=ids, logits_to_keep=1, use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())


SMALL = Shape(layers=2, hidden=96, intermediate=224, heads=6, kv_heads=2, head_dim=16, vocab=100, tied=False)


@pytest.mark.integration
@pytest.mark.parametrize("method", ["lora", "dora", "full"])
def test_a_block_keeps_what_autograd_saves(method: str) -> None:
    four, two = saved_bytes(4, method), saved_bytes(2, method)
    per_layer = 128 * _block_bytes(SMALL, method, 16, "cpu", None)  # type: ignore[arg-type]
    assert (four - two) / 2 == pytest.approx(per_layer, rel=0.02)

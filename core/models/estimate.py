"""What training and serving a transformer takes, told from its shape: memory, hours and speed; nothing is loaded.

Everything is in GB of 10^9 bytes. The memory of a GPU is sold in steps of 2^30 bytes, so what is told to fit "24 GB"
leaves about 7% for the driver and for gaps. Expect real figures within a factor of 1.5: the tests hold these functions
to published ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

Method = Literal["full", "lora", "qlora"]

GB = 1e9
# NF4: 4 bits, an 8-bit scale per 64 weights, and a 32-bit scale per 256 of those (Dettmers et al. 2023).
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
# CUDA's context, libraries' work space and gaps. Published figures are met best with one GB.
OVERHEAD_GB = 1.0

# Share of the 16-bit peak that training reaches, recomputation counted as work. Llama-2-7B on an A100 reaches .38 with
# Hugging Face and .51 with Unsloth (LLaMA-Factory wiki), Llama-3.1-8B on an RTX 4090 .84 with torchtune, compiled.
TRAINING_UTILISATION = 0.56
# 16-bit LoRA over QLoRA, in tokens per second: 1.0 to 1.1 (LLaMA-Factory wiki), 1.28 (torchtune README). Weights are
# unpacked once a pass, however many tokens it has: passes of a few hundred tokens lose more.
DEQUANTISING = 1.25
# Share of the 16-bit peak while a prompt is read: large matrix products, but short ones do not fill the device.
PREFILL_UTILISATION = 0.5
# Share of the memory bandwidth while answers are written: .69 with Llama-2-7B on an A100, .42 with four-bit weights,
# whose unpacking keeps the memory waiting (gpt-fast README).
DECODE_UTILISATION = 0.7
PACKED_DECODE_UTILISATION = 0.42


@dataclass(frozen=True)
class Device:
    """One accelerator. `bf16_tflops` is the dense peak, in 10^12 operations per second."""

    title: str
    memory_gb: float
    bf16_tflops: float
    bandwidth_gb_s: float


@dataclass(frozen=True)
class Shape:
    """A decoder with gated feed-forward layers, in the words of its published config. Biases and norms are left out."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of the linear layers of one block: query, key, value, output, gate, up, down."""
        h, i = self.hidden, self.intermediate
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return (h, q), (h, kv), (h, kv), (q, h), (h, i), (h, i), (i, h)

    @property
    def linear(self) -> int:
        """Parameters of all linear layers, the output head left out: what LoRA adapts and NF4 packs."""
        return self.layers * sum(a * b for a, b in self.matrices)

    @property
    def embeddings(self) -> int:
        """Parameters of the embedding and the output head: one table if they are tied, else two."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        return self.linear + self.embeddings

    @property
    def multiplied(self) -> int:
        """Parameters a token is multiplied with: linear layers and head. The embedding is only looked up."""
        return self.linear + self.vocab * self.hidden

    @property
    def kv_bytes(self) -> int:
        """Bytes of key-value cache per token, in 16 bits."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_dim

    def adapter(self, rank: int) -> int:
        """Parameters of LoRA matrices on every linear layer: rank * (in + out) each (Hu et al. 2021)."""
        return self.layers * rank * sum(a + b for a, b in self.matrices)

    def weight_bytes(self, bits: float) -> float:
        """Bytes of the weights with `bits` per parameter of the linear layers; embeddings and head stay at 16."""
        return self.linear * bits / 8 + self.embeddings * 2


@dataclass(frozen=True)
class Memory:
    """What a training holds on the device at its peak, in GB."""

    weights: float
    adapter: float
    gradients: float
    optimiser: float
    activations: float
    logits: float
    overhead: float = OVERHEAD_GB

    @property
    def total(self) -> float:
        return float(sum(vars(self).values()))


def training_memory(
    shape: Shape,
    method: Method,
    *,
    rank: int = 16,
    sequence: int,
    batch: int,
    checkpointing: bool = True,
    logits_share: float = 1.0,
) -> Memory:
    """Memory of one training step on `batch` examples of `sequence` tokens.

    - Full: 16 bytes a parameter with AdamW in mixed precision; 2 for the weights, 2 for gradients, 12 for the 32-bit
      copy and two moments (Rajbhandari et al. 2020).
    - LoRA: 16-bit weights that do not change; an adapter with gradients and two moments, all in 32 bits: 4 + 4 + 8.
    - QLoRA: the same with NF4 linear layers; embeddings and head stay in 16 bits (Dettmers et al. 2023).
    - Activations: what a block keeps for its backward pass is, per token, the inputs of its norms, linear layers and
      attention (6 hidden-sized with the residual, 2 key-value, 4 intermediate) in 16 bits. With checkpointing every
      block keeps one hidden state only (Chen et al. 2016). One block at a time has all of them and as many gradients.
    - Logits: in 32 bits with their gradients. `logits_share` is the share of positions whose logits are held at once:
      those of the answers, or one chunk of a loss that works in chunks.
    """
    tokens = sequence * batch
    trained = shape.parameters if method == "full" else shape.adapter(rank)
    query, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    block = 2 * (4 * shape.hidden + 2 * query + 2 * kv + 4 * shape.intermediate)
    kept = 2 * shape.hidden if checkpointing else block
    return Memory(
        weights=shape.weight_bytes(NF4_BITS if method == "qlora" else 16) / GB,
        adapter=0.0 if method == "full" else 4 * trained / GB,
        gradients=(2 if method == "full" else 4) * trained / GB,
        optimiser=(12 if method == "full" else 8) * trained / GB,
        activations=tokens * (shape.layers * kept + 2 * block) / GB,
        logits=tokens * logits_share * shape.vocab * 8 / GB,
    )


def training_hours(shape: Shape, method: Method, tokens: float, device: Device, *, checkpointing: bool = True) -> float:
    """Hours to train on `tokens`, all epochs counted.

    A token costs 2 operations per parameter forward, 2 for the gradients of activations and, in full training, 2 for
    those of weights (Kaplan et al. 2020); checkpointing repeats the forward pass. Attention itself is left out: below
    4,000 tokens it adds less than a tenth to a model of 7 billion parameters.
    """
    per_token = (6 if method == "full" else 4) + (2 if checkpointing else 0)
    slower = DEQUANTISING if method == "qlora" else 1.0
    speed = device.bf16_tflops * 1e12 * TRAINING_UTILISATION / slower
    return per_token * shape.multiplied * tokens / speed / 3600


def serving_memory(shape: Shape, *, bits: float = 16, context: float, concurrent: int) -> float:
    """GB to answer `concurrent` requests at once, prompt and answer together `context` tokens each."""
    return (shape.weight_bytes(bits) + concurrent * context * shape.kv_bytes) / GB + OVERHEAD_GB


def decode_seconds(
    shape: Shape, device: Device, prompt_tokens: float, output_tokens: float, bits: float = 16, cached_tokens: float = 0
) -> float:
    """Seconds for one request alone on the device; `cached_tokens` of the prompt are in the key-value cache already."""
    prefill = _prefill_seconds(shape, device, prompt_tokens, bits, cached_tokens)
    return prefill + output_tokens * _step_seconds(shape, device, prompt_tokens + output_tokens / 2, 1, bits)


def serving_tokens_per_s(
    shape: Shape,
    device: Device,
    prompt_tokens: float,
    output_tokens: float,
    concurrent: int,
    bits: float = 16,
    cached_tokens: float = 0,
) -> float:
    """Output tokens per second of a device that is always busy with `concurrent` requests, prompts read in turn."""
    prefill = concurrent * _prefill_seconds(shape, device, prompt_tokens, bits, cached_tokens)
    step = _step_seconds(shape, device, prompt_tokens + output_tokens / 2, concurrent, bits)
    return concurrent * output_tokens / (prefill + output_tokens * step)


def _prefill_seconds(shape: Shape, device: Device, prompt: float, bits: float, cached: float) -> float:
    """Reading is bound by computing: 2 operations per parameter, and 4 per hidden unit for each earlier token."""
    read = prompt - cached
    attention = 4 * shape.layers * shape.heads * shape.head_dim * (cached + read / 2)
    slower = DEQUANTISING if bits < 16 else 1.0
    return read * (2 * shape.multiplied + attention) * slower / (device.bf16_tflops * 1e12 * PREFILL_UTILISATION)


def _step_seconds(shape: Shape, device: Device, context: float, concurrent: int, bits: float) -> float:
    """One token for everyone: weights are read once for all, each cache for itself; or computing is the limit."""
    weights = shape.weight_bytes(bits) - (0 if shape.tied else 2 * shape.vocab * shape.hidden)  # only the head is read
    share, slower = (PACKED_DECODE_UTILISATION, DEQUANTISING) if bits < 16 else (DECODE_UTILISATION, 1.0)
    caches = concurrent * context * shape.kv_bytes
    reading = (weights / share + caches / DECODE_UTILISATION) / (device.bandwidth_gb_s * GB)
    computing = concurrent * 2 * shape.multiplied * slower / (device.bf16_tflops * 1e12 * PREFILL_UTILISATION)
    return max(reading, computing)

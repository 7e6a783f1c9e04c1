"""What training and serving a transformer takes, told from its shape: memory, hours and speed; nothing is loaded.

Everything is in GB of 10^9 bytes. The memory of a GPU is sold in steps of 2^30 bytes, so what is told to fit "24 GB"
leaves about 7% for the driver and for gaps. Times are within a factor of 1.5 of real ones, and so is the memory that
others publish for other trainers: the tests hold these functions to that. The memory of our own trainer is measured by
`bench.memory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

# The three ways that are explained and priced; a recipe knows two kinds of LoRA more.
Method = Literal["full", "lora", "qlora"]
TrainingMethod = Literal["full", "lora", "qlora", "rslora", "dora"]
Kind = Literal["cuda", "cpu"]

GB = 1e9
# NF4: 4 bits, an 8-bit scale per 64 weights, and a 32-bit scale per 256 of those (Dettmers et al. 2023).
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
# CUDA's context, libraries' work space and gaps. Published figures are met best with one GB.
OVERHEAD_GB = 1.0
# Python with torch, transformers and TRL, before any weights.
PROCESS_GB = 0.65
# Resident memory over what autograd keeps, on a CPU: sums that are formed and dropped leave holes in the heap that are
# a little too small for the next of their size (glibc's memalign). Measured by bench.memory: with LoRA 1.66 to 1.83
# from 30 million to a billion parameters, with QLoRA 1.77 to 1.99, in full training 1.11 and 1.22.
HEAP: dict[TrainingMethod, float] = {"lora": 1.75, "rslora": 1.75, "qlora": 1.85, "dora": 1.4, "full": 1.17}
# TRL's fused head: so many positions and words at a time. And so many hidden states are on the GPU while the others
# wait in the computer's memory.
TILE_TOKENS, TILE_VOCAB = 4096, 32_768
STATES_IN_FLIGHT = 5
# A logit in 32 bits, its softmax and their gradients.
LOGIT_BYTES: dict[Kind, int] = {"cuda": 8, "cpu": 12}

# Share of the 16-bit peak that training reaches, recomputation counted as work. Llama-2-7B on an A100 reaches .38 with
# Hugging Face and .51 with Unsloth (LLaMA-Factory wiki), Llama-3.1-8B on an RTX 4090 .84 with torchtune, compiled.
TRAINING_UTILISATION = 0.56
# 16-bit LoRA over QLoRA, in tokens per second: 1.0 to 1.1 (LLaMA-Factory wiki), 1.28 (torchtune README). Weights are
# unpacked once a pass, however many tokens it has: passes of a few hundred tokens lose more.
# On a CPU, which unpacks in 32 bits and slowly, half the speed was measured.
DEQUANTISING: dict[Kind, float] = {"cuda": 1.25, "cpu": 2.0}
# DoRA over LoRA: each step also forms every adapted matrix anew, to measure its columns.
DORA = 1.6
# Share of the 16-bit peak while a prompt is read: large matrix products, but short ones do not fill the device.
PREFILL_UTILISATION = 0.5
# Share of the memory bandwidth while answers are written: .69 with Llama-2-7B on an A100, .42 with four-bit weights,
# whose unpacking keeps the memory waiting (gpt-fast README).
DECODE_UTILISATION = 0.7
PACKED_DECODE_UTILISATION = 0.42


# The usual names of a block's linear layers, in the order of Shape.matrices.
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


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

    def adapter(self, rank: int, targets: Sequence[str] | None = None) -> int:
        """Parameters of LoRA matrices on all linear layers or those named: rank * (in + out) each (Hu et al. 2021)."""
        return self.layers * rank * sum(a + b for a, b in self._chosen(targets))

    def magnitudes(self, targets: Sequence[str] | None = None) -> int:
        """Parameters that DoRA learns beside them: the length of each column of weights, one an output."""
        return self.layers * sum(out for _, out in self._chosen(targets))

    def _chosen(self, targets: Sequence[str] | None) -> list[tuple[int, int]]:
        named = zip(MATRICES, self.matrices, strict=True)
        return [matrix for name, matrix in named if targets is None or name in targets]

    def weight_bytes(self, bits: float) -> float:
        """Bytes of the weights with `bits` per parameter of the linear layers; embeddings and head stay at 16."""
        return self.linear * bits / 8 + self.embeddings * 2


@dataclass(frozen=True)
class Memory:
    """What a training holds on the device at its peak, in GB.

    `cache` is what keys and values of sample answers add to the peak: they come and go between steps, so it is what
    exceeds the room of a step's activations and logits. `overhead` is what is there before any model: CUDA's context
    and gaps, or on a CPU the program itself.
    """

    weights: float
    adapter: float
    gradients: float
    optimiser: float
    activations: float
    logits: float
    overhead: float = OVERHEAD_GB
    cache: float = 0.0

    @property
    def total(self) -> float:
        return float(sum(vars(self).values()))

    @property
    def allocated(self) -> float:
        """What `torch.cuda.max_memory_allocated` counts: all but the overhead."""
        return self.total - self.overhead


def training_memory(
    shape: Shape,
    method: TrainingMethod,
    *,
    rank: int = 16,
    sequence: int,
    batch: int,
    checkpointing: bool = True,
    logits_share: float = 1.0,
    fused_head: bool = False,
    offloading: bool = False,
    device: Kind = "cuda",
    targets: Sequence[str] | None = None,
    cached_tokens: int = 0,
) -> Memory:
    """Memory of one training step on `batch` examples of `sequence` tokens.

    - Weights: 16 bits on a GPU, 32 on a CPU. QLoRA holds linear layers in NF4, embeddings and head as they are
      (Dettmers et al. 2023), and unpacks one matrix at a time. Full training holds 32 bits everywhere and computes in
      16 (Rajbhandari et al. 2020 count the same 16 bytes a parameter).
    - Adapter, gradients and AdamW's two moments: in 32 bits, 4 + 4 + 8 bytes a trained parameter; with QLoRA on a GPU
      in 16 bits.
    - Activations: what every block keeps for its backward pass. With checkpointing it keeps one hidden state only
      (Chen et al. 2016); with `offloading` as well, most of these wait in the computer's memory. One block at a time
      has all of them, and the gradients of its feed-forward layer.
    - Logits: in 32 bits with their gradients. `logits_share` is the share of positions whose logits are held at once:
      those of the answers, or one chunk of a loss that works in chunks. TRL's `fused_head`, which needs a GPU, holds
      one tile of them. With checkpointing they are gone before a block has its activations: what is told is by how
      much they exceed these.
    - `cached_tokens`: prompts and answers, together, of the sample answers that are written side by side.
    """
    tokens = sequence * batch
    wide = 4 if device == "cpu" else 2
    packed = method == "qlora"
    if method == "full":
        trained, weights = shape.parameters, 4.0 * shape.parameters
    else:
        trained = shape.adapter(rank, targets) + (shape.magnitudes(targets) if method == "dora" else 0)
        weights = shape.linear * (NF4_BITS / 8 if packed else wide) + shape.embeddings * wide
        weights += wide * max(a * b for a, b in shape.matrices) if packed else 0
    exact = 2 if packed and device == "cuda" else 4
    block = tokens * _block_bytes(shape, method, rank, device, targets)
    logits = tokens * logits_share * shape.vocab * LOGIT_BYTES[device]
    if fused_head:
        learned = tokens * logits_share
        logits = min(learned, TILE_TOKENS) * min(shape.vocab, TILE_VOCAB) * 2 + learned * shape.hidden * 8
    gradients = exact * trained
    if checkpointing:
        states = min(shape.layers, STATES_IN_FLIGHT) if offloading else shape.layers
        kept, working = (
            tokens * states * wide * shape.hidden,
            block + tokens * 2 * wide * (shape.hidden + shape.intermediate),
        )
        logits = max(0.0, logits - working)
    else:
        kept, working = (shape.layers - 1) * block, block
    activations = (working + kept) * (HEAP[method] if device == "cpu" else 1.0)
    if method == "full":
        # What is kept goes as gradients come: of the two only the larger counts.
        activations = max(working, activations - gradients)
    cache = cached_tokens * shape.kv_bytes * wide / 2
    return Memory(
        weights=weights / GB,
        adapter=0.0 if method == "full" else exact * trained / GB,
        gradients=gradients / GB,
        optimiser=2 * exact * trained / GB,
        activations=activations / GB,
        logits=logits / GB,
        overhead=OVERHEAD_GB if device == "cuda" else PROCESS_GB,
        cache=max(0.0, cache - activations - logits) / GB,
    )


def _block_bytes(shape: Shape, method: TrainingMethod, rank: int, device: Kind, targets: Sequence[str] | None) -> int:
    """Bytes that a block keeps of one token for its backward pass: counted from what autograd saves.

    The inputs of its norms and of its linear layers, what attention and the gate multiply, the result between the two
    matrices of each adapter; with DoRA the two results that it scales, with full training what the norms scale. In
    16 bits come copies of hidden states in 32: for the norms, and for weights that are held in 32 themselves.
    """
    query, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    numbers = 4 * shape.hidden + 2 * query + 2 * kv + 4 * shape.intermediate
    if method != "full":
        numbers += len(MATRICES if targets is None else targets) * rank
    if method == "dora":
        numbers += 2 * shape.magnitudes(targets) // shape.layers
    if device == "cpu":
        return 4 * (numbers + (2 * shape.hidden if method == "full" else 0))
    return 2 * numbers + shape.hidden * {"qlora": 4, "full": 22}.get(method, 12)


def training_hours(
    shape: Shape,
    method: TrainingMethod,
    tokens: float,
    device: Device,
    *,
    checkpointing: bool = True,
    kind: Kind = "cuda",
) -> float:
    """Hours to train on `tokens`, all epochs counted.

    A token costs 2 operations per parameter forward, 2 for the gradients of activations and, in full training, 2 for
    those of weights (Kaplan et al. 2020); checkpointing repeats the forward pass. Attention itself is left out: below
    4,000 tokens it adds less than a tenth to a model of 7 billion parameters.
    """
    per_token = (6 if method == "full" else 4) + (2 if checkpointing else 0)
    slower = {"qlora": DEQUANTISING[kind], "dora": DORA}.get(method, 1.0)
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
    slower = DEQUANTISING["cuda"] if bits < 16 else 1.0
    return read * (2 * shape.multiplied + attention) * slower / (device.bf16_tflops * 1e12 * PREFILL_UTILISATION)


def _step_seconds(shape: Shape, device: Device, context: float, concurrent: int, bits: float) -> float:
    """One token for everyone: weights are read once for all, each cache for itself; or computing is the limit."""
    weights = shape.weight_bytes(bits) - (0 if shape.tied else 2 * shape.vocab * shape.hidden)  # only the head is read
    share, slower = (PACKED_DECODE_UTILISATION, DEQUANTISING["cuda"]) if bits < 16 else (DECODE_UTILISATION, 1.0)
    caches = concurrent * context * shape.kv_bytes
    reading = (weights / share + caches / DECODE_UTILISATION) / (device.bandwidth_gb_s * GB)
    computing = concurrent * 2 * shape.multiplied * slower / (device.bf16_tflops * 1e12 * PREFILL_UTILISATION)
    return max(reading, computing)

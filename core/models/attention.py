"""Attention for tokens of many rows that lie one after another in a pass, without anything to pad them.

Prompts are read and answers are written in the same pass: whatever a network does to a token by itself, it does to all
of them at once, and here each row looks at its own keys and values only (as vLLM and SGLang do on GPUs).

Rows may also share a beginning whose keys and values are there once. Softmax can be taken in two parts that are joined
afterwards, if each part says how much it weighs (its log-sum-exp): the shared beginning, and what every row holds by
itself. Known as cascade inference (FlashInfer, 2024). A row then costs the memory, and each token the reading, of its
own part only. All in plain operations of torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "lowest_rung"
BENEATH = "sdpa"


@dataclass(frozen=True)
class Segment:
    """Keys and values of a stretch of tokens, each (heads, tokens, width), for every layer; `start` is its place."""

    start: int
    layers: list[tuple[torch.Tensor, torch.Tensor]]

    @property
    def end(self) -> int:
        return self.start + self.layers[0][0].shape[1]


@torch.inference_mode()
def joined(segments: Sequence[Segment]) -> Segment:
    """Segments that follow one another, as one."""
    if len(segments) == 1:
        return segments[0]
    layers = zip(*(segment.layers for segment in segments), strict=True)
    return Segment(
        segments[0].start,
        [
            (torch.cat([keys for keys, _ in layer], 1), torch.cat([values for _, values in layer], 1))
            for layer in layers
        ],
    )


@dataclass(frozen=True)
class Sharing:
    """A beginning, and which rows of those that are written go on from it."""

    beginning: Segment
    rows: torch.Tensor


@dataclass(frozen=True)
class Piece:
    """Tokens of a prompt that is read: their place in the pass, the row's slot, and what is held beside it.

    `mask` (1, 1, tokens, places) is added to the scores of what is held and of what the slot has.
    """

    tokens: slice
    slot: int
    mask: torch.Tensor
    beginning: Segment | None


@dataclass(frozen=True)
class Packed:
    """What lies in a pass: first one token for each of the first `written` slots, then pieces of prompts.

    `layers` are the keys and values, each (slots, groups, places, width), with the new tokens' among them; `end` is how
    far the written rows reach, and `mask` (written, 1, 1, end) is added to their scores.
    """

    layers: Sequence[Any]
    written: int
    end: int
    mask: torch.Tensor
    sharing: Sequence[Sharing]
    pieces: Sequence[Piece]


@contextmanager
def packing_attention(network: Any) -> Iterator[None]:
    """Lets `network` be called with `packed=Packed(...)`; without that, its attention is what it was.

    One at a time: whoever ended first would take it from the others.
    """
    if network.config._attn_implementation == NAME:
        raise RuntimeError("This network is being packed already.")
    network.set_attn_implementation(NAME)
    try:
        yield
    finally:
        network.set_attn_implementation(BENEATH)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed: Packed | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """`query` (1, heads, tokens, width) to (1, tokens, heads, width); keys and values are taken from the slots."""
    if packed is None:
        attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return attended
    index: Any = module.layer_idx
    keys, values = packed.layers[index].keys, packed.layers[index].values
    found = []
    if (count := packed.written) > 0:
        places = slice(0, packed.end)
        shared = [(*each.beginning.layers[index], each.rows) for each in packed.sharing]
        asked = query[0, :, :count].transpose(0, 1)
        own = keys[:count, :, places], values[:count, :, places]
        found.append(_written(asked, *own, packed.mask, shared, float(options["scaling"])))
    for piece in packed.pieces:
        before = piece.beginning.end if piece.beginning is not None else 0
        places = slice(0, piece.mask.shape[-1] - before)
        one, other = keys[piece.slot, :, places], values[piece.slot, :, places]
        if piece.beginning is not None:
            held = piece.beginning.layers[index]
            one, other = torch.cat([held[0], one], 1), torch.cat([held[1], other], 1)
        read, _ = sdpa_attention_forward(
            module, query[:, :, piece.tokens], one[None], other[None], piece.mask, **options
        )
        found.append(read[0])
    return torch.cat(found)[None], None


def _written(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    shared: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    scaling: float,
) -> torch.Tensor:
    """One token a row: `query` (rows, heads, width). Heads that share keys stand side by side, as tokens would."""
    rows, heads, width = query.shape
    asked = query.reshape(rows, key.shape[1], -1, width) * scaling
    found, weight = _weighed(asked @ key.transpose(2, 3) + mask, value)
    for keys, values, behind in shared:
        together = asked[behind].transpose(0, 1).flatten(1, 2)
        parts = _weighed(together @ keys.transpose(1, 2), values)
        seen, heaviness = (part.reshape(len(keys), len(behind), -1, part.shape[-1]).transpose(0, 1) for part in parts)
        own = (weight[behind] - heaviness).sigmoid().to(found.dtype)
        found[behind] = torch.lerp(seen, found[behind], own)
    return found.reshape(rows, heads, width)


def _weighed(scores: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of `values` by the softmax of `scores`, and the logarithm of what the scores weigh together."""
    scores = scores.float()
    weight = scores.logsumexp(-1, keepdim=True)
    return (scores - weight).exp().to(values.dtype) @ values, weight


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)

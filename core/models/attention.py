"""Attention of many rows over a beginning they share, whose keys and values are there once for all of them.

Softmax can be taken in two parts that are joined afterwards, if each part says how much it weighs (its log-sum-exp):
the shared beginning, and what every row holds by itself. Known as cascade inference (FlashInfer, 2024); here in plain
operations of torch. A row then costs the memory, and each token the reading, of its own part only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

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
    """A beginning, and which rows of the pass go on from it."""

    beginning: Segment
    rows: torch.Tensor


@contextmanager
def sharing_attention(network: Any) -> Iterator[None]:
    """Lets `network` be called with `sharing=[Sharing, ...]`; without that, its attention is what it was."""
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
    sharing: Sequence[Sharing] = (),
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """`query` (rows, heads, tokens, width), `key` and `value` (rows, groups, places, width): what rows hold themselves.

    Of rows that read several tokens at once, all must share the same beginning.
    """
    if sharing and attention_mask is not None:
        if query.shape[2] == 1:
            return _written(query, key, value, attention_mask, _of_layer(sharing, module), float(options["scaling"]))
        ((keys, values, _),) = _of_layer(sharing, module)
        key = torch.cat([keys.expand(len(key), -1, -1, -1), key], 2)
        value = torch.cat([values.expand(len(value), -1, -1, -1), value], 2)
        attention_mask = pad(attention_mask, (keys.shape[1], 0))
    attended: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return attended


def _written(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    shared: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    scaling: float,
) -> tuple[torch.Tensor, None]:
    """One token a row. Heads that share keys stand side by side, as further tokens would."""
    rows, heads, _, width = query.shape
    asked = query.reshape(rows, key.shape[1], -1, width) * scaling
    found, weight = _weighed(asked @ key.transpose(2, 3) + mask, value)
    for keys, values, behind in shared:
        together = asked[behind].transpose(0, 1).flatten(1, 2)
        parts = _weighed(together @ keys.transpose(1, 2), values)
        seen, heaviness = (part.reshape(len(keys), len(behind), -1, part.shape[-1]).transpose(0, 1) for part in parts)
        own = (weight[behind] - heaviness).sigmoid().to(found.dtype)
        found[behind] = torch.lerp(seen, found[behind], own)
    return found.reshape(rows, 1, heads, width), None


def _weighed(scores: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of `values` by the softmax of `scores`, and the logarithm of what the scores weigh together."""
    scores = scores.float()
    weight = scores.logsumexp(-1, keepdim=True)
    return (scores - weight).exp().to(values.dtype) @ values, weight


def _of_layer(
    sharing: Sequence[Sharing], module: torch.nn.Module
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    layer: Any = module.layer_idx
    return [(*each.beginning.layers[layer], each.rows) for each in sharing]


AttentionInterface.register(NAME, _attend)

"""Examples side by side in rows: padded, or packed so that whole examples share a row without seeing each other.

Imported by the function that trains, since torch and TRL take seconds to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import pack_dataset

from core.train.tokens import IGNORED, EncodedExample

# How far two computations of the same logits may lie apart, as a share of their largest value: rounding of bf16 is
# 2^-8, while a neighbour that is seen by mistake changes them altogether.
SAME_LOGITS = 0.05


def rows(encoded: Sequence[EncodedExample], pack_to: int | None = None) -> Dataset:
    """One row per example, or rows of up to `pack_to` tokens of whole examples (best fit decreasing)."""
    dataset = Dataset.from_list([{"input_ids": one.input_ids, "labels": one.labels} for one in encoded])
    return dataset if pack_to is None else pack_dataset(dataset, pack_to, "bfd")


class Collator:
    """Rows of unequal length as one batch, padded at their ends, with the position of each token in its example.

    There is no attention mask: attention looks back only, so no token sees the padding behind it, and without a mask
    the fastest kernels serve. Positions of packed rows begin anew with every example (and with every token of
    padding), from which transformers itself makes the mask that keeps the examples apart.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        ids = [feature["input_ids"] for feature in features]
        longest = max(map(len, ids))
        if "seq_lengths" in features[0]:
            positions = _padded([[at for n in feature["seq_lengths"] for at in range(n)] for feature in features], 0)
        else:
            positions = torch.arange(longest).expand(len(ids), -1)
        return {
            "input_ids": _padded(ids, self.pad_token_id),
            "labels": _padded([feature["labels"] for feature in features], IGNORED),
            "position_ids": positions,
            "tokens": sum(map(len, ids)),
        }


def keeps_examples_apart(model: Any, tokenizer: Any) -> bool:
    """Whether this model reads packed examples as if each stood alone: tried, not looked up, since it depends on the
    architecture, the attention kernel and the libraries' versions."""
    first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("One, two.", "The sky is"))
    device = next(model.parameters()).device
    positions = [*range(len(first)), *range(len(second))]
    with torch.inference_mode():
        alone = model(input_ids=torch.tensor([second], device=device), use_cache=False).logits[0]
        packed = model(
            input_ids=torch.tensor([first + second], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
        ).logits[0, len(first) :]
    return bool((alone - packed).abs().max() <= SAME_LOGITS * alone.abs().max())


def _padded(values: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    longest = max(map(len, values))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in values])

"""Batches through transformers' own `generate`, for networks whose rows cannot be packed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from core.models.rows import Pool, Row, Stopped, choose

if TYPE_CHECKING:
    import torch

# Answers computed side by side.
MOST_ROWS = {"cpu": 16, "cuda": 64}
# Tokens (prompt and answer) a batch may hold, so that 16 chats of 8,000 tokens do not exhaust the memory.
MOST_TOKENS = {"cpu": 16_384, "cuda": 131_072}


def answered(pool: Pool, *, alone: bool = False) -> Iterator[list[Row]]:
    """The pool's rows batch by batch, or each `alone`, longest prompts first; fewer than all when it is stopped."""
    kind = pool.device.type
    most_rows = 1 if alone else MOST_ROWS[kind]
    waiting = sorted(pool.rows, key=lambda row: -len(row.prompt))
    while waiting:
        longest = len(waiting[0].prompt) + pool.sampling.max_new_tokens
        size = max(1, min(most_rows, MOST_TOKENS[kind] // longest))
        batch, waiting = waiting[:size], waiting[size:]
        try:
            _generate(pool, batch)
        except Stopped:
            return
        yield batch


def _generate(pool: Pool, batch: list[Row]) -> None:
    """Answer one batch, padded on the left. Raises Stopped."""
    import torch
    from transformers import GenerationConfig

    def write(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Stands among the processors of scores, so that words are chosen as everywhere else."""
        pool.check_stop()
        chosen = torch.tensor(choose(scores, batch, pool.sampling), device=scores.device)
        return torch.full_like(scores, float("-inf")).scatter(1, chosen[:, None], 0.0)

    began = time.perf_counter()
    longest = max(len(row.prompt) for row in batch)
    pads = [longest - len(row.prompt) for row in batch]
    config = GenerationConfig(
        max_new_tokens=pool.sampling.max_new_tokens,
        do_sample=False,
        repetition_penalty=1.0,
        pad_token_id=pool.pad,
        eos_token_id=sorted(pool.ends) or None,
    )
    rows = [[pool.pad] * pad + list(row.prompt) for pad, row in zip(pads, batch, strict=True)]
    mask = [[0] * pad + [1] * len(row.prompt) for pad, row in zip(pads, batch, strict=True)]
    network: Any = pool.network
    with torch.inference_mode():
        output = network.generate(
            input_ids=torch.tensor(rows, device=pool.device),
            attention_mask=torch.tensor(mask, device=pool.device),
            generation_config=config,
            logits_processor=[write],
        )
    seconds = (time.perf_counter() - began) / len(batch)
    for row, new in zip(batch, output[:, longest:].tolist(), strict=True):
        end = next((i for i, token in enumerate(new) if token in pool.ends), len(new) - 1)
        row.new, row.seconds = new[: end + 1], seconds

"""Lengths in tokens, and what is lost when examples are cut at a length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.example import Example
from core.models.local import render
from core.models.prompt import Passage, build_messages

# Texts handed to a tokenizer at a time.
BATCH = 1_000
BINS = 40
PERCENTILES = (5, 25, 50, 75, 90, 95, 99)


@dataclass(frozen=True)
class Lengths:
    """Tokens a text. `counts[i]` of them lie in [edges[i], edges[i+1]); the last bin holds its right edge too."""

    mean: float
    smallest: int
    largest: int
    percentiles: dict[int, int]
    edges: list[float]
    counts: list[int]


def rendered(tokenizer: Any) -> Callable[..., tuple[str, str]]:
    """How a run writes an example, maybe with passages: (prompt as the chat template has it, answer with its end).

    The prompt is built and rendered by the functions that generation uses.
    """

    def texts(example: Example, passages: Sequence[Passage] = ()) -> tuple[str, str]:
        chat = build_messages(example.messages, passages=passages, tools=example.tools)
        prompt = render(tokenizer, chat)
        whole = render(tokenizer, [*chat, {"role": "assistant", "content": example.reference}], generation_prompt=False)
        # Templates that write an answer differently from a prompt plus text still get the text and an end.
        answer = whole[len(prompt) :].rstrip() if whole.startswith(prompt) else example.reference + tokenizer.eos_token
        return prompt, answer

    return texts


def plain(example: Example) -> tuple[str, str]:
    """The words of an example alone, for models whose chat template is not at hand: (prompt, answer)."""
    turns = build_messages(example.messages, tools=example.tools)
    return "\n".join(turn["content"] for turn in turns), example.reference


def count_all(texts: Sequence[str], count_tokens: Callable[[Sequence[str]], list[int]]) -> list[int]:
    """Tokens of each text, in batches."""
    return [n for start in range(0, len(texts), BATCH) for n in count_tokens(texts[start : start + BATCH])]


def lengths(tokens: Sequence[int]) -> Lengths:
    """Figures and a histogram of a non-empty list of lengths."""
    import numpy as np

    values = np.asarray(tokens)
    counts, edges = np.histogram(values, bins=min(BINS, max(1, int(np.ptp(values)))))
    return Lengths(
        mean=float(values.mean()),
        smallest=int(values.min()),
        largest=int(values.max()),
        percentiles={p: int(np.percentile(values, p, method="inverted_cdf")) for p in PERCENTILES},
        edges=[float(edge) for edge in edges],
        counts=[int(count) for count in counts],
    )

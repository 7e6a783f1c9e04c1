"""Prompts on their way to becoming answers, whichever engine writes them."""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.models.generation import Sampling

if TYPE_CHECKING:
    import torch

# How often finished answers are handed over, and how often it is asked whether to stop.
BEAT_S = 0.5
# Colder than this only the likeliest token has a chance, and dividing by it leaves no numbers.
COLDEST = 1e-4


@dataclass
class Row:
    """One prompt and what has been written after it.

    `position` is the request's; `dice` draws its words; `seconds` is its share of the time spent so far.
    """

    position: int
    prompt: array[int]
    dice: random.Random
    new: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def last(self) -> int:
        """The token to read next."""
        return self.new[-1] if self.new else self.prompt[-1]

    @property
    def read(self) -> int:
        """How many tokens stand before the last one."""
        return len(self.prompt) + len(self.new) - 1


class Stopped(Exception):
    """Somebody asked for the end of the work."""


@dataclass
class Pool:
    """Prompts that one network answers. `ends` are the tokens that close an answer.

    `stop` is asked every `beat_s` seconds, usually BEAT_S.
    """

    network: Any
    device: torch.device
    rows: list[Row]
    sampling: Sampling
    ends: frozenset[int]
    pad: int
    stop: Callable[[], bool]
    beat_s: float | None = None
    _asked: float = float("-inf")

    def done(self, row: Row) -> bool:
        return len(row.new) == self.sampling.max_new_tokens or self.ended(row)

    def ended(self, row: Row) -> bool:
        """Whether the answer came to its end, rather than to the longest allowed."""
        return bool(row.new) and row.new[-1] in self.ends

    def check_stop(self) -> None:
        """Asks, but not at every step, for the question may cost a look into the database. Raises Stopped."""
        now = time.perf_counter()
        if now - self._asked >= (BEAT_S if self.beat_s is None else self.beat_s):
            self._asked = now
            if self.stop():
                raise Stopped


def choose(logits: torch.Tensor, rows: Sequence[Row], sampling: Sampling) -> list[int]:
    """The next token of each row, given `logits` (rows, vocabulary): the likeliest, or one drawn with the row's dice.

    A draw is one number between 0 and 1 held against the summed probabilities, so that it depends neither on the
    other rows nor on the kind of device. With `top_p` only the likeliest tokens that make up this share are drawn.
    """
    import torch

    if sampling.temperature < COLDEST or sampling.top_p == 0:
        likeliest: list[int] = logits.argmax(-1).tolist()
        return likeliest
    shares = (logits.float() / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered = shares.sort(descending=True).values
        before = ordered.cumsum(-1) - ordered
        least = ordered.masked_fill(before >= sampling.top_p, 1.0).amin(-1, keepdim=True)
        shares = shares.masked_fill(shares < least, 0.0)
    sums = shares.cumsum(-1)
    drawn = torch.tensor([[row.dice.random()] for row in rows], dtype=sums.dtype, device=sums.device) * sums[:, -1:]
    tokens: list[int] = torch.searchsorted(sums, drawn, right=True).clamp(max=sums.shape[-1] - 1).flatten().tolist()
    return tokens

"""One protocol for every model that answers: local weights or a remote service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.models.prompt import Message


@dataclass(frozen=True)
class Sampling:
    """How to generate. Temperature 0 is greedy and needs no seed; above it `seed` makes a local run repeatable."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """One answer, or the reason why there is none.

    `latency_s` is seconds. Remote: from sending to the last token, retries included. Local: the batch's seconds shared
    equally among its answers, which is what one more answer costs; a lone request takes longer.
    `finish_reason` is "stop", "length" or "error"; `error` is a sentence for the user, and then `text` is empty.
    """

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    latency_s: float = 0.0
    cost_usd: float = 0.0
    finish_reason: str = "stop"
    error: str | None = None


class Generator(Protocol):
    """Anything that answers chats."""

    model: str

    def answer(
        self, chats: Sequence[Sequence[Message]], sampling: Sampling, adapter: Path | None = None
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yield lists of (position in `chats`, completion) as answers come, in any order, each position exactly once.

        Answers that came together are yielded together, so that they can be stored before more work is started.

        A chat that cannot be answered yields a Completion with `error`; it never stops the others. Closing the
        iterator stops the work at the next batch.
        """
        ...

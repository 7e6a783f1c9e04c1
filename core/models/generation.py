"""One protocol for every model that answers: local weights or a remote service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.models.prompt import Message


@dataclass(frozen=True)
class Sampling:
    """How to generate. Temperature 0 is greedy; `top_p`: words are drawn from the likeliest that make up this share."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Request:
    """One chat to answer, with LoRA weights or a tuned model in `adapter`; `seed` makes a drawn answer repeatable."""

    chat: Sequence[Message]
    adapter: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """One answer, or the reason why there is none.

    `latency_s` is seconds. Remote: from sending to the last token, retries included. Local: its share of the work: the
    seconds of each pass are divided among the tokens it read, those of a shared beginning among all prompts behind it.
    That is what one more answer costs; a lone request takes longer.
    `cost_usd` is what the service charges by its own count, or the most it may charge where it does not tell.
    `finish_reason` is "stop", "length" or "error"; `error` is a sentence for the user, and then `text` is empty.
    """

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    latency_s: float = 0.0
    cost_usd: float = 0.0
    finish_reason: str = "stop"
    error: str | None = None


def never() -> bool:
    """The `stop` of work that nobody stops."""
    return False


class Generator(Protocol):
    """Anything that answers chats."""

    model: str

    def answer(
        self, requests: Sequence[Request], sampling: Sampling, *, stop: Callable[[], bool] = never
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yield lists of (position in `requests`, completion) as answers come, in any order, each position once.

        Answers that came together are yielded together, so that they can be stored before more work is started.
        A request that cannot be answered yields a Completion with `error`; it never stops the others. An answer
        depends on its own request alone, never on what shares its batch. `stop` is asked at least once a second
        while something is generated; once it says yes, what has not been answered is not. Closing the iterator ends
        the work too.
        """
        ...

"""Answers from any service that speaks the OpenAI chat API: OpenAI, Azure, vLLM, Ollama, our own server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.generation import Completion, Sampling
from core.models.prompt import Message


@dataclass(frozen=True)
class Endpoint:
    """Where a remote model is and what it costs; prices in US dollars per million tokens."""

    url: str
    key: str
    price_input: float = 0.0
    price_output: float = 0.0
    concurrency: int = 8
    timeout_s: float = 60.0
    retries: int = 4


class RemoteGenerator:
    """The Generator protocol over the openai SDK, which retries timeouts, 429 and 5xx with growing pauses."""

    def __init__(self, model: str, endpoint: Endpoint) -> None:
        from openai import OpenAI

        self.model = model
        self.endpoint = endpoint
        # Servers on one's own machine ask for no key, but the SDK insists on a text.
        self._client = OpenAI(
            base_url=endpoint.url,
            api_key=endpoint.key or "none",
            timeout=endpoint.timeout_s,
            max_retries=endpoint.retries,
        )

    def answer(
        self, chats: Sequence[Sequence[Message]], sampling: Sampling, adapter: Path | None = None
    ) -> Iterator[list[tuple[int, Completion]]]:
        """See Generator.answer. `concurrency` requests are under way at once."""
        if adapter is not None:
            raise UserError(
                f"A local adapter cannot be put on the remote model {self.model}.",
                "Compare it on the local base model it was trained on.",
            )
        pool = ThreadPoolExecutor(self.endpoint.concurrency)
        try:
            asked = {pool.submit(self._ask, chat, sampling): i for i, chat in enumerate(chats)}
            for future in as_completed(asked):
                yield [(asked[future], future.result())]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, chat: Sequence[Message], sampling: Sampling) -> Completion:
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        started = time.perf_counter()
        try:
            reply = self._client.chat.completions.create(
                model=self.model,
                messages=[dict(turn) for turn in chat],  # type: ignore[misc]
                max_completion_tokens=sampling.max_new_tokens,
                temperature=sampling.temperature,
                seed=sampling.seed,
            )
            return self._completion(reply, time.perf_counter() - started)
        except APITimeoutError:
            error = f"No answer within {self.endpoint.timeout_s:.0f} s, after {self.endpoint.retries} more tries."
        except APIConnectionError:
            error = f"{self.endpoint.url} could not be reached. Check the address and the network."
        except APIStatusError as refusal:
            error = f"The service refused with status {refusal.status_code}: {refusal.message}"
        except (OpenAIError, ValueError, KeyError, IndexError, TypeError, AttributeError) as odd:
            error = f"The service's reply could not be read ({type(odd).__name__})."
        return Completion("", latency_s=time.perf_counter() - started, finish_reason="error", error=error)

    def _completion(self, reply: Any, seconds: float) -> Completion:
        choice = reply.choices[0]
        used_in = reply.usage.prompt_tokens if reply.usage else 0
        used_out = reply.usage.completion_tokens if reply.usage else 0
        cost = (used_in * self.endpoint.price_input + used_out * self.endpoint.price_output) / 1e6
        return Completion(
            text=(choice.message.content or "").strip(),
            input_tokens=used_in,
            output_tokens=used_out,
            latency_s=seconds,
            cost_usd=cost,
            finish_reason=choice.finish_reason or "stop",
        )

"""Answers from any service that speaks the OpenAI chat API: OpenAI, Azure, vLLM, Ollama, our own server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from core.errors import UserError
from core.models.budget import Budget, CapReached, in_force
from core.models.generation import Completion, Request, Sampling, never

# How long an answer is waited for before it is asked again whether to stop.
LOOK_S = 0.5
# What a turn adds to a prompt besides its text, at most.
TURN_TOKENS = 16


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
    requests_per_minute: int | None = None

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """US dollars."""
        return (input_tokens * self.price_input + output_tokens * self.price_output) / 1e6


class RemoteGenerator:
    """The Generator protocol over the openai SDK, which retries timeouts, 429 and 5xx with growing pauses."""

    def __init__(self, model: str, endpoint: Endpoint, budget: Budget | None = None) -> None:
        from openai import OpenAI

        self.model = model
        self.endpoint = endpoint
        self.budget = budget if budget is not None else in_force()
        # Servers on one's own machine ask for no key, but the SDK insists on a text.
        self._client = OpenAI(
            base_url=endpoint.url,
            api_key=endpoint.key or "none",
            timeout=endpoint.timeout_s,
            max_retries=endpoint.retries,
        )
        self._may_send = _pace(endpoint.requests_per_minute)
        # What the service calls the longest answer: older ones know only the former name.
        self._length = "max_completion_tokens"

    def answer(
        self, requests: Sequence[Request], sampling: Sampling, *, stop: Callable[[], bool] = never
    ) -> Iterator[list[tuple[int, Completion]]]:
        """See Generator.answer. `concurrency` requests are under way at once.

        After `stop` those are still waited for, since they may be paid for. Raises CapReached when the budget is used
        up, after they have been yielded.
        """
        if any(request.adapter is not None for request in requests):
            raise UserError(
                f"A local adapter cannot be put on the remote model {self.model}.",
                "Compare it on the local base model it was trained on.",
            )
        pool = ThreadPoolExecutor(self.endpoint.concurrency)
        waiting = iter(enumerate(requests))
        asked: dict[Future[Completion | None], int] = {}
        reached: CapReached | None = None
        try:
            while True:
                while reached is None and len(asked) < self.endpoint.concurrency and not stop():
                    position, request = next(waiting, (0, None))
                    if request is None:
                        break
                    asked[pool.submit(self._ask, request, sampling, stop)] = position
                if not asked:
                    break
                for future in wait(asked, LOOK_S, FIRST_COMPLETED).done:
                    position = asked.pop(future)
                    try:
                        completion = future.result()
                    except CapReached as cap:
                        reached = cap
                        continue
                    if completion is not None:
                        yield [(position, completion)]
            if reached is not None:
                raise reached
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, request: Request, sampling: Sampling, stop: Callable[[], bool]) -> Completion | None:
        """None when it was stopped while it waited to be sent."""
        worst = self.endpoint.cost(_most_tokens(request), sampling.max_new_tokens)
        reserved = self.budget.reserve(worst)
        spent = 0.0
        try:
            while not self._may_send():
                if stop():
                    return None
                time.sleep(LOOK_S / 5)
            spent = worst
            completion, certain = self._completion(request, sampling)
            # Of a request that was cut off nobody knows whether it is charged for.
            spent = completion.cost_usd if certain else worst
            return completion
        finally:
            self.budget.settle(reserved, spent)

    def _completion(self, request: Request, sampling: Sampling) -> tuple[Completion, bool]:
        """The answer or why there is none, and whether its cost is certain."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        started = time.perf_counter()
        certain = True
        try:
            reply = self._create(request, sampling)
            return self._read(reply, time.perf_counter() - started), True
        except APITimeoutError:
            error = f"No answer within {self.endpoint.timeout_s:.0f} s, after {self.endpoint.retries} more tries."
            certain = False
        except APIConnectionError:
            error = f"{self.endpoint.url} could not be reached. Check the address and the network."
            certain = False
        except APIStatusError as refusal:
            error = f"The service refused with status {refusal.status_code}: {refusal.message}"
        except (OpenAIError, ValueError, KeyError, IndexError, TypeError, AttributeError) as odd:
            error = f"The service's reply could not be read ({type(odd).__name__})."
        failed = Completion("", latency_s=time.perf_counter() - started, finish_reason="error", error=error)
        return failed, certain

    def _create(self, request: Request, sampling: Sampling) -> Any:
        from openai import BadRequestError

        asked: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(turn) for turn in request.chat],
            "temperature": sampling.temperature,
            "seed": request.seed,
        }
        if sampling.top_p < 1:
            asked["top_p"] = sampling.top_p
        create: Any = self._client.chat.completions.create
        try:
            return create(**asked, **{self._length: sampling.max_new_tokens})
        except BadRequestError as refusal:
            if self._length not in refusal.message or self._length == "max_tokens":
                raise
            self._length = "max_tokens"
            return create(**asked, max_tokens=sampling.max_new_tokens)

    def _read(self, reply: Any, seconds: float) -> Completion:
        choice = reply.choices[0]
        used_in = reply.usage.prompt_tokens if reply.usage else 0
        used_out = reply.usage.completion_tokens if reply.usage else 0
        return Completion(
            text=(choice.message.content or "").strip(),
            input_tokens=used_in,
            output_tokens=used_out,
            latency_s=seconds,
            cost_usd=self.endpoint.cost(used_in, used_out),
            finish_reason=choice.finish_reason or "stop",
        )


def _most_tokens(request: Request) -> int:
    """No tokenizer of a service makes more tokens than a text has bytes."""
    return sum(len(str(turn["content"]).encode("utf-8", "replace")) + TURN_TOKENS for turn in request.chat)


def _pace(per_minute: int | None) -> Callable[[], Any]:
    """Asks whether the next request may be sent now; a yes counts as having sent it."""
    if per_minute is None:
        return lambda: True
    from pyrate_limiter import Duration, Limiter, Rate

    limiter = Limiter(Rate(per_minute, Duration.MINUTE))
    return lambda: limiter.try_acquire("requests", blocking=False)

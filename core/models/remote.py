"""Answers from any service that speaks the OpenAI chat API: OpenAI, Azure, vLLM, Ollama, our own server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from core.errors import UserError
from core.models.budget import Budget, CapReached, in_force
from core.models.generation import Completion, Request, Sampling, never

# How long an answer is waited for before it is asked again whether to stop.
LOOK_S = 0.5
# What a turn adds to a prompt besides its text, at most.
TURN_TOKENS = 16
# What a service says about a refusal is kept up to here: some send a whole page.
SAID_CHARACTERS = 500


@dataclass(frozen=True)
class Endpoint:
    """Where a remote model is and what it costs; prices in US dollars per million tokens."""

    url: str
    key: str = field(repr=False)
    price_input: float = 0.0
    price_output: float = 0.0
    concurrency: int = 8
    timeout_s: float = 60.0
    retries: int = 4
    requests_per_minute: int | None = None

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """US dollars."""
        return (input_tokens * self.price_input + output_tokens * self.price_output) / 1e6

    @property
    def shown(self) -> str:
        """The address without what may be secret in it."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


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
        left = threading.Event()

        def ended() -> bool:
            return left.is_set() or stop()

        try:
            while True:
                while reached is None and len(asked) < self.endpoint.concurrency and not ended():
                    position, request = next(waiting, (0, None))
                    if request is None:
                        break
                    asked[pool.submit(self._ask, request, sampling, ended)] = position
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
            left.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, request: Request, sampling: Sampling, ended: Callable[[], bool]) -> Completion | None:
        """None when the work ended while it waited to be sent: for money, or for its turn."""
        worst = self.endpoint.cost(_most_tokens(request), sampling.max_new_tokens)
        reserved = self.budget.reserve(worst)
        spent = 0.0
        try:
            while not ended():
                if self._may_send():
                    spent = worst
                    completion = self._completion(request, sampling, worst)
                    spent = completion.cost_usd
                    return completion
                time.sleep(LOOK_S / 5)
            return None
        finally:
            self.budget.settle(reserved, spent)

    def _completion(self, request: Request, sampling: Sampling, worst: float) -> Completion:
        """The answer, or why there is none; it costs `worst` where nobody knows what is charged."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        started = time.perf_counter()
        cost = worst
        try:
            return self._read(self._create(request, sampling), time.perf_counter() - started, worst)
        except APITimeoutError:
            error = f"No answer within {self.endpoint.timeout_s:.0f} s, after {self.endpoint.retries} more tries."
        except APIConnectionError as lost:
            if type(lost.__cause__).__name__ == "ConnectError":
                cost = 0.0  # it never got there
            error = f"{self.endpoint.shown} could not be reached. Check the address and the network."
        except APIStatusError as refusal:
            error = f"The service refused with status {refusal.status_code}: {self._said(refusal.message)}"
            cost = 0.0
        except (OpenAIError, ValueError, KeyError, IndexError, TypeError, AttributeError) as odd:
            error = f"The service's reply could not be read ({type(odd).__name__})."
        seconds = time.perf_counter() - started
        return Completion("", latency_s=seconds, cost_usd=cost, finish_reason="error", error=error)

    def _said(self, message: str) -> str:
        """What the service says, without our key, which some repeat."""
        if self.endpoint.key:
            message = message.replace(self.endpoint.key, "[key]")
        return message if len(message) <= SAID_CHARACTERS else f"{message[:SAID_CHARACTERS]} ..."

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
        # Another thread may learn the former name while this one waits.
        length = self._length
        try:
            return create(**asked, **{length: sampling.max_new_tokens})
        except BadRequestError as refusal:
            if length not in refusal.message or length == "max_tokens":
                raise
            self._length = "max_tokens"
            return create(**asked, max_tokens=sampling.max_new_tokens)

    def _read(self, reply: Any, seconds: float, worst: float) -> Completion:
        choice = reply.choices[0]
        used = _used(reply.usage)
        reason = choice.finish_reason
        return Completion(
            text=(choice.message.content or "").strip(),
            input_tokens=used[0] if used else 0,
            output_tokens=used[1] if used else 0,
            latency_s=seconds,
            cost_usd=self.endpoint.cost(*used) if used else worst,
            finish_reason=reason if isinstance(reason, str) and reason.isidentifier() else "stop",
        )


def _used(usage: Any) -> tuple[int, int] | None:
    """Tokens of prompt and answer; None where the service does not say, or nothing that could be true."""
    read, written = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens"))
    if not (isinstance(read, int) and isinstance(written, int)):
        return None
    return (read, written) if 0 <= read < 2**31 and 0 <= written < 2**31 else None


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

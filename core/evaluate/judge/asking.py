"""Asking a judge: every chat once, once more where the reply held no verdict, and in words why there is still none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from core.errors import UserError
from core.evaluate.judge.prompts import reminded
from core.evaluate.judge.saying import Said
from core.models.generation import Completion, Generator, Request, Sampling, never
from core.models.open import open_generator
from core.models.prompt import Message

V = TypeVar("V")
OpenModel = Callable[[str], Generator]

# Greedy, so that the same judge says the same again; long enough for a sentence and a verdict.
SAMPLING = Sampling(max_new_tokens=256, temperature=0.0)
# So many failures in a row before the first success mean that the judge is not there, not that a prompt was odd.
# Prompts that are too long for a local judge come together, as one failure.
GIVE_UP = 8


@dataclass(frozen=True)
class Judged(Generic[V]):
    """A judge's verdict on one chat, None where it could not be read; `reason` is then what stood there instead."""

    verdict: V | None
    reason: str
    cost_usd: float = 0.0


@dataclass
class _Bench:
    open_model: OpenModel
    stop: Callable[[], bool]
    opened: dict[str, Generator] = field(default_factory=dict)


_bench: ContextVar[_Bench | None] = ContextVar("judges", default=None)


@contextmanager
def judging(open_model: OpenModel, stop: Callable[[], bool] = never) -> Iterator[None]:
    """Within it the metric "judge" opens its models through `open_model`, each once, and heeds `stop`.

    A metric's function sees answers and settings alone; what a run allows (money, time) reaches it this way.
    """
    token = _bench.set(_Bench(open_model, stop))
    try:
        yield
    finally:
        _bench.reset(token)


def judge_at_hand(model: str, open_model: OpenModel = open_generator) -> tuple[Generator, Callable[[], bool]]:
    """The judge model, opened as the run around it says or through `open_model`; and what to ask whether to stop."""
    bench = _bench.get() or _Bench(open_model, never)
    if model not in bench.opened:
        bench.opened.clear()  # one judge in memory at a time
        bench.opened[model] = bench.open_model(model)
    return bench.opened[model], bench.stop


def ask(
    judge: Generator,
    chats: Sequence[Sequence[Message]],
    read: Callable[[str], Said[V]],
    reminder: str,
    stop: Callable[[], bool] = never,
) -> Iterator[list[tuple[int, Judged[V]]]]:
    """Yield lists of (position in `chats`, judged) as they become final, each position once.

    A reply without a verdict is asked about once more, with `reminder`. A judge that fails (its service refuses, the
    prompt is too long for it) gives no verdict, and the failure is the reason. After `stop` the rest is missing.

    Raises:
        UserError: the judge failed GIVE_UP times before its first success, or the money is used up (CapReached).
    """
    unclear: list[tuple[int, Completion, str]] = []
    final: list[tuple[int, Judged[V]]] = []
    succeeded, failed = False, 0
    for answered in judge.answer([Request(chat) for chat in chats], SAMPLING, stop=stop):
        for position, completion in answered:
            if completion.error is not None:
                final.append((position, Judged(None, completion.error, completion.cost_usd)))
                continue
            succeeded = True
            said = read(completion.text)
            if said.verdict is None:
                unclear.append((position, completion, said.reason))
            else:
                final.append((position, Judged(said.verdict, said.reason, completion.cost_usd)))
        failed += not succeeded
        if failed >= GIVE_UP:
            raise UserError(
                f"The judge {judge.model} gives no answers: {final[-1][1].reason}",
                "Choose another judge, or put this one right and start again: what was judged is kept.",
            )
        # Failures before the first success wait: nothing is recorded of a judge that turns out not to be there.
        if succeeded and final:
            yield final
            final = []
    if final:
        yield final
    again = [Request(reminded(chats[position], reply.text, reminder)) for position, reply, _ in unclear]
    for answered in judge.answer(again, SAMPLING, stop=stop) if again and not stop() else ():
        yield [_second(*unclear[i], completion, read) for i, completion in answered]


def _second(
    position: int, first: Completion, stood: str, completion: Completion, read: Callable[[str], Said[V]]
) -> tuple[int, Judged[V]]:
    cost = first.cost_usd + completion.cost_usd
    said = read(completion.text) if completion.error is None else Said[V](None, completion.error)
    # The first reply had room for a reason; the second was asked for the verdict alone.
    return position, Judged(said.verdict, stood or said.reason, cost)

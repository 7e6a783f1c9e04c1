"""What every rung costs: money to set up and to run, people's hours, seconds per answer, memory.

All of it follows from one set of assumptions and the price table by sums and products, so that any number can be
checked by hand. A rung that cannot be had is priced all the same, and says why it cannot.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from core.decide.assumptions import LONGEST, Assumptions, assumptions_from
from core.decide.prices import ModelPrice, prices
from core.decide.rulebook import rulebook
from core.models import estimate
from core.models.estimate import NF4_BITS, Device

__all__ = ["RUNGS", "Assumptions", "Cost", "Running", "assumptions_from", "break_even", "costs", "curves", "monthly"]

DAYS = 365 / 12  # in a month
MILLION = 1e6
# What tuned models run on that are not sold by the token (Fireworks AI, note in the price table).
DEDICATED_GPU = "h100-80gb"
# Break-evens are looked for up to this many requests a day.
MOST_REQUESTS = 1e7
# From here on one GPU more does not show, and the line may be drawn straight.
MOST_GPUS = 100_000

Method = Literal["lora", "qlora", "managed"]
# Rung: (retrieval, what is trained), in the order of the ladder.
RUNGS: dict[str, tuple[bool, Method | None]] = {
    rung: (text.retrieval, text.tuned) for rung, text in rulebook().texts.rungs.items()
}


@dataclass(frozen=True)
class Cost:
    """One rung's. Bills and work are apart: `setup_usd` holds no salaries. `latency_s` is of a request that is alone.

    `memory_gb` is the GPU memory that must be there for training and serving; 0 when someone else serves. `note` says
    why a rung is not `available`, or what to know about it.
    """

    setup_usd: float
    setup_hours: float
    machine_hours: float
    usd_per_1000: float
    latency_s: float
    memory_gb: float
    note: str
    available: bool


@dataclass(frozen=True)
class Running:
    """What use costs: so much a request, and a GPU for each `requests_per_gpu` a day, of which `owned` cost nothing."""

    usd_per_request: float
    gpu_usd_per_month: float = 0.0
    requests_per_gpu: float = math.inf
    owned: int = 0

    def usd_per_month(self, requests_per_day: Any) -> Any:
        """For one volume, or an array of volumes."""
        gpus = np.maximum(1, np.ceil(requests_per_day / self.requests_per_gpu))
        paid = np.maximum(0, gpus - self.owned)
        return self.usd_per_request * requests_per_day * DAYS + self.gpu_usd_per_month * paid


@dataclass(frozen=True)
class _Request:
    """Tokens of one request: the beginning all prompts share, of it cached, the rest of the prompt, the answer."""

    repeated: float
    cached: float
    fresh: float
    output: float

    @property
    def prompt(self) -> float:
        return self.repeated + self.fresh

    @property
    def context(self) -> float:
        return self.prompt + self.output


@dataclass(frozen=True)
class _Gpu:
    """What an open model is served on, and in how many bits."""

    device: Device
    usd_per_hour: float
    owned: int
    bits: float


def costs(assumptions: Assumptions, today: dt.date | None = None) -> dict[str, Cost]:
    """The cost of every rung, at the volume assumed."""
    return {rung: _cost(assumptions, rung, today or dt.date.today()) for rung in RUNGS}


def monthly(assumptions: Assumptions, rung: str, requests_per_day: float) -> float:
    """US dollars a month to run a rung at a volume."""
    return float(running(assumptions, rung).usd_per_month(requests_per_day))


def curves(assumptions: Assumptions, rungs: Iterable[str], volumes: Iterable[float]) -> dict[str, list[float]]:
    """US dollars a month for each volume (requests a day), set-up spread over the horizon."""
    days = np.asarray(list(volumes), dtype=float)
    return {rung: [float(usd) for usd in _spread(assumptions, rung, days)] for rung in rungs}


def break_even(assumptions: Assumptions, cheaper_later: str, dearer_later: str) -> float | None:
    """Requests a day from which the first rung stays below the second, set-up included; 0 if it always is.

    None if the second is still cheaper at ten million a day. Exact, since both costs are straight lines between the
    volumes that take one GPU more.
    """
    steps = [running(assumptions, rung).requests_per_gpu for rung in (cheaper_later, dearer_later)]
    jumps = [np.arange(0.0, min(MOST_REQUESTS, MOST_GPUS * step), step) for step in steps if step < MOST_REQUESTS]
    edges = np.unique(np.concatenate([*jumps, [0.0, MOST_REQUESTS]]))
    low, high = edges[:-1], edges[1:]

    def difference(volume: Any) -> Any:
        return _spread(assumptions, cheaper_later, volume) - _spread(assumptions, dearer_later, volume)

    # Lines are drawn through inner points: at an edge itself rounding decides how many GPUs are counted.
    first, third = difference(0.75 * low + 0.25 * high), difference(0.25 * low + 0.75 * high)
    at_low, at_high = 1.5 * first - 0.5 * third, 1.5 * third - 0.5 * first
    dearer = np.flatnonzero((at_low > 0) | (at_high >= 0))
    if len(dearer) == 0:
        return 0.0
    last = dearer[-1]
    if at_high[last] < 0:
        return float(low[last] + (high[last] - low[last]) * at_low[last] / (at_low[last] - at_high[last]))
    return None if last == len(low) - 1 else float(high[last])


def running(a: Assumptions, rung: str) -> Running:
    """How the bill of a rung grows with its use."""
    request, gpu = _request(a, rung), _server(a, rung)
    search = _embedding_price(a, rung) * a.question_tokens / MILLION
    if not isinstance(gpu, _Gpu):
        cached = gpu.input if gpu.cached_input is None else gpu.cached_input
        prompt = gpu.input * (request.prompt - request.cached) + cached * request.cached
        return Running(search + (prompt + gpu.output * request.output) / MILLION)
    at_once = _at_once(a, gpu, request)
    speed = estimate.serving_tokens_per_s(
        a.shape, gpu.device, request.prompt, request.output, at_once, gpu.bits, request.cached
    )
    seconds = 3600 * a.gpu_hours_per_day
    return Running(
        usd_per_request=search,
        gpu_usd_per_month=gpu.usd_per_hour * a.gpu_hours_per_day * DAYS,
        requests_per_gpu=seconds * speed / request.output / a.peak_factor,
        owned=gpu.owned,
    )


def _cost(a: Assumptions, rung: str, today: dt.date) -> Cost:
    usd, machine = _setup(a, rung)
    memory, problem = _fit(a, rung)
    problem = _missing(a, rung, today) or problem
    return Cost(
        setup_usd=usd,
        setup_hours=_work(a, rung),
        machine_hours=machine,
        usd_per_1000=monthly(a, rung, a.requests_per_day) / (a.requests_per_day * DAYS) * 1000,
        latency_s=_latency(a, rung),
        memory_gb=memory,
        note=problem or (_ending(a) if RUNGS[rung][1] == "managed" else ""),
        available=not problem,
    )


def _setup(a: Assumptions, rung: str) -> tuple[float, float]:
    """US dollars for embedding and training, and hours of training; what runs on a GPU at hand is free."""
    method = RUNGS[rung][1]
    usd = _embedding_price(a, rung) * a.corpus_tokens / MILLION
    tokens = a.trainings_tried * a.epochs * a.examples * _example_tokens(a, rung)
    if method == "managed":
        return usd + prices().tuned_model(a.managed_model).training * tokens / MILLION, 0.0
    if method is None:
        return usd, 0.0
    card = prices().gpu(a.train_gpu)
    hours = estimate.training_hours(a.shape, method, tokens, card.device)
    return usd + (0 if a.gpu_owned else hours * card.usd_per_hour), hours


def _work(a: Assumptions, rung: str) -> float:
    """People's hours. Every rung begins with a prompt that is written and measured."""
    retrieval, method = RUNGS[rung]
    hours = a.hours_prompt + (a.hours_retrieval if retrieval else 0)
    if method is None:
        return hours
    hours += a.hours_service if method == "managed" else a.hours_training
    return hours + max(0.0, a.examples - a.examples_at_hand) * a.minutes_per_example / 60


def _embedding_price(a: Assumptions, rung: str) -> float:
    """US dollars per million tokens embedded; where data may not leave, a local model does it."""
    return prices().embedder(a.embedding_model).input if RUNGS[rung][0] and a.data_may_leave else 0.0


def _example_tokens(a: Assumptions, rung: str) -> float:
    """With retrieval, examples show passages too, so that the model learns to use them."""
    return a.tokens_per_example + (a.passage_tokens if RUNGS[rung][0] else 0)


def _spread(a: Assumptions, rung: str, volume: Any) -> Any:
    return _setup(a, rung)[0] / a.months + running(a, rung).usd_per_month(volume)


def _request(a: Assumptions, rung: str) -> _Request:
    retrieval, method = RUNGS[rung]
    repeated = a.tuned_instruction_tokens if method else a.instruction_tokens
    if rung == "long-context":
        repeated += a.corpus_tokens
    fresh = a.question_tokens + (a.passage_tokens if retrieval else 0)
    return _Request(repeated, a.cached_share * repeated, fresh, a.output_tokens)


def _server(a: Assumptions, rung: str) -> _Gpu | ModelPrice:
    """What answers on a rung: a GPU paid by the hour, or a model paid by the token."""
    method = RUNGS[rung][1]
    if method == "managed":
        dedicated = _Gpu(prices().gpu(DEDICATED_GPU).device, a.dedicated_usd_per_hour, 0, 16)
        return prices().tuned_model(a.managed_model).token_price or dedicated
    if method is None and a.data_may_leave:
        return prices().model(a.api_model)
    card = prices().gpu(a.serve_gpu)
    device = replace(card.device, memory_gb=a.gpu_gb) if a.gpu_owned else card.device
    # An adapter is served on the weights it was trained on; the untuned model in 16 bits if they fit.
    wide = estimate.serving_memory(a.shape, context=_request(a, rung).context, concurrent=1) <= device.memory_gb
    bits = 16 if method == "lora" or (method is None and wide) else NF4_BITS
    return _Gpu(device, card.usd_per_hour, int(a.gpu_owned), bits)


def _at_once(a: Assumptions, gpu: _Gpu, request: _Request) -> int:
    """How many requests a GPU answers at once: as many as allowed and as its memory holds."""
    empty = estimate.serving_memory(a.shape, bits=gpu.bits, context=request.context, concurrent=0)
    one = estimate.serving_memory(a.shape, bits=gpu.bits, context=request.context, concurrent=1)
    return max(1, min(a.concurrent, math.floor((gpu.device.memory_gb - empty) / (one - empty))))


def _latency(a: Assumptions, rung: str) -> float:
    request, gpu = _request(a, rung), _server(a, rung)
    search = a.search_s if RUNGS[rung][0] else 0.0
    if not isinstance(gpu, _Gpu):
        reading = (request.prompt - request.cached) / a.api_read_tokens_per_s
        return search + a.api_first_token_s + reading + request.output / a.api_tokens_per_s
    seconds = estimate.decode_seconds(a.shape, gpu.device, request.prompt, request.output, gpu.bits, request.cached)
    return search + seconds


def _fit(a: Assumptions, rung: str) -> tuple[float, str]:
    """GB of GPU memory that a rung needs of you, and what stands against it."""
    method, request, gpu = RUNGS[rung][1], _request(a, rung), _server(a, rung)
    if method == "managed" or not isinstance(gpu, _Gpu):
        return 0.0, ""
    serving = estimate.serving_memory(a.shape, bits=gpu.bits, context=request.context, concurrent=1)
    training = 0.0
    if method:
        longest = math.ceil(LONGEST * _example_tokens(a, rung))
        answers = min(1.0, a.output_tokens / longest)
        training = estimate.training_memory(a.shape, method, sequence=longest, batch=1, logits_share=answers).total
    need = max(training, serving)
    if request.context > a.base.context:
        return need, f"{a.base.title} reads {a.base.context:,} tokens, and a request has {request.context:,.0f}."
    trainer = prices().gpu(a.train_gpu).device
    trainer = replace(trainer, memory_gb=a.gpu_gb) if a.gpu_owned else trainer
    for what, size, device in (("Training", training, trainer), ("Serving", serving, gpu.device)):
        if size > device.memory_gb:
            named = "the GPU at hand" if a.gpu_owned else device.title
            return need, f"{what} takes {size:.1f} GB, and {named} has {device.memory_gb:g}. {_would_do(need)}"
    return need, ""


def _would_do(need: float) -> str:
    large = [gpu for gpu in prices().gpus if gpu.memory_gb >= need]
    if not large:
        return "No single listed GPU is large enough."
    smallest = min(large, key=lambda gpu: gpu.memory_gb)
    return f"{smallest.title} with {smallest.memory_gb:g} GB would do."


def _missing(a: Assumptions, rung: str, today: dt.date) -> str:
    """What, apart from memory, a rung lacks."""
    retrieval, method = RUNGS[rung]
    limit = rulebook().threshold("corpus_fits_tokens")
    assert not isinstance(limit, dt.date)
    if (retrieval or rung == "long-context") and a.corpus_tokens == 0:
        return "There are no documents to answer from."
    if rung == "long-context" and a.corpus_tokens >= limit:
        return f"The documents have {a.corpus_tokens:,.0f} tokens; a prompt holds fewer than {limit:,.0f}."
    if method == "managed":
        service = prices().tuned_model(a.managed_model)
        if not a.data_may_leave:
            return "The data may not leave, and a service sees every example and request."
        if not service.trains(today):
            return f"{service.provider} has started no trainings of {service.id} since {service.training_ends}."
    return ""


def _ending(a: Assumptions) -> str:
    """What to know of a service that is closing."""
    service = prices().tuned_model(a.managed_model)
    parts = []
    if service.closed_to_new:
        parts.append(f"closed to new customers since {service.closed_to_new}")
    if service.training_ends:
        parts.append(f"starts no trainings from {service.training_ends}")
    if service.shuts_down:
        parts.append(f"switches tuned models off on {service.shuts_down}")
    return f"{service.provider}, {service.id}: {', '.join(parts)}." if parts else ""

"""The price table, checked as it is read: what models, tuned models, embeddings and GPUs cost, and since when we know.

Prices age. Every entry says when its page was read, and `stale` says in a sentence why one should be looked up again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import UserError
from core.models.estimate import Device
from core.settings import REPOSITORY

FILE = REPOSITORY / "assets" / "prices.yaml"

# US dollars per million tokens.
TokenPrice = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Entry(_Strict):
    """`read`: the day the page at `source` was read."""

    id: str
    provider: str
    source: str
    read: dt.date
    note: str = ""


class ModelPrice(_Entry):
    """A hosted model. Without a price of its own, cached input costs what input costs."""

    input: TokenPrice
    cached_input: TokenPrice | None
    output: TokenPrice


class TunedPrice(_Entry):
    """Fine-tuning as a service. Where `input` and `output` are null, the tuned model runs on a GPU paid by the hour."""

    training: TokenPrice
    input: TokenPrice | None
    cached_input: TokenPrice | None
    output: TokenPrice | None
    closed_to_new: dt.date | None
    training_ends: dt.date | None
    shuts_down: dt.date | None

    def trains(self, today: dt.date) -> bool:
        """Whether a training can be started on that day, by those whom the service still admits."""
        return self.training_ends is None or today < self.training_ends

    @property
    def token_price(self) -> ModelPrice | None:
        """What use costs, or None where it is not sold by the token."""
        if self.input is None or self.output is None:
            return None
        shared = self.model_dump(include=set(ModelPrice.model_fields))
        return ModelPrice.model_validate(shared)


class EmbeddingPrice(_Entry):
    input: TokenPrice


class GpuPrice(_Strict):
    """One rented GPU. Memory as sold, speed as the dense 16-bit peak, bandwidth in GB/s."""

    id: str
    title: str
    memory_gb: Positive
    bf16_tflops: Positive
    bandwidth_gb_s: Positive
    usd_per_hour: Positive
    price_source: str
    price_read: dt.date
    spec_source: str
    note: str = ""

    @property
    def read(self) -> dt.date:
        return self.price_read

    @property
    def device(self) -> Device:
        return Device(self.title, self.memory_gb, self.bf16_tflops, self.bandwidth_gb_s)


Listed = TypeVar("Listed", ModelPrice, TunedPrice, EmbeddingPrice, GpuPrice)


class Prices(_Strict):
    """The whole table, put together on the day `as_of`."""

    as_of: dt.date
    stale_after_days: int = Field(gt=0)
    models: tuple[ModelPrice, ...]
    tuned: tuple[TunedPrice, ...]
    embedding: tuple[EmbeddingPrice, ...]
    gpus: tuple[GpuPrice, ...]

    def model(self, id: str) -> ModelPrice:
        return _named(self.models, id, "model")

    def tuned_model(self, id: str) -> TunedPrice:
        return _named(self.tuned, id, "fine-tuning service")

    def embedder(self, id: str) -> EmbeddingPrice:
        return _named(self.embedding, id, "embedding model")

    def gpu(self, id: str) -> GpuPrice:
        return _named(self.gpus, id, "GPU")


def read_prices(path: Path = FILE) -> Prices:
    """Read and check a price table. Raises UserError that names the entry and the field that are wrong."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path.name} cannot be read: {error}", "Correct assets/prices.yaml.") from error
    try:
        table = Prices.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = _where(raw, first["loc"])
        raise UserError(f"{path.name}, {where}: {first['msg']}.", "Correct assets/prices.yaml.") from error
    for part in (table.models, table.tuned, table.embedding, table.gpus):
        ids = [entry.id for entry in part]
        twice = next((id for id in ids if ids.count(id) > 1), None)
        if twice:
            raise UserError(f"{path.name} lists {twice} twice.", "Correct assets/prices.yaml.")
    return table


@cache
def prices() -> Prices:
    """The price table of the product, read once."""
    return read_prices()


def age_days(read: dt.date, today: dt.date) -> int:
    """Days since a page was read."""
    return (today - read).days


def stale(entry: ModelPrice | TunedPrice | EmbeddingPrice | GpuPrice | Prices, today: dt.date) -> str:
    """Why a price, or the whole table, should be looked up again, as a sentence; empty while it is fresh."""
    limit = prices().stale_after_days
    name, read = ("The price table", entry.as_of) if isinstance(entry, Prices) else (_title(entry), entry.read)
    age = age_days(read, today)
    return f"{name} was read on {read}, {age} days ago; look it up again after {limit} days." if age > limit else ""


def open_services(today: dt.date) -> list[TunedPrice]:
    """The fine-tuning services that still start trainings on that day, in the table's order."""
    return [entry for entry in prices().tuned if entry.trains(today)]


def _named(entries: Sequence[Listed], id: str, kind: str) -> Listed:
    for entry in entries:
        if entry.id == id:
            return entry
    known = ", ".join(entry.id for entry in entries)
    raise UserError(f'The price table has no {kind} "{id[:80]}".', f"Choose one of {known}.")


def _title(entry: ModelPrice | TunedPrice | EmbeddingPrice | GpuPrice) -> str:
    return f"The price of {entry.title if isinstance(entry, GpuPrice) else entry.id}"


def _where(raw: Any, steps: Sequence[Any]) -> str:
    """A place in the table in words: the entry's id instead of its number."""
    words = []
    for step in steps:
        numbered = isinstance(raw, list) and isinstance(step, int)
        raw = raw[step] if numbered or (isinstance(raw, dict) and step in raw) else None
        words.append(str(raw["id"]) if numbered and isinstance(raw, dict) and "id" in raw else str(step))
    return ", ".join(words) or "the table"

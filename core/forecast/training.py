"""What a training will take, here and on common rented GPUs: memory, time and cost, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select

from core.decide.prices import GpuPrice, prices
from core.documents.chunking import DEFAULT_CHUNK_TOKENS
from core.forecast.lengths import Counted, counted
from core.forecast.speed import tokens_per_s
from core.jobs.background import job_device
from core.models.access import ModelFacts, describe
from core.models.devices import ThisDevice, this_device
from core.store.database import session
from core.store.tables import Index
from core.train import defaults
from core.train.estimate import Estimate, estimate
from core.train.recipe import Recipe

# A chunk's heading, its source and what stands around it in the prompt.
AROUND_PASSAGE = 20


@dataclass(frozen=True)
class DeviceRow:
    """What the run takes on one rented GPU; `hours` and `usd` are those of one with enough memory where it does not
    fit. None where the model's shape cannot be told.
    """

    id: str
    title: str
    memory_gb: float
    usd_per_hour: float
    needed_gb: float | None
    fits: bool | None
    hours: float | None
    usd: float | None


@dataclass(frozen=True)
class Forecast:
    """`estimate` is for this machine, on which training costs nothing but time; `table` for rented ones."""

    facts: ModelFacts
    device: ThisDevice
    counted: Counted
    estimate: Estimate
    table: list[DeviceRow]
    measured: bool
    """Whether the time follows from an earlier run of this model and method here."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: everything but the single lengths."""
        lengths = self.counted.lengths
        return {
            "model": asdict(self.facts),
            "device": asdict(self.device),
            "estimate": self.estimate.as_dict() | {"time_from_measured_speed": self.measured},
            "examples": {
                "count": self.counted.examples,
                "mean_tokens": round(sum(lengths) / max(1, len(lengths)), 1),
                "longest_tokens": max(lengths, default=0),
                "answer_share": round(self.counted.answer_share, 4),
                "counted_with_tokenizer": self.counted.exact,
            },
            "devices": [asdict(row) for row in self.table],
        }


def forecast(recipe: Recipe, dataset_id: int, index_id: int | None = None) -> Forecast:
    """What training on a dataset takes. Raises UserError for a model of which nothing can be known."""
    facts = describe(recipe.model)
    return forecast_of(recipe, counted(dataset_id, facts, passage_tokens(recipe, index_id)), facts)


def forecast_of(recipe: Recipe, found: Counted, facts: ModelFacts) -> Forecast:
    """The same for examples counted already."""
    device = this_device()
    speed = tokens_per_s(recipe, job_device())
    here = estimate(
        recipe, found.lengths, found.answer_share, facts, device, examples=found.examples, tokens_per_s=speed
    )
    table = [_row(recipe, found, facts, gpu) for gpu in prices().gpus]
    if here.fits is False:
        here.advice.extend(_would_do(table))
    return Forecast(facts, device, found, here, table, speed is not None)


def suggestion(model_id: str, dataset_id: int, passage_tokens: int = 0) -> tuple[Recipe, dict[str, str]]:
    """A recipe for this model, dataset and machine, with the reason for each field that was chosen.

    `passage_tokens` are those of the passages that will stand beside each question.
    """
    facts = describe(model_id)
    found = counted(dataset_id, facts, passage_tokens)
    return defaults.suggest(facts, found.lengths, found.examples, this_device(), answer_share=found.answer_share)


def passage_tokens(recipe: Recipe, index_id: int | None = None) -> int:
    """Tokens that passages add to an example: full chunks of the index, or of the usual size."""
    if recipe.passages is None:
        return 0
    with session(read_only=True) as db:
        chunk = db.scalar(select(Index.chunk_tokens).where(Index.id == index_id)) if index_id is not None else None
    return recipe.passages.count * ((chunk or DEFAULT_CHUNK_TOKENS) + AROUND_PASSAGE)


def _row(recipe: Recipe, found: Counted, facts: ModelFacts, gpu: GpuPrice) -> DeviceRow:
    there = estimate(recipe, found.lengths, found.answer_share, facts, gpu.device, examples=found.examples)
    hours = None if there.seconds is None else there.seconds / 3600
    return DeviceRow(
        id=gpu.id,
        title=gpu.title,
        memory_gb=gpu.memory_gb,
        usd_per_hour=gpu.usd_per_hour,
        needed_gb=there.memory.total if there.memory else None,
        fits=there.fits,
        hours=hours,
        usd=None if hours is None else hours * gpu.usd_per_hour,
    )


def _would_do(table: Sequence[DeviceRow]) -> list[str]:
    """The cheapest rented GPU that holds the run, as a sentence."""
    holding = [row for row in table if row.fits and row.usd is not None]
    if not holding:
        return ["It fits on none of the GPUs listed."]
    best = min(holding, key=lambda row: row.usd or 0.0)
    return [f"Rent a GPU: it fits on {best.title}, for about ${best.usd:.2f}."]

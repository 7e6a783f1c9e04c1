"""The ladder: a model and three switches, in order of cost and rigidity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.errors import UserError

# From cheap and flexible to costly and rigid: what needs no training first, and a bought fine-tune last.
ORDER = (
    "base",
    "prompt",
    "rag",
    "prompt+rag",
    "lora",
    "prompt+lora",
    "rag+lora",
    "prompt+rag+lora",
    "managed",
    "prompt+managed",
    "rag+managed",
    "prompt+rag+managed",
)


# The number of a record, as a person may write it: databases hold no larger ones.
RecordId = Annotated[int, Field(ge=1, lt=2**63)]


@dataclass(frozen=True)
class Rung:
    """One way of answering. `shots`: worked examples in the prompt; `retrieval`: passages; `adapter`: LoRA weights.

    `model` and `adapter_id` are empty for those of the experiment. `tuned`: the model is itself a managed fine-tune.
    """

    shots: bool = False
    retrieval: bool = False
    adapter: bool = False
    model: str = ""
    adapter_id: int | None = None
    tuned: bool = False

    @property
    def switches(self) -> str:
        """What is switched on, such as "rag+lora"; "base" where nothing is."""
        tuning = "managed" if self.tuned else "lora" if self.adapter else ""
        on = ["prompt" if self.shots else "", "rag" if self.retrieval else "", tuning]
        return "+".join(part for part in on if part) or "base"

    @property
    def name(self) -> str:
        """Unique within an experiment: the switches, then an adapter and a model of its own, if it has any."""
        adapter = f"#{self.adapter_id}" if self.adapter_id is not None else ""
        return f"{self.switches}{adapter}{f'@{self.model}' if self.model else ''}"


class RungChoice(BaseModel):
    """A rung as an experiment's plan holds it. Also read from a name alone, such as "rag+lora"."""

    model_config = ConfigDict(extra="forbid")

    shots: bool = Field(False, description="Worked examples in the prompt.")
    retrieval: bool = Field(False, description="Passages from the documents in the prompt.")
    adapter: bool = Field(False, description="The weights of a training.")
    model: str = Field("", description="Its model; empty for the experiment's.")
    adapter_id: RecordId | None = Field(None, description="Its adapter; empty for the experiment's.")
    tuned: bool = Field(False, description="The model is itself a fine-tune bought as a service.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return vars(_parsed(value)) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_tuning(self) -> RungChoice:
        if self.adapter and self.tuned:
            raise ValueError("a managed fine-tune takes no adapter")
        if self.adapter_id is not None and not self.adapter:
            raise ValueError("an adapter is named, but the switch adapter is off")
        return self

    @property
    def rung(self) -> Rung:
        return Rung(**self.model_dump())


LADDER = (
    Rung(),
    Rung(shots=True),
    Rung(retrieval=True),
    Rung(adapter=True),
    Rung(retrieval=True, adapter=True),
)
CUBE = tuple(
    Rung(shots, retrieval, adapter)
    for adapter in (False, True)
    for retrieval in (False, True)
    for shots in (False, True)
)
PRESETS = {
    "The ladder": LADDER,
    "RAG against LoRA": tuple(rung for rung in LADDER if not rung.shots),
    "All eight (2 x 2 x 2)": CUBE,
}


def in_order(rungs: Iterable[Rung]) -> list[Rung]:
    """Lowest first: by their switches, and rungs of the same switches in the order they were given."""
    return sorted(rungs, key=lambda rung: ORDER.index(rung.switches))


def rungs_named(names: Iterable[str]) -> list[Rung]:
    """The rungs of the experiment's own model with these names, lowest first. Raises UserError."""
    wanted = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    known = [rung.name for rung in CUBE]
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise UserError(f"There is no rung called {', '.join(unknown)}.", f"Choose from {', '.join(known)}.")
    if not wanted:
        raise UserError("No rung was chosen.", f"Choose from {', '.join(known)}.")
    return in_order(_parsed(name) for name in wanted)


def names_of(rungs: Sequence[Rung]) -> list[str]:
    return [rung.name for rung in rungs]


def _parsed(name: str) -> Rung:
    """The rung that a name says. Raises ValueError."""
    switches, _, model = name.strip().partition("@")
    switches, _, adapter = switches.partition("#")
    if switches not in ORDER or (adapter and not adapter.isdigit()):
        raise ValueError(f"there is no rung called {name}; known: {', '.join(ORDER)}")
    parts = set(switches.split("+"))
    return Rung(
        shots="prompt" in parts,
        retrieval="rag" in parts,
        adapter="lora" in parts,
        model=model,
        adapter_id=int(adapter) if adapter else None,
        tuned="managed" in parts,
    )

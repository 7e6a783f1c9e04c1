"""The ladder: a model and three switches, in order of cost and rigidity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.errors import UserError


@dataclass(frozen=True)
class Rung:
    """One way of answering. `shots`: worked examples in the prompt; `retrieval`: passages; `adapter`: LoRA weights."""

    name: str
    shots: bool = False
    retrieval: bool = False
    adapter: bool = False


LADDER = (
    Rung("base"),
    Rung("prompt", shots=True),
    Rung("rag", retrieval=True),
    Rung("lora", adapter=True),
    Rung("rag+lora", retrieval=True, adapter=True),
)


def rungs_named(names: Iterable[str]) -> list[Rung]:
    """The rungs with these names, in the ladder's order whatever order was given. Raises UserError."""
    wanted = {name.strip() for name in names if name.strip()}
    known = [rung.name for rung in LADDER]
    unknown = sorted(wanted - set(known))
    if unknown:
        raise UserError(f"There is no rung called {', '.join(unknown)}.", f"Choose from {', '.join(known)}.")
    if not wanted:
        raise UserError("No rung was chosen.", f"Choose from {', '.join(known)}.")
    return [rung for rung in LADDER if rung.name in wanted]

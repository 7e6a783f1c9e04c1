"""The scenarios that the diagnosis learns from, and that similar cases are taken from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from core.decide.rulebook import FOLDER
from core.errors import UserError

SCENARIOS_FILE = FOLDER / "scenarios.jsonl"


class Scenario(BaseModel):
    """One described problem with its diagnosis, and the answers that its text states."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    rung: Literal["prompt", "rag", "fine-tune", "both"]
    group: str
    answers: dict[str, str | bool | float]

    @property
    def author(self) -> str:
        return self.group.partition("-")[0]


def load_scenarios(path: Path = SCENARIOS_FILE) -> list[Scenario]:
    """All scenarios. Raises UserError with the line of one that is not."""
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name} cannot be read: {error}", "Restore assets/decide.") from error
    scenarios = []
    for number, line in enumerate(lines, 1):
        try:
            scenarios.append(Scenario.model_validate_json(line))
        except ValidationError as error:
            raise UserError(f"{path.name}, line {number}: {error}", "Correct the line.") from error
    return scenarios


def hash_of(scenarios: Sequence[Scenario]) -> str:
    """Changes with any text, label or answer: a classifier says by it what it was trained on."""
    listed = json.dumps([scenario.model_dump() for scenario in scenarios], sort_keys=True)
    return hashlib.sha256(listed.encode()).hexdigest()

"""What something will take and show, said before it is started."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from core.evaluate.statistics import detectable_effect
from core.ladder import SECONDS_PER_ANSWER, SECONDS_TO_START, submit_training
from core.train.recipe import Recipe


def training_seconds(dataset_id: int, recipe: Recipe) -> float:
    """Seconds a training is expected to take, from the last one on this machine; nothing is submitted."""
    told: list[float] = []

    def note(kind: str, spec: dict[str, Any], title: str, after: Sequence[int], expected_s: float) -> int:
        told.append(expected_s)
        return 0

    submit_training(dataset_id, recipe, "", note)
    return told[0]


def comparison_seconds(tests: int, rungs: Iterable[str]) -> float:
    """Seconds a comparison of these rungs is expected to take on this many test examples."""
    return SECONDS_TO_START + tests * sum(SECONDS_PER_ANSWER[rung] for rung in rungs)


def detectable_in_words(tests: int, kind: str) -> str:
    """What a test of this size can show, as a sentence. `kind` is the metric's: binary or continuous."""
    smallest = detectable_effect(tests, kind)
    if math.isinf(smallest):
        return f"With {tests} test examples no difference can be shown, however large: collect at least 20."
    return (
        f"With {tests} test examples, a true difference of about {100 * smallest:.0f} points or more between two "
        "rungs is found 4 times out of 5. Smaller ones may stay open."
    )

"""What something will take and show, said before it is started."""

from __future__ import annotations

import math
from collections.abc import Iterable

from core.data.dataset import count_of
from core.evaluate.statistics import detectable_effect
from core.forecast.speed import seconds_per_step
from core.jobs.background import job_device
from core.train.recipe import Recipe

# Seconds before anything has been measured on this machine: two laptop cores and the bundled model. They only feed
# the time left of jobs that have not begun; a running job tells from its own speed.
SECONDS_PER_STEP = 2.5
SECONDS_PER_ANSWER = {"base": 0.4, "prompt": 0.3, "rag": 0.8, "lora": 0.2, "rag+lora": 0.7}
SECONDS_PER_DOCUMENT = 0.1
SECONDS_TO_START = 15.0


def index_seconds(documents: int) -> float:
    """Seconds the filling of an index is expected to take."""
    return SECONDS_TO_START + SECONDS_PER_DOCUMENT * documents


def training_seconds(dataset_id: int, recipe: Recipe) -> float:
    """Seconds a training is expected to take: from the last pre-flight or training here of its model and method, else
    from the last of any. `core.forecast.training` reckons from the data instead, and takes longer to say so.
    """
    per_step = seconds_per_step(recipe, job_device()) or SECONDS_PER_STEP
    return SECONDS_TO_START + recipe.steps(count_of(dataset_id, "train")) * per_step


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

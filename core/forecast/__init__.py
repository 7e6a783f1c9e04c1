"""What something will take and show, said before it is started."""

from __future__ import annotations

from collections.abc import Iterable

from core.data.dataset import count_of
from core.evaluate.rungs import Rung
from core.forecast.detectable import Detectable, detectable, detectable_in_words
from core.forecast.speed import seconds_per_step
from core.jobs.background import job_device
from core.train.recipe import Recipe

__all__ = [
    "Detectable",
    "comparison_seconds",
    "detectable",
    "detectable_in_words",
    "index_seconds",
    "training_seconds",
]

# Seconds before anything has been measured on this machine: two laptop cores and the bundled model. They only feed
# the time left of jobs that have not begun; a running job tells from its own speed.
SECONDS_PER_STEP = 2.5
SECONDS_PER_ANSWER = {"base": 0.4, "prompt": 0.3, "rag": 0.8, "lora": 0.2, "rag+lora": 0.7}
SECONDS_PER_OTHER_ANSWER = 0.8
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


def comparison_seconds(tests: int, rungs: Iterable[Rung]) -> float:
    """Seconds a comparison of these rungs is expected to take on this many test examples.

    `core.forecast.comparison` reckons from the data and the models instead, and takes longer to say so.
    """
    per_test = sum(SECONDS_PER_ANSWER.get(rung.switches, SECONDS_PER_OTHER_ANSWER) for rung in rungs)
    return SECONDS_TO_START + tests * per_test

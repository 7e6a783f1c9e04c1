"""From the hyperparameters of a fine-tuning service to a recipe of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.forecast.hyperparameters import recipe_for
from core.forecast.training import suggestion
from tests.factories import sorting_dataset


@pytest.mark.parametrize("wanted", [{}, {"n_epochs": "auto", "batch_size": None}])
def test_what_is_not_asked_for_is_the_app_s_own_choice(tiny_model: Path, wanted: dict[str, Any]) -> None:
    model, dataset = str(tiny_model), sorting_dataset()
    recipe, chosen = recipe_for(model, dataset.id, wanted, seed=5)
    own, _ = suggestion(model, dataset.id)
    assert recipe == own.model_copy(update={"seed": 5})
    assert chosen == {"n_epochs": own.epochs, "batch_size": 8, "learning_rate_multiplier": 1.0}


@pytest.mark.parametrize(
    ("size", "at_once", "accumulation"), [(1, 1, 1), (6, 6, 1), (8, 8, 1), (12, 6, 2), (13, 1, 13), (256, 8, 32)]
)
def test_a_batch_that_is_too_large_at_once_is_taken_in_parts(
    tiny_model: Path, size: int, at_once: int, accumulation: int
) -> None:
    wanted = {"batch_size": size, "n_epochs": 3, "learning_rate_multiplier": 0.5}
    recipe, chosen = recipe_for(str(tiny_model), sorting_dataset().id, wanted, seed=0)
    assert (recipe.batch_size, recipe.accumulation, recipe.epochs) == (at_once, accumulation, 3.0)
    own, _ = suggestion(str(tiny_model), sorting_dataset().id)
    assert recipe.learning_rate == own.learning_rate * 0.5
    assert chosen == {"n_epochs": 3, "batch_size": size, "learning_rate_multiplier": 0.5}

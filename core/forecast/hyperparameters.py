"""From the few hyperparameters of OpenAI's API to a recipe, and back to what was chosen for "auto"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from core.errors import UserError
from core.forecast.lengths import at_hand
from core.forecast.training import suggestion
from core.models.access import inspect
from core.train.recipe import Recipe

# A recipe takes no longer examples, whatever the model reads.
LONGEST = 131_072


def recipe_for(model: str, dataset_id: int, wanted: Mapping[str, Any], seed: int) -> tuple[Recipe, dict[str, Any]]:
    """(the recipe, the hyperparameters with numbers in place of "auto").

    Raises UserError for a model not to be had, and for numbers beyond what a recipe takes.

    The recipe is the one the app itself proposes for this data, model and machine, with what `wanted` says of
    `n_epochs`, `batch_size` and `learning_rate_multiplier` in place; left out, None and "auto" are the same. The
    multiplier scales the proposed step size.
    """
    facts = inspect(model)
    recipe, _ = suggestion(model, dataset_id)
    asked = {name: value for name, value in wanted.items() if value not in (None, "auto")}
    changed: dict[str, Any] = {"seed": seed}
    if not at_hand(facts):
        # Lengths were told from letters: whatever is longer than they say must not be cut for it.
        changed["max_length"] = min(facts.context, LONGEST)
    if "n_epochs" in asked:
        changed["epochs"] = float(asked["n_epochs"])
    if "batch_size" in asked:
        changed |= _batch(max(1, round(asked["batch_size"])), recipe.batch_size)
    if "learning_rate_multiplier" in asked:
        changed["learning_rate"] = recipe.learning_rate * asked["learning_rate_multiplier"]
    try:
        chosen = Recipe.model_validate(recipe.model_dump() | changed)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0]).replace("_", " ")
        raise UserError(
            f"With these hyperparameters the {field} would be {first['input']:g}: {first['msg'].lower()}.",
            "Leave it to be chosen here, or choose a smaller one.",
        ) from error
    return chosen, {
        "n_epochs": max(1, round(chosen.epochs)),
        "batch_size": chosen.batch_size * chosen.accumulation,
        "learning_rate_multiplier": chosen.learning_rate / recipe.learning_rate,
    }


def _batch(size: int, fits: int) -> dict[str, int]:
    """So many examples to a step, at most `fits` of them at once."""
    at_once = next(n for n in range(min(size, fits), 0, -1) if size % n == 0)
    return {"batch_size": at_once, "accumulation": size // at_once}

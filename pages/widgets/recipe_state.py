"""What the recipe form holds: suggested values, what a person set instead, and the recipe that comes of it.

Fields that nobody has touched follow the suggestion when the model, the data set or the method changes; what a person
has set stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st
from pydantic import ValidationError

from core.errors import UserError
from core.train.recipe import Method, Passages, Recipe

# Widget keys are this and the field's name.
KEY = "train_"
TOUCHED = "train_touched"
EPOCHS, STEPS = "Epochs", "Steps"
TRACKERS = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "Weights & Biases", "trackio": "Trackio"}
# What another method than the suggested one asks for: values, or the name of the field to take them from; and why.
METHOD_CHANGES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "rslora": (
        {"alpha": "rank"},
        {"alpha": "With rsLoRA the rank itself: the adapter is scaled by alpha over the root of the rank."},
    ),
    "full": (
        {"learning_rate": 2e-5},
        {"learning_rate": "All weights move at once: steps a tenth as long as an adapter's, or it forgets."},
    ),
}
# Shown when somebody turns from epochs to steps.
FIRST_STEPS = 100


@dataclass(frozen=True)
class Number:
    """A number field; `step` is what its buttons add, without overshooting."""

    label: str
    step: float = 1
    format: str | None = None


NUMBERS = {
    "epochs": Number("Epochs", 0.5),
    "max_steps": Number("Steps", 10),
    "learning_rate": Number("Learning rate", 1e-5, "%.1e"),
    "batch_size": Number("Batch size, examples"),
    "rank": Number("Rank"),
    "alpha": Number("Alpha"),
    "dropout": Number("Dropout", 0.05),
    "warmup": Number("Warm-up, share", 0.01),
    "weight_decay": Number("Weight decay", 0.01),
    "max_grad_norm": Number("Longest gradient", 0.1),
    "accumulation": Number("Accumulation, batches"),
    "max_length": Number("Longest example, tokens", 16),
    "evaluations": Number("Evaluations"),
    "patience": Number("Patience, evaluations"),
    "samples": Number("Sample answers"),
    "seed": Number("Seed"),
}
TITLES = (
    {name: number.label for name, number in NUMBERS.items()}
    | {
        "by": "Length of the run",
        "method": "Method",
        "targets": "Layers",
        "schedule": "Schedule",
        "answers_only": "Answers only",
        "packing": "Packing",
        "engine": "Engine",
        "raft": "Retrieved passages",
        "count": "Passages per question",
        "without_source": "Share without their own passage",
    }
    | {f"report_{name}": title for name, title in TRACKERS.items()}
)
_HELD_ALIKE = tuple(
    name for name in Recipe.model_fields if name not in ("model", "targets", "max_steps", "passages", "report_to")
)


def as_state(recipe: Recipe) -> dict[str, Any]:
    """What the form's widgets hold, by field, when they say this recipe. The model is chosen elsewhere."""
    passages = recipe.passages or Passages()
    return (
        {name: getattr(recipe, name) for name in _HELD_ALIKE}
        | {
            "by": EPOCHS if recipe.max_steps is None else STEPS,
            "max_steps": recipe.max_steps or FIRST_STEPS,
            "targets": [] if recipe.targets == "all-linear" else list(recipe.targets),
            "raft": recipe.passages is not None,
            "count": passages.count,
            "without_source": passages.without_source,
        }
        | {f"report_{name}": name in recipe.report_to for name in TRACKERS}
    )


def as_recipe(model: str, state: Mapping[str, Any]) -> Recipe:
    """The recipe that the widgets say. Raises UserError where a field holds what no recipe may."""
    fields = {name: state[name] for name in _HELD_ALIKE} | {
        "model": model,
        "targets": list(state["targets"]) or "all-linear",
        "max_steps": state["max_steps"] if state["by"] == STEPS else None,
        "passages": {"count": state["count"], "without_source": state["without_source"]} if state["raft"] else None,
        "report_to": [name for name in TRACKERS if state[f"report_{name}"]],
    }
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        raise UserError(
            f"{TITLES.get(field, field)}: {first['msg']} (given: {str(first['input'])[:80]}).", "Change it in the form."
        ) from error


def on_screen(model: str) -> Recipe:
    """The recipe as it stands in the form."""
    return as_recipe(model, {name: st.session_state[KEY + name] for name in TITLES})


def chosen_method() -> Method | None:
    """The method if a person chose it, else None: it is suggested then."""
    return st.session_state[f"{KEY}method"] if "method" in touched() else None


def for_method(recipe: Recipe, reasons: Mapping[str, str], method: Method | None) -> tuple[Recipe, dict[str, str]]:
    """The suggestion as it has to be for the method that a person chose (None: they did not)."""
    if method is None or method == recipe.method:
        return recipe, dict(reasons)
    changes, why = METHOD_CHANGES.get(method, ({}, {}))
    changes = {name: getattr(recipe, value) if isinstance(value, str) else value for name, value in changes.items()}
    return recipe.model_copy(update={"method": method, **changes}), dict(reasons) | why


def passages_chosen() -> tuple[Passages | None, int | None]:
    """The passages that the form asks for, and their index, known before its widgets are drawn."""
    state = st.session_state
    if not state.get(f"{KEY}raft"):
        return None, None
    return Passages(count=state[f"{KEY}count"], without_source=state[f"{KEY}without_source"]), state.get(f"{KEY}index")


def settle(suggested: Recipe) -> None:
    """Before any widget is drawn: fields that nobody touched take the suggested value."""
    for name, value in as_state(suggested).items():
        if name not in touched() or KEY + name not in st.session_state:
            st.session_state[KEY + name] = value


def fill(recipe: Recipe) -> None:
    """Put a recipe into the form, before any widget is drawn; nothing of it is suggested over."""
    for name, value in as_state(recipe).items():
        st.session_state[KEY + name] = value
        touched().add(name)


def put(changes: Mapping[str, Any]) -> None:
    """A button's callback: change fields, as a person would."""
    for name, value in changes.items():
        st.session_state[KEY + name] = value
        touched().add(name)


def changed(suggested: Recipe) -> list[str]:
    """Titles of the fields that say something else than the suggestion."""
    state = as_state(suggested)
    return [title for name, title in TITLES.items() if st.session_state[KEY + name] != state[name]]


def back_to_suggested() -> None:
    """A button's callback."""
    touched().clear()


def touched() -> set[str]:
    """The fields that a person has set."""
    names: set[str] = st.session_state.setdefault(TOUCHED, set())
    return names


def touch(name: str) -> None:
    """A widget's callback."""
    touched().add(name)

"""Form parts that pages share: models, recipes, data sets."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.data.dataset import datasets
from core.models.catalogue import catalogue
from core.store.tables import Dataset
from core.train.recipe import Recipe

MODELS = {entry.id: entry for entry in catalogue()}
RECIPE: dict[str, Any] = Recipe.model_json_schema()["properties"]
# What most people turn; the rest is folded away.
USUAL = ("epochs", "learning_rate", "batch_size")
EXPERT = ("rank", "alpha", "dropout", "accumulation", "max_length", "evaluations", "seed")
LABELS = {
    "epochs": "Epochs",
    "learning_rate": "Learning rate",
    "batch_size": "Batch size, examples",
    "rank": "Rank",
    "alpha": "Alpha",
    "dropout": "Dropout",
    "accumulation": "Accumulated batches per step",
    "max_length": "Longest example, tokens",
    "evaluations": "Evaluations and checkpoints",
    "seed": "Seed",
}
# A step of the buttons that changes something without overshooting.
STEPS = {"epochs": 0.5, "learning_rate": 1e-4, "dropout": 0.05}


def base_model(key: str) -> str:
    """A catalogue entry, or anything else that can be opened: typed into the same field."""
    chosen = st.selectbox(
        "Base model",
        list(MODELS),
        format_func=lambda i: MODELS[i].title if i in MODELS else i,
        key=key,
        accept_new_options=True,
        persist_state="session",
        help="Choose one, or type a Hugging Face id or a local folder. Only the bundled one works without a download.",
    )
    entry = MODELS.get(str(chosen))
    if entry is not None:
        gate = " · its publisher asks for an accepted licence and a token" if entry.gated else ""
        st.caption(
            f"{entry.parameters:g} billion parameters · {entry.license} · {entry.size_gb:g} GB at 16 bits · "
            f"{entry.context:,} tokens of context{gate}"
        )
    return str(chosen)


def recipe_fields(model: str, key: str) -> Recipe:
    """Method and knobs with the defaults an expert would start from; each explains itself."""
    method = st.segmented_control(
        "Method",
        ["lora", "qlora"],
        default="lora",
        required=True,
        key=f"{key}_method",
        help=RECIPE["method"]["description"],
        persist_state="session",
    )
    values: dict[str, Any] = {}
    with st.grid(3, min_column_width=160):
        for name in USUAL:
            values[name] = _number(name, key)
    with st.expander("Expert settings", icon=":material/tune:"), st.grid(4, min_column_width=160):
        for name in EXPERT:
            values[name] = _number(name, key)
    return Recipe(model=model, method="qlora" if method == "qlora" else "lora", **values)


def _number(name: str, key: str) -> int | float:
    """A number input with the limits and the explanation of the recipe's own field."""
    field = RECIPE[name]
    kind = int if field["type"] == "integer" else float
    step = kind(STEPS.get(name, 1))
    # A limit that is itself excluded is kept away from by a fraction of a step.
    lowest = field.get("minimum", field.get("exclusiveMinimum", 0) + (0 if kind is int else step / 100))
    highest = field.get("maximum", field.get("exclusiveMaximum", 2**31) - (1 if kind is int else step))
    value: int | float = st.number_input(
        LABELS[name],
        kind(lowest),
        kind(highest),
        kind(field["default"]),
        step=step,
        format="%.2e" if name == "learning_rate" else None,
        help=field["description"],
        key=f"{key}_{name}",
        persist_state="session",
    )
    return value


def choose_dataset(key: str) -> Dataset | None:
    """A dataset for something new; `?dataset=ID` preselects it. With none there is a way to get one."""
    listed = {d.id: d for d in datasets()}
    if not listed:
        st.info("Bring examples first, or start the demo project.", title="No data set yet")
        with st.container(horizontal=True):
            if st.button("Bring examples", type="primary", icon=":material/upload:", key=f"{key}_to_data"):
                st.switch_page("pages/data.py")
            if st.button("Start the demo on Home", icon=":material/home:", key=f"{key}_to_home"):
                st.switch_page("pages/home.py")
        return None
    address = st.query_params.get("dataset", "")
    if address.isdigit() and int(address) in listed and st.session_state.get(f"{key}_address") != address:
        st.session_state[f"{key}_dataset"] = int(address)
        st.session_state[f"{key}_address"] = address
    if st.session_state.get(f"{key}_dataset") not in listed:
        st.session_state[f"{key}_dataset"] = next(iter(listed))
    chosen = st.selectbox(
        "Dataset",
        list(listed),
        key=f"{key}_dataset",
        persist_state="session",
        format_func=lambda i: f"{listed[i].name} (number {i})" if i in listed else str(i),
    )
    return listed[chosen]

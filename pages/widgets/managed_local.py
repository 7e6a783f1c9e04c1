"""The way out: the same training on this machine, by the same API or as a recipe of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.managed.migrate import twin_recipe
from core.managed.plan import TuneSettings, prepare, start
from pages.widgets import new_run, recipe_io
from pages.widgets.choose import go_to_view
from pages.widgets.errors import guard
from pages.widgets.forms import base_model
from pages.widgets.managed_here import our_server
from pages.widgets.managed_parts import show_training


def same_here(dataset_id: int, name: str, settings: TuneSettings, key: str) -> None:
    """Two buttons that train an open model on the same data with the same settings."""
    with st.container(border=True):
        st.markdown("**Train the same on this machine**")
        st.caption("The same data and settings on an open model: nothing is uploaded, and the weights are yours.")
        model = base_model(f"{key}_open", "Open model")
        with st.container(horizontal=True):
            if st.button(
                "Start it on the local server",
                icon=":material/computer:",
                key=f"{key}_here",
                help="The same job by the same API: starts the server of this machine if it does not run, and sends "
                "the job there.",
            ):
                with guard():
                    _start_here(model, dataset_id, settings)
            if st.button(
                "Open it as a recipe",
                icon=":material/model_training:",
                key=f"{key}_recipe",
                help="Fills the form of a new run, where everything can be changed.",
            ):
                with guard():
                    open_recipe(dataset_id, name, settings.hyperparameters, model, settings.seed)


def open_recipe(
    dataset_id: int, name: str, hyperparameters: Mapping[str, Any], model: str, seed: int | None = None
) -> None:
    """The form of a new run, filled with the twin."""
    with st.spinner("Working out the recipe", show_time=True):
        recipe, _ = twin_recipe(dataset_id, dict(hyperparameters), model, seed or 0)
    st.session_state[recipe_io.PENDING] = recipe_io.Pending(
        recipe, "Filled with the same data and settings.", dataset_id, name=name
    )
    go_to_view(new_run.VIEW, new_run.NEW)
    st.rerun()


def _start_here(model: str, dataset_id: int, settings: TuneSettings) -> None:
    """Nobody charges anything here, so there is no sum to confirm."""
    free = settings.model_copy(update={"price_training": None})
    show_training(start(prepare(our_server(), model, dataset_id, free), None))
    st.rerun()

"""An adapter beside its base: one question, two answers, so that what the training changed can be seen."""

from __future__ import annotations

import streamlit as st

from core.api.models import public_name
from core.store.tables import Adapter
from pages.widgets.errors import guard
from pages.widgets.ladder import RUNG_COLOURS
from pages.widgets.serve_server import ready
from pages.widgets.serve_stream import Side
from pages.widgets.talk import choose_lookup, choose_sampling, choose_system, converse


def sides_of(adapter: Adapter) -> list[Side]:
    return [
        Side("base", adapter.base_model, RUNG_COLOURS["base"]),
        Side(adapter.name, public_name(adapter), RUNG_COLOURS["lora"]),
    ]


def draw(adapter: Adapter) -> None:
    """The conversation, in a part of the page that runs by itself."""

    def fragment() -> None:
        with guard():
            _converse(adapter)

    st.fragment(fragment)()


def _converse(adapter: Adapter) -> None:
    st.caption("One question to both: the base model as it is, and the same model with the adapter.")
    with st.expander("Settings", icon=":material/tune:"):
        with st.grid(2, min_column_width=200):
            sampling = choose_sampling()
            lookup = choose_lookup()
        opening = choose_system(adapter, f"beside_system_{adapter.id}")
    if ready(f"beside_{adapter.id}"):
        converse(f"beside_{adapter.id}", sides_of(adapter), opening, sampling, lookup, adapter)

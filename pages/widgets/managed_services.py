"""Choosing a provider, and the way to the list of services from there."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.models.services import Service
from pages.widgets.errors import guard
from pages.widgets.services import service_manager


def choose_provider(among: Sequence[Service], key: str) -> Service | None:
    """One of these; draws nothing where there is none."""
    saved = {service.name: service for service in among}
    if st.session_state.get(key) not in saved:
        st.session_state.pop(key, None)
    if not saved:
        return None
    chosen = st.selectbox(
        "Provider",
        list(saved),
        key=key,
        persist_state="session",
        format_func=lambda name: f"{name} ({saved[name].url})" if name in saved else str(name),
    )
    return saved.get(str(chosen))


def services_button(key: str) -> None:
    """Opens the list in a dialog."""
    if st.button("Services", icon=":material/cloud:", key=f"{key}services", help="Add, change or remove one."):
        _services()


@st.dialog("Services", width="large", on_dismiss="rerun")
def _services() -> None:
    with guard():
        service_manager()

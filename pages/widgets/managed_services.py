"""The way to the list of services from wherever a provider is chosen."""

from __future__ import annotations

import streamlit as st

from pages.widgets.errors import guard
from pages.widgets.services import service_manager


def services_button(key: str) -> None:
    """Opens the list in a dialog."""
    if st.button("Services", icon=":material/cloud:", key=f"{key}services", help="Add, change or remove one."):
        _services()


@st.dialog("Services", width="large", on_dismiss="rerun")
def _services() -> None:
    with guard():
        service_manager()

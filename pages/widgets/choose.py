"""Choosing one of the things there are; the choice is in the address, so a link to a page is permanent."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st


def choose(param: str, label: str, options: Mapping[int, str], preferred: int | None = None) -> int | None:
    """A select box whose value is `?param=ID`. What was chosen last is remembered across pages; before that
    it is `preferred`, else the first. None if there is nothing.

    Streamlit's own binding would put the visible text into the address instead of the id.
    """
    ids = list(options)
    if not ids:
        return None
    key, seen, kept = f"choose_{param}", f"address_{param}", f"kept_{param}"
    address = st.query_params.get(param)
    if key not in st.session_state or address != st.session_state.get(seen):
        wanted = address or st.session_state.get(kept)
        if wanted is not None and str(wanted).isdigit() and int(wanted) in options:
            st.session_state[key] = int(wanted)
        elif address is not None:
            st.warning(f"There is no {label.lower()} with this number any more; another is shown.")
    if st.session_state.get(key) not in options:
        st.session_state[key] = preferred if preferred in options else ids[0]
    # Set anew in every run: the browser shows the first of the list where the run that set it was cut short by a click.
    st.session_state[key] = st.session_state[key]
    chosen: int = st.selectbox(label, ids, format_func=lambda i: options.get(i, str(i)), key=key)
    st.query_params[param] = st.session_state[seen] = str(chosen)
    st.session_state[kept] = chosen
    return chosen


def view(key: str, options: list[str], label: str = "View") -> str:
    """Which part of a page is shown; `go_to_view` changes it from a button below."""
    if wanted := st.session_state.pop(f"{key}_next", None):
        st.session_state[key] = wanted
    if st.session_state.get(key) not in options:
        st.session_state[key] = options[0]
    st.segmented_control(label, options, key=key, required=True, label_visibility="collapsed", persist_state="session")
    return str(st.session_state[key])


def go_to_view(key: str, option: str) -> None:
    st.session_state[f"{key}_next"] = option

"""Form parts that pages share: models and data sets."""

from __future__ import annotations

import streamlit as st

from core.data.dataset import datasets
from core.models.catalogue import catalogue
from core.store.tables import Dataset

MODELS = {entry.id: entry for entry in catalogue()}


def base_model(key: str, label: str = "Base model") -> str:
    """A catalogue entry, or anything else that can be opened: typed into the same field."""
    chosen = st.selectbox(
        label,
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

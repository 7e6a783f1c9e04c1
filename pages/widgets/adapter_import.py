"""Bringing an adapter that was trained elsewhere."""

from __future__ import annotations

from pathlib import PurePosixPath

import streamlit as st

from core.documents.reading.archives import MAX_UNPACKED
from core.models.package import PUBLISHED, published_name
from core.publish.importing import files_in_zip, named_base
from core.publish.importing import import_adapter as store
from pages.widgets.errors import guard, plain
from pages.widgets.forms import MODELS, base_model

ZIP, FOLDER = "A zip archive", "A folder"


def import_adapter() -> None:
    """The form, and what came of it. The base model is the one that the adapter names, where that is known."""
    st.markdown(
        "LoRA adapters (rsLoRA and DoRA among them) as PEFT saves them, in safetensors. Pickled ones are not opened, "
        "since they can run code. Every matrix must fit the base model."
    )
    # Another key is another, empty uploader: after each import the form starts anew.
    number = st.session_state.get("adapters_brought", 0)
    way = st.segmented_control("What do you have?", [ZIP, FOLDER], default=ZIP, required=True, key="bring_way")
    files = _from_zip(number) if way == ZIP else _from_folder(number)
    if not files:
        return
    named = named_base(files)
    known = next((ours for ours in MODELS if named and published_name(ours).lower() == named.lower()), None)
    if known is not None and st.session_state.get("bring_named") != (number, named):
        st.session_state["bring_named"] = (number, named)
        st.session_state["bring_base"] = known
    model = base_model("bring_base")
    if named:
        st.caption(f"The adapter says that it was trained on {plain(named, 120)}.")
    if model in PUBLISHED:
        st.caption("The bundled model was packed into four bits, so answers may differ a little from those elsewhere.")
    name = st.text_input("Name", max_chars=120, key=f"bring_name_{number}", placeholder="What to call it here")
    if st.button("Bring it", type="primary", icon=":material/download_done:", disabled=not name.strip()):
        with guard(), st.spinner("Checking every matrix against the base model"):
            adapter = store(name, files, model)
            st.session_state["adapters_brought"] = number + 1
            st.toast(f"{plain(adapter.name, 60)} is adapter {adapter.id} now.", icon=":material/check_circle:")
            st.rerun()


def _from_zip(number: int) -> dict[str, bytes]:
    sent = st.file_uploader(
        "Zip archive", type=["zip"], key=f"bring_zip_{number}", max_upload_size=MAX_UNPACKED // 1_000_000
    )
    found: dict[str, bytes] = {}
    if sent is not None:
        with guard():
            found = files_in_zip(sent.getvalue(), PurePosixPath(sent.name).name)
    return found


def _from_folder(number: int) -> dict[str, bytes]:
    sent = st.file_uploader(
        "Folder",
        type=["safetensors", "json"],
        accept_multiple_files="directory",
        key=f"bring_folder_{number}",
        max_upload_size=MAX_UNPACKED // 1_000_000,
    )
    return {file.name: file.getvalue() for file in sent}

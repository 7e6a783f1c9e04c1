"""A new index: documents in, how they are to be cut, a look at the chunks, and the job that builds it."""

from __future__ import annotations

import streamlit as st

from core.documents.index import create_index
from core.jobs.background import in_background
from core.ladder import submit_index
from pages.widgets.cutting_form import cutting_fields, preview
from pages.widgets.errors import guard
from pages.widgets.reading import read_documents
from pages.widgets.words import many


@st.fragment
def add_documents() -> None:
    """The whole way from files to an index that is being built. A fragment: the page below is not drawn meanwhile."""
    with guard():
        # After each build the form starts anew.
        key = f"add_{st.session_state.get('indexes_made', 0)}"
        documents = read_documents(key).documents
        if not documents:
            return
        name = st.text_input("Name of the index", placeholder="Handbook", max_chars=120, key=f"{key}_name")
        cutting = cutting_fields(key)
        if st.toggle(
            "Preview the chunks",
            key=f"{key}_preview",
            help="How the documents would be cut. Nothing is stored by looking.",
        ):
            with guard():
                preview(documents, cutting, key)
        if st.button("Build the index", type="primary", icon=":material/construction:", key="build_index"):
            index = create_index(
                name.strip() or "Documents",
                documents,
                embedder=cutting.embedder,
                chunk_tokens=cutting.chunk,
                overlap_tokens=cutting.overlap,
            )
            submit_index(index.id, index.name, in_background)
            st.query_params["index"] = str(index.id)
            st.session_state.pop(f"{key}_read", None)
            st.session_state["indexes_made"] = st.session_state.get("indexes_made", 0) + 1
            st.rerun()
        st.caption(f"{many(len(documents), 'document')} will be cut and embedded in the background, with progress.")

"""Data: examples and documents in, with everything that is wrong with them said before anything is stored."""

from __future__ import annotations

import streamlit as st

from pages.widgets.documents import documents_tab
from pages.widgets.errors import guard
from pages.widgets.examples import examples_tab

st.title("Data")
st.caption("Examples teach and test; documents are what rungs with retrieval look things up in.")

examples, documents = st.tabs(["Examples", "Documents"], key="tab", on_change="rerun", bind="query-params")
if examples.open:
    with examples, guard():
        examples_tab()
if documents.open:
    with documents, guard():
        documents_tab()

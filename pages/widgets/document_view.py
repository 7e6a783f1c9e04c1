"""A document's text in a window over the page, with what was found in it marked."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.documents.listing import document
from core.store.tables import Document
from pages.widgets.errors import guard, plain
from pages.widgets.marking import Span, highlight
from pages.widgets.words import many

# About two printed pages, which a browser draws at once.
WINDOW = 6000
# What is seen above a passage: enough to know where one is.
LEAD = 800


@st.dialog("In the document", width="large", icon=":material/description:")
def show_document(document_id: int, spans: Sequence[Span] = (), passage: str = "", where: str = "") -> None:
    """The text around the first of `spans`, with ways to read on. `passage` is the text that they were measured in.

    A document that has changed since is searched for the passage; when it is not there any more, that is said.
    """
    with guard():
        found = document(document_id)
        st.markdown(f"**{plain(found.title)}**")
        st.caption(" · ".join(part for part in (plain(found.name), where, _size(found)) if part))
        spans = _placed(found.text, spans, passage)
        _window(found, spans)


def _size(found: Document) -> str:
    pages = f"{many(len(found.pages), 'page')}, " if found.pages else ""
    return f"{pages}{len(found.text):,} characters"


def _placed(text: str, spans: Sequence[Span], passage: str) -> list[Span]:
    if not spans or not passage:
        return list(spans)
    start = spans[0].start
    if text[start : start + len(passage)] == passage:
        return list(spans)
    moved = text.find(passage)
    if moved < 0:
        st.warning("The document has changed since, and this passage is not in it any more.")
        return []
    return [Span(span.start + moved - start, span.end + moved - start, span.colour) for span in spans]


def _window(found: Document, spans: Sequence[Span]) -> None:
    text = found.text
    first = spans[0].start if spans else 0
    key = f"window_{found.id}_{first}"
    start = min(int(st.session_state.get(key, max(0, first - LEAD))), max(0, len(text) - 1))
    end = min(len(text), start + WINDOW)
    inside = [Span(span.start - start, span.end - start, span.colour) for span in spans]
    with st.container(border=True):
        st.markdown(highlight(text[start:end], inside))
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Earlier", icon=":material/arrow_upward:", disabled=start == 0, key=f"{key}_up"):
            _go(key, max(0, start - WINDOW))
        if st.button("Later", icon=":material/arrow_downward:", disabled=end == len(text), key=f"{key}_down"):
            _go(key, end)
        st.download_button(
            "Download the text",
            text,
            "document.md" if found.name.endswith(".md") else "document.txt",
            "text/plain",
            icon=":material/download:",
            on_click="ignore",
            key=f"{key}_text",
        )
        st.caption(f"Characters {start + 1:,} to {end:,} of {len(text):,}")


def _go(key: str, start: int) -> None:
    st.session_state[key] = start
    st.rerun(scope="fragment")

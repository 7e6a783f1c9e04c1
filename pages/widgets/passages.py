"""Passages on screen: where each stands, why it was found, and what of it supports an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.documents.citations import Citation, cite
from pages.widgets.document_view import show_document
from pages.widgets.errors import plain
from pages.widgets.marking import PASSAGE, SUPPORT, Span, highlight
from pages.widgets.words import many

Passage = Mapping[str, Any]


def place_of(passage: Passage) -> str:
    """Section and page, for a line of Markdown; empty if the document has neither."""
    section, page = passage.get("section"), passage.get("page")
    return " · ".join(([plain(section)] if section else []) + ([f"page {page}"] if page else []))


def draw_passage(
    passage: Passage, number: int, key: str, citations: Sequence[Citation] = (), note: str = "", border: bool = True
) -> None:
    """One passage with its place and its text, `citations` marked in it, and the way into its document.

    `note` is said below its place. `key` makes its button unique on the page.
    """
    with st.container(border=border):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{number}. {plain(passage['title'])}**", width="stretch")
            # Early comparisons did not note the place.
            if passage.get("document_id") and st.button(
                "Show in the document", icon=":material/find_in_page:", key=f"{key}_open", type="tertiary"
            ):
                _open(passage, citations)
        st.caption(" · ".join(part for part in (plain(passage["source"]), place_of(passage)) if part))
        if citations:
            st.markdown(highlight(passage["text"], [Span(c.start, c.end, SUPPORT) for c in citations]))
        else:
            st.text(passage["text"])
        if note:
            st.caption(note)


def _open(passage: Passage, citations: Sequence[Citation]) -> None:
    start = int(passage["start"])
    spans = [Span(start, int(passage["end"]), PASSAGE)]
    spans += [Span(start + c.start, start + c.end, SUPPORT) for c in citations]
    show_document(int(passage["document_id"]), spans, passage["text"], place_of(passage))


def draw_citations(answer: str, passages: Sequence[Passage], key: str) -> None:
    """Which passages an answer rests on, in a line; and all of them behind a fold, the supporting words marked."""
    cited = cite(answer, passages)
    by_passage = {i: [c for c in cited if c.hit_index == i] for i in dict.fromkeys(c.hit_index for c in cited)}
    if cited:
        listed = ", ".join(_named(i, passages[i]) for i in by_passage)
        share = min(1.0, sum(c.share for c in cited))
        st.caption(
            f":green[:material/format_quote:] {share:.0%} of the answer is in passage {listed}",
            help="Looked up word by word, or nearly. It shows where to check, and proves nothing by itself.",
        )
    else:
        st.caption(":material/format_quote: No passage says this in these words.")
    with st.expander(many(len(passages), "passage"), icon=":material/description:", key=f"{key}_passages"):
        for i in [*by_passage, *(i for i in range(len(passages)) if i not in by_passage)]:
            draw_passage(passages[i], i + 1, f"{key}_{i}", by_passage.get(i, ()), border=False)


def _named(i: int, passage: Passage) -> str:
    place = place_of(passage)
    return f"{i + 1} ({plain(passage['title'], 60)}{f', {place}' if place else ''})"

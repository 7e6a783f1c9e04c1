"""Asking an index: what a rung with retrieval would be given, why each passage was found, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.documents.listing import Facets, facets
from core.documents.retrieval import Hit, Mode, Where, search
from core.store.lists import IndexSummary
from pages.widgets.errors import guard
from pages.widgets.passages import draw_passage
from pages.widgets.words import many

WAYS: dict[str, tuple[str, Mode | None]] = {
    "As set": ("as the index is set", None),
    "Both": ("by meaning and words", "hybrid"),
    "Meaning": ("by meaning", "dense"),
    "Words": ("by words", "sparse"),
}
SCORES = {
    "hybrid": "The score fuses the ranks of both lists: 1.00 is first by meaning and by words.",
    "dense": "The score is the cosine similarity of question and passage: 1.00 says the same, 0 is unrelated.",
    "sparse": "The score is BM25: it adds up the question's words that the passage has, rare ones counting more. It "
    "has no upper end and can be compared within this list only.",
    "reranked": "The score is the reranker's own measure: higher answers the question better.",
}
ANYWHERE = "Everywhere"


@dataclass(frozen=True)
class Asked:
    """A question as it was asked, and what was found."""

    question: str
    scored: str
    narrowed: bool
    hits: list[Hit]


def ask_index(summary: IndexSummary) -> None:
    index = summary.index
    if not summary.chunks:
        st.info("As soon as the first documents are embedded, they can be asked.", title="Nothing to ask yet")
        return
    kept = f"asked_{index.id}"
    with st.form("ask_index", border=False):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            question = st.text_input(
                "Question",
                placeholder="What a user would ask",
                key="question",
                bind="query-params",
                max_chars=2000,
            )
            k = st.number_input("Passages", 1, 50, 5, key="index_k", width=130, persist_state="session")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            way = st.segmented_control(
                "Find by",
                list(WAYS),
                default="As set",
                required=True,
                key="index_way",
                help="Meaning compares vectors, words compares terms (BM25), both fuses the two lists. The retrieval "
                "lab tells which finds most here.",
            )
            reranked = bool(index.reranker) and st.checkbox(
                "Rerank", True, key="index_rerank", help="A cross-encoder reads the best passages again: slower, surer."
            )
        with st.expander("Look only in some documents", icon=":material/filter_alt:"):
            where = _where(_facets(index.id, summary.documents, summary.chunks))
        asked = st.form_submit_button("Find passages", icon=":material/search:", type="primary")
    if asked and question and question.strip():
        st.session_state.pop(kept, None)
        mode = WAYS[str(way)][1]
        with guard(), st.spinner("Looking; the first question loads the embedder, a few seconds"):
            hits = search(index.id, [question], int(k), mode=mode, where=where, reranker=None if reranked else "")[0]
            scored = "reranked" if reranked else mode or index.mode
            st.session_state[kept] = Asked(question, scored, not where.everywhere, hits)
    found: Asked | None = st.session_state.get(kept)
    if found is None:
        st.caption("Shows what a rung with retrieval would be given with this question.")
        return
    _draw(found)


def _draw(found: Asked) -> None:
    if not found.hits:
        st.info(
            "Look in more documents." if found.narrowed else "Ask in other words.",
            title="Nothing was found",
        )
        return
    st.caption(f"{many(len(found.hits), 'passage')} found. {SCORES[found.scored]}")
    for number, hit in enumerate(found.hits, start=1):
        note = f"Score {hit.score:.2f}. {hit.why}"
        draw_passage(hit.as_dict(), number, f"hit_{hit.chunk_id}", note=note)


@st.cache_data(max_entries=20, show_spinner=False, ttl=600)
def _facets(index_id: int, documents: int, chunks: int) -> Facets:
    """The counts are asked for so that a changed index is looked at again."""
    return facets(index_id)


def _where(found: Facets) -> Where:
    with st.grid(2, min_column_width=240):
        sources = st.multiselect("Documents", found.names, key="index_sources", placeholder="All")
        folder = st.selectbox("Folder", [ANYWHERE, *found.folders], key="index_folder", disabled=not found.folders)
    meta: dict[str, str] = {}
    if found.meta:
        st.caption("What the documents say of themselves")
        meta = _meta(found.meta)
    prefix = "" if folder == ANYWHERE else str(folder)
    return Where(tuple(sources), prefix, meta)


def _meta(fields: Mapping[str, list[str]]) -> dict[str, str]:
    chosen: dict[str, Any] = {}
    with st.grid(3, min_column_width=180):
        for name, values in fields.items():
            chosen[name] = st.selectbox(name, values, None, key=f"index_meta_{name}", placeholder="Any")
    return {name: str(value) for name, value in chosen.items() if value is not None}

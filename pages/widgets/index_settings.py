"""Settings of an index: how it is searched, how it is cut and embedded, and its end."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from core.documents.index import change_settings, delete_index
from core.documents.languages import default_dense_weight
from core.documents.reranking import rerank
from core.documents.retrieval import Mode
from core.evaluate.lab import adopt
from core.evaluate.lab.rankings import present
from core.jobs import queue
from core.jobs.background import in_background
from core.ladder import submit_index
from core.store.lists import IndexSummary
from core.store.tables import Index
from pages.widgets.cutting_form import Cutting, cutting_fields
from pages.widgets.errors import guard
from pages.widgets.progress import confirmed
from pages.widgets.words import many

MODES: dict[Mode, str] = {
    "hybrid": "Both lists, fused by rank. Finds names and numbers as well as other wordings: the best start.",
    "dense": "By meaning: the embedder's vectors. Finds other wordings; misses rare names and numbers.",
    "sparse": "By words: BM25. Finds exact terms in any language; misses other wordings.",
}


def index_settings(summary: IndexSummary) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("#### How it is searched")
        with guard():
            _search(summary.index)
    with right:
        st.markdown("#### How it is cut and embedded")
        with guard():
            _build(summary)
    _end(summary)


def _search(index: Index) -> None:
    st.caption("Holds at once for every question: here, in comparisons to come, and on the command line.")
    mode = st.radio(
        "Find by",
        list(MODES),
        [*MODES].index(present(index).mode),
        format_func=lambda m: {"hybrid": "Meaning and words", "dense": "Meaning", "sparse": "Words"}[m],
        captions=list(MODES.values()),
        key=f"settings_mode_{index.id}_{index.mode}",
    )
    usual = default_dense_weight(index.embedder, index.language)
    weight = st.slider(
        "Share of meaning, %",
        0,
        100,
        round(100 * index.dense_weight),
        5,
        key=f"settings_weight_{index.id}_{index.dense_weight}",
        disabled=mode != "hybrid",
        help=f"How much the list by meaning counts beside the list by words. {usual:.0%} is what experiments suggest "
        "for this embedder and language; the retrieval lab measures it on your questions.",
    )
    reranker = st.text_input(
        "Reranker, optional",
        index.reranker,
        key=f"settings_reranker_{index.id}_{index.reranker}",
        placeholder="cross-encoder/ms-marco-MiniLM-L6-v2, or a local folder",
        help="A cross-encoder that reads question and passage together and orders the best ones anew. None is bundled: "
        "one given by its Hugging Face id is downloaded now.",
    )
    wanted = replace(present(index), mode=mode, dense_weight=weight / 100, reranker=(reranker or "").strip())
    if st.button("Save", icon=":material/check:", type="primary", disabled=wanted == present(index), key="save_search"):
        if wanted.reranker and wanted.reranker != index.reranker:
            with st.spinner("Opening the reranker"):
                rerank(wanted.reranker, "question", ["passage"])
        adopt(index.id, wanted)
        st.session_state["index_outcome"] = "Saved. Every search of this index follows it from now on."
        st.rerun()


def _build(summary: IndexSummary) -> None:
    index = summary.index
    now = Cutting(index.embedder, index.chunk_tokens, index.overlap_tokens)
    st.caption(f"Other settings cut and embed {many(summary.documents, 'document')} anew.")
    wanted = cutting_fields(f"settings_{index.id}_{index.embedder}", now)
    with st.container(horizontal=True):
        if st.button("Rebuild with these", icon=":material/construction:", disabled=wanted == now, key="save_cutting"):
            change_settings(
                index.id, embedder=wanted.embedder, chunk_tokens=wanted.chunk, overlap_tokens=wanted.overlap
            )
            _start(
                index, "The documents are being cut and embedded anew. Until then only those that are done are found."
            )
        if st.button(
            "Check and repair",
            icon=":material/build:",
            key="repair_index",
            help="Looks whether every passage has its vector and its words, and makes what is missing. What is in "
            "order is left alone.",
        ):
            _start(index, "The index is being checked.")


def _start(index: Index, outcome: str) -> None:
    if not any(job.status in queue.ACTIVE and job.spec.get("index_id") == index.id for job in queue.jobs("index")):
        submit_index(index.id, index.name, in_background)
    st.session_state["index_outcome"] = outcome
    st.rerun()


def _end(summary: IndexSummary) -> None:
    index_id = summary.index.id
    st.divider()
    if confirmed("Delete this index", "The index, its documents and its vectors go.", f"index_delete_{index_id}"):
        with guard(), st.spinner("Deleting"):
            if any(job.status in queue.ACTIVE and job.spec.get("index_id") == index_id for job in queue.jobs("index")):
                st.warning("Its job is still at work: stop it first, on the Jobs page.")
            else:
                delete_index(index_id)
                st.rerun()

"""The Documents half of the Data page: add documents, choose an index, and use it from every side."""

from __future__ import annotations

import streamlit as st

from core.documents.languages import NAMES, language_advice
from core.jobs import queue
from core.jobs.background import in_background
from core.ladder import submit_index
from core.store.lists import IndexSummary, indexes
from core.store.tables import Index, Job
from pages.widgets.add_documents import add_documents
from pages.widgets.ask import ask_index
from pages.widgets.choose import choose
from pages.widgets.errors import guard, plain
from pages.widgets.index_documents import index_documents
from pages.widgets.index_settings import index_settings
from pages.widgets.progress import controls, live, progress_bar, trouble
from pages.widgets.retrieval_lab import retrieval_lab
from pages.widgets.words import ago, many

PARTS = ("Ask", "Documents", "Retrieval lab", "Settings")
MODES = {"dense": "by meaning", "sparse": "by words", "hybrid": "by meaning and words"}


def documents_tab() -> None:
    listed = indexes()
    # Another key is another expander, closed again after a build.
    key = f"add_{bool(listed)}_{st.session_state.get('indexes_made', 0)}"
    with st.expander("New index", icon=":material/upload:", expanded=not listed, key=key):
        add_documents()
    if not listed:
        st.info(
            "Add documents above. Rungs with retrieval look things up in them; all others do without.",
            title="No documents yet",
        )
        return
    index_id = choose("index", "Index", {s.index.id: f"{s.index.name} (number {s.index.id})" for s in listed})
    summary = next(s for s in listed if s.index.id == index_id)
    if done := st.session_state.pop("index_outcome", None):
        st.success(plain(done), icon=":material/check:")
    _figures(summary)
    _state(summary)
    part = st.segmented_control(
        "What to do with it",
        PARTS,
        default="Ask",
        required=True,
        key="part",
        bind="query-params",
        label_visibility="collapsed",
    )
    with guard():
        if part == "Documents":
            index_documents(summary)
        elif part == "Retrieval lab":
            retrieval_lab(summary)
        elif part == "Settings":
            index_settings(summary)
        else:
            ask_index(summary)


def _figures(summary: IndexSummary) -> None:
    index = summary.index
    with st.grid(4, min_column_width=150):
        st.metric("Documents", f"{summary.documents:,}", border=True)
        st.metric("Chunks", f"{summary.chunks:,}", border=True)
        st.metric("Chunk size", f"{index.chunk_tokens} tokens", border=True)
        st.metric("Overlap", f"{index.overlap_tokens} tokens", border=True)
    language = f" · mostly {NAMES.get(index.language, index.language)}" if index.language else ""
    st.caption(
        f"Embedder {plain(index.embedder)}{language} · searched {how_searched(index)} · made {ago(index.created_at)}"
    )
    if advice := language_advice(index):
        st.warning(
            f"{plain(advice)} Choose one under Settings; the documents are then embedded anew.",
            title="This embedder does not know the language",
        )


def how_searched(index: Index) -> str:
    """ "by meaning and words (40% meaning), then reranked"."""
    share = f" ({index.dense_weight:.0%} meaning)" if index.mode == "hybrid" else ""
    return f"{MODES[index.mode]}{share}{', then reranked' if index.reranker else ''}"


def _state(summary: IndexSummary) -> None:
    """What its job does or did, and a way on for documents that wait."""
    index_id = summary.index.id
    newest = _jobs(index_id)[:1]
    if not summary.ready or any(job.status in queue.ACTIVE for job in newest):
        live(_building, lambda: _jobs(index_id)[:1])
        if not any(job.status in (*queue.ACTIVE, *queue.RESUMABLE) for job in newest):
            st.warning(f"{many(summary.waiting, 'document')} not embedded yet.")
            if st.button("Go on building", icon=":material/construction:", key="rebuild"):
                with guard():
                    submit_index(index_id, summary.index.name, in_background)
                    st.rerun()
    elif newest and newest[0].status == "done" and newest[0].result.get("reused"):
        kept, total = newest[0].result["reused"], newest[0].result["chunks"]
        st.caption(
            f"Last update {ago(newest[0].finished_at)}: {many(kept, 'chunk')} kept as they were, "
            f"{many(total - kept, 'chunk')} embedded."
        )


def _jobs(index_id: int) -> list[Job]:
    """Newest first."""
    return [job for job in queue.jobs("index") if job.spec.get("index_id") == index_id]


def _building(jobs: list[Job]) -> None:
    for job in jobs:
        progress_bar(job, "Building")
        trouble(job)
        if job.status != "done":
            controls(job, "index")

"""The Documents half of the Data page."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import streamlit as st

from core.documents.chunking import DEFAULT_CHUNK_TOKENS, DEFAULT_OVERLAP_TOKENS
from core.documents.index import create_index, delete_index, preview_chunks, search
from core.documents.reading import SUFFIXES, SourceDocument, read_documents
from core.jobs import queue
from core.jobs.background import in_background
from core.ladder import submit_index
from core.models.catalogue import catalogue
from core.store.lists import IndexSummary, documents_of, indexes
from core.store.tables import Job
from pages.widgets.choose import choose
from pages.widgets.errors import guard, plain
from pages.widgets.progress import confirmed, controls, live, progress_bar, trouble
from pages.widgets.tables import table
from pages.widgets.words import ago, many

EMBEDDERS = {entry.id: entry for entry in catalogue("embedding")}


def documents_tab() -> None:
    listed = indexes()
    with st.expander("Add documents", icon=":material/upload:", expanded=not listed, key=f"add_{bool(listed)}"):
        _add_form()
    if not listed:
        st.info(
            "Add Markdown or text files above. Rungs with retrieval need them; all others do without.",
            title="No documents yet",
        )
        return
    index_id = choose("index", "Index", {s.index.id: f"{s.index.name} (number {s.index.id})" for s in listed})
    summary = next(s for s in listed if s.index.id == index_id)
    _summary(summary)
    if summary.chunks:
        _ask(summary)
    _documents(summary)


def _add_form() -> None:
    files = st.file_uploader(
        "Documents (Markdown or text)",
        type=[suffix.removeprefix(".") for suffix in SUFFIXES],
        accept_multiple_files=True,
        key="document_files",
    )
    left, right = st.columns(2)
    name = left.text_input("Name of the index", placeholder="Handbook", max_chars=120, key="index_name")
    embedder = right.selectbox(
        "Embedder",
        list(EMBEDDERS),
        format_func=lambda i: EMBEDDERS[i].title if i in EMBEDDERS else i,
        key="index_embedder",
        help="Turns passages and questions into vectors. One that is not bundled is downloaded by the job.",
    )
    most = EMBEDDERS[embedder].context if embedder in EMBEDDERS else 8192
    left, right = st.columns(2)
    chunk = left.number_input(
        "Chunk size, tokens",
        16,
        most,
        min(DEFAULT_CHUNK_TOKENS, most),
        step=16,
        key="index_chunk",
        help="Passages are at most this long. Shorter ones are found more exactly, longer ones carry more context.",
    )
    overlap = right.number_input(
        "Overlap, tokens",
        0,
        int(chunk) // 2,
        min(DEFAULT_OVERLAP_TOKENS, int(chunk) // 2),
        step=8,
        key="index_overlap",
        help="Text that two neighbouring chunks share, so that no sentence is torn apart for good.",
    )
    with st.container(horizontal=True):
        build = st.button(
            "Build the index",
            type="primary",
            icon=":material/construction:",
            disabled=not files,
            key="build_index",
        )
        preview = st.button(
            "Preview the chunks",
            icon=":material/preview:",
            disabled=not files,
            key="preview_chunks",
            help="Cuts the first document as the job would. The first preview loads the tokenizer.",
        )
    if not files or not (build or preview):
        return
    with guard():
        documents = read_documents((PurePosixPath(file.name).name, file.getvalue()) for file in files)
        if preview:
            _preview(documents[0], str(embedder), int(chunk), int(overlap))
        else:
            index = create_index(
                name or "Documents",
                documents,
                embedder=str(embedder),
                chunk_tokens=int(chunk),
                overlap_tokens=int(overlap),
            )
            submit_index(index.id, index.name, in_background)
            st.query_params["index"] = str(index.id)
            st.rerun()


def _preview(document: SourceDocument, embedder: str, chunk: int, overlap: int) -> None:
    with st.spinner("Cutting the first document"):
        chunks = preview_chunks(document.text, document.name, embedder, chunk, overlap)
    st.text(f"{document.name}: {many(len(chunks), 'chunk')}")
    for piece in chunks[:8]:
        with st.container(border=True):
            st.caption(f"Chunk {piece.position + 1}, {len(piece.text):,} characters")
            st.text(piece.text)
    if len(chunks) > 8:
        st.caption(f"And {len(chunks) - 8} more.")


def _summary(summary: IndexSummary) -> None:
    index = summary.index
    with st.grid(4, min_column_width=150):
        st.metric("Documents", f"{summary.documents:,}", border=True)
        st.metric("Chunks", f"{summary.chunks:,}", border=True)
        st.metric("Chunk size", f"{index.chunk_tokens} tokens", border=True)
        st.metric("Overlap", f"{index.overlap_tokens} tokens", border=True)
    st.caption(f"Embedder {plain(index.embedder)} · made {ago(index.created_at)}")
    if not summary.ready:
        live(_building, lambda: _jobs(index.id))
        if not any(job.status in (*queue.ACTIVE, *queue.RESUMABLE) for job in _jobs(index.id)):
            st.warning(f"{many(summary.waiting, 'document')} not embedded yet.")
            if st.button("Go on building", icon=":material/construction:", key="rebuild"):
                with guard():
                    submit_index(index.id, index.name, in_background)
                    st.rerun()
    if confirmed("Delete", "The index, its documents and its vectors go.", f"index_delete_{index.id}"):
        with guard(), st.spinner("Deleting"):
            if any(job.status in queue.ACTIVE for job in _jobs(index.id)):
                st.warning("Its job is still at work: stop it first, on the Jobs page.")
            else:
                delete_index(index.id)
                st.rerun()


def _jobs(index_id: int) -> list[Job]:
    return [job for job in queue.jobs("index") if job.spec.get("index_id") == index_id]


def _building(jobs: list[Job]) -> None:
    for job in jobs[:1]:
        progress_bar(job, "Building")
        trouble(job)
        if job.status != "done":
            controls(job, "index")


def _ask(summary: IndexSummary) -> None:
    st.subheader("Ask the index")
    with st.form("ask_index", border=False):
        left, right = st.columns([4, 1], vertical_alignment="bottom")
        question = left.text_input("Question", placeholder="What a user would ask", key="index_question")
        k = right.number_input("Passages", 1, 20, 3, key="index_k")
        asked = st.form_submit_button("Find passages", icon=":material/search:")
    if not asked or not question:
        st.caption("Shows what a rung with retrieval would find. The first question loads the embedder, a few seconds.")
        return
    with guard(), st.spinner("Looking"):
        hits: list[Any] = list(search(summary.index.id, [question], int(k))[0])
        if not hits:
            st.caption("Nothing was found.")
        for rank, hit in enumerate(hits, start=1):
            with st.container(border=True):
                st.markdown(f"**{rank}. {plain(hit.title)}**")
                st.caption(f"{plain(hit.source)} · cosine similarity {hit.score:.3f} (1 is the same, 0 unrelated)")
                st.text(hit.text)


def _documents(summary: IndexSummary) -> None:
    with st.expander(f"{many(summary.documents, 'document')} in this index", icon=":material/description:"):
        rows = [
            {"document": d.name, "title": d.title, "characters": len(d.text), "chunks": d.chunk_count or None}
            for d in documents_of(summary.index.id)
        ]
        table(rows, "Documents of this index")

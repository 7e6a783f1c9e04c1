"""The documents of an index: search them, read them, add, replace and remove them."""

from __future__ import annotations

from collections.abc import Sequence, Set

import streamlit as st

from core.documents.index import Changes, remove_documents, sync_documents
from core.documents.listing import Listed, listed, would_change
from core.documents.reading import SourceDocument
from core.jobs import queue
from core.jobs.background import in_background
from core.ladder import submit_index
from core.store.lists import IndexSummary
from pages.widgets.document_view import show_document
from pages.widgets.errors import guard
from pages.widgets.progress import confirmed
from pages.widgets.reading import read_documents
from pages.widgets.tables import table
from pages.widgets.words import many

PER_PAGE = 25
# Names shown before they are only counted.
NAMED = 5


def index_documents(summary: IndexSummary) -> None:
    index_id = summary.index.id
    with st.expander("Add or replace files", icon=":material/upload:", key=f"update_{index_id}_{_updates()}"):
        _update(summary)
    search = st.text_input(
        "Search names and titles", type="search", key="documents_search", icon=":material/search:", width=420
    )
    count, _ = listed(index_id, search, limit=0)
    if not count:
        st.caption("No document fits." if search else "This index holds no documents any more.")
        return
    pages = -(-count // PER_PAGE)
    page = st.pagination(pages, key=f"documents_page_{index_id}_{search}") if pages > 1 else 1
    _, rows = listed(index_id, search, PER_PAGE, PER_PAGE * (page - 1))
    chosen = _list(rows, f"documents_{index_id}_{search}_{page}")
    st.caption(f"{many(count, 'document')}{' fit' if search else ''}. Choose rows to read or remove them.")
    _act(summary, chosen)


def _list(rows: Sequence[Listed], key: str) -> list[Listed]:
    shown = [
        {
            "document": row.name,
            "title": row.title,
            "kind": row.kind,
            "pages": row.pages or None,
            "characters": row.characters,
            "chunks": row.chunks or None,
            "state": row.warning or ("ready" if row.chunks else "waits to be embedded"),
        }
        for row in rows
    ]
    picked = table(
        shown,
        "Documents of this index",
        key=key,
        on_select="rerun",
        selection_mode="multi-row",
        placeholder="–",
        height=38 + 35 * len(rows),
    )
    return [rows[i] for i in picked.selection.rows if i < len(rows)]


def _act(summary: IndexSummary, chosen: Sequence[Listed]) -> None:
    with st.container(horizontal=True):
        if st.button(
            "Read", icon=":material/description:", disabled=len(chosen) != 1, key="read_document", help="One at a time."
        ):
            show_document(chosen[0].id)
        if chosen and confirmed(
            f"Remove {many(len(chosen), 'document')}",
            "They go from the index with their passages. Your own files stay.",
            f"remove_documents_{summary.index.id}",
        ):
            with guard(), st.spinner("Removing"):
                remove_documents(summary.index.id, [row.name for row in chosen])
                _done(f"{many(len(chosen), 'document')} removed.")


def _updates() -> int:
    return int(st.session_state.get("index_updates", 0))


@st.fragment
def _update(summary: IndexSummary) -> None:
    with guard():
        st.caption(
            "A file of a name that is there already replaces it, and only the passages that differ are embedded again."
        )
        key = f"update_{summary.index.id}_{_updates()}"
        read = read_documents(key)
        if not read.documents:
            return
        # A file that could not be read is still there: what it said before is better than nothing.
        kept = {refused.name for refused in read.refused}
        changes = would_change(summary.index.id, read.documents, kept)
        also_remove = bool(changes.removed) and st.checkbox(
            "Remove the document that is not among these"
            if len(changes.removed) == 1
            else f"Remove the {len(changes.removed):,} documents that are not among these",
            key=f"{key}_remove",
            help="So that the index holds what the folder holds. "
            + (f"They are: {_names(changes.removed)}" if changes.removed else ""),
        )
        st.text(_in_words(changes, also_remove))
        if st.button(
            "Update the index",
            type="primary",
            icon=":material/sync:",
            key=f"{key}_now",
            disabled=not (changes.added or changes.changed or also_remove),
        ):
            _sync(summary, read.documents, also_remove, kept)


def _sync(summary: IndexSummary, documents: Sequence[SourceDocument], also_remove: bool, kept: Set[str]) -> None:
    index_id = summary.index.id
    with st.spinner("Storing the documents"):
        changes = sync_documents(index_id, documents, remove_missing=also_remove, keep=kept)
    waiting = any(job.status == "queued" and job.spec.get("index_id") == index_id for job in queue.jobs("index"))
    if (changes.added or changes.changed) and not waiting:
        submit_index(index_id, summary.index.name, in_background)
    _done(_in_words(changes, also_remove))


def _done(outcome: str) -> None:
    st.session_state["index_outcome"] = outcome
    st.session_state["index_updates"] = _updates() + 1
    st.rerun()


def _in_words(changes: Changes, also_remove: bool) -> str:
    """ "2 new: a.md, b.md. 1 changed: c.md. 40 as they were." """
    parts = [("new", changes.added), ("changed", changes.changed)]
    parts += [("removed", changes.removed)] if also_remove else []
    said = [f"{len(names):,} {word}: {_names(names)}." for word, names in parts if names]
    if changes.unchanged:
        said.append(f"{len(changes.unchanged):,} as they were.")
    return " ".join(said)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

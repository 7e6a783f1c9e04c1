"""The rows of a data set: filtered, searched, a page at a time, each of them to be opened."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from core.data.dataset import SPLITS
from core.data.rows import REMOVED, Filter, is_frozen, labels_of, page, put_back
from core.store.tables import Dataset
from core.store.tables import Example as ExampleRow
from pages.widgets.errors import guard, plain
from pages.widgets.example_view import copy_button
from pages.widgets.opening import opening_table
from pages.widgets.turns import text_of
from pages.widgets.words import many

PER_PAGE = 10
# A page further back takes the database seconds to find; a search is quicker for everyone.
MOST_PAGES = 10_000
SHOWN_CHARACTERS = 600
Only = Literal["all", "noted", "edited"]
ONLY: dict[Only, str] = {"all": "All", "noted": "With a note", "edited": "Edited"}
TITLES = {"train": "Train", "validation": "Validation", "test": "Test", REMOVED: "Removed"}


def rows_view(dataset: Dataset) -> None:
    chosen = _filter(dataset)
    _undo(dataset)
    number = _page_number(dataset, chosen)
    found = page(dataset.id, chosen, (number - 1) * PER_PAGE, PER_PAGE)
    if not found.rows:
        _nothing(chosen)
        return
    count = many(found.count, "example") if found.exact else f"more than {found.count:,} examples"
    st.caption(f"{count[:1].upper()}{count[1:]}. Open one to read it whole, to mend it or to write a note beside it.")
    _table(found.rows)
    pages = min(MOST_PAGES, -(-found.count // PER_PAGE) + (not found.exact))
    if pages > 1:
        st.pagination(pages, key=_page_key(dataset, chosen))
    why = is_frozen(dataset.id)
    if why:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f":material/lock: Kept as it is: {plain(why)} A copy can be edited.", width="stretch")
            copy_button(dataset, "rows_copy")


def _filter(dataset: Dataset) -> Filter:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = st.segmented_control(
            "Part",
            [*SPLITS, REMOVED],
            default="train",
            required=True,
            format_func=TITLES.__getitem__,
            key="rows_split",
            bind="query-params",
        )
        search = st.text_input(
            "Search",
            type="search",
            placeholder="In questions, answers and labels",
            key="rows_search",
            persist_state="session",
            width=280,
        )
        label = _label(dataset)
        only: Only = st.selectbox(
            "Show", list(ONLY), format_func=ONLY.__getitem__, key="rows_only", persist_state="session", width=150
        )
    return Filter(split or "train", (search or "").strip(), label, only)


def _label(dataset: Dataset) -> str | None:
    labels = _labels(dataset.id, dataset.hash)
    if not labels:
        return None
    counts = dict(labels)
    return st.selectbox(
        "Label",
        list(counts),
        None,
        format_func=lambda name: f"{name} ({counts[name]:,})" if name in counts else name,
        key=f"rows_label_{dataset.id}",
        placeholder="Every label",
        width=220,
    )


@st.cache_data(max_entries=20, show_spinner=False)
def _labels(dataset_id: int, content: str) -> list[tuple[str, int]]:
    """`content` is the hash: edits change labels."""
    return labels_of(dataset_id)


def _page_key(dataset: Dataset, chosen: Filter) -> str:
    """Another filter begins on its first page."""
    return f"rows_page_{dataset.id}_{chosen.split}_{chosen.search}_{chosen.label}_{chosen.only}"


def _page_number(dataset: Dataset, chosen: Filter) -> int:
    return int(st.session_state.get(_page_key(dataset, chosen), 1))


def _nothing(chosen: Filter) -> None:
    if chosen == Filter(REMOVED):
        st.caption("Nothing has been removed.")
    elif chosen == Filter(chosen.split):
        st.caption(f"The {chosen.split} part is empty.")
    else:
        st.caption("No example fits. Take back a filter or look for fewer letters.")


def _table(rows: list[ExampleRow]) -> None:
    marked = [_marks(row) for row in rows]
    opening_table(
        [
            {
                "number": row.position + 1,
                "question": _asked(row)[-SHOWN_CHARACTERS:],
                "expected answer": row.reference[:SHOWN_CHARACTERS],
                **({"label": row.label} if any(other.label for other in rows) else {}),
                **({"marks": marks} if any(marked) else {}),
            }
            for row, marks in zip(rows, marked, strict=True)
        ],
        [row.id for row in rows],
        "Examples that fit the filter",
        "rows_open",
        {
            "number": st.column_config.NumberColumn(width=70, format="localized", help="Its place within this part."),
            "question": st.column_config.TextColumn(width="large"),
            "expected answer": st.column_config.TextColumn(width="medium"),
        },
    )


def _asked(row: ExampleRow) -> str:
    """The prompt without instructions, which are the same in row after row; who speaks only where several do."""
    turns = [turn for turn in row.messages if turn["role"] not in ("system", "developer")] or row.messages
    if len(turns) == 1:
        return text_of(turns[0])
    return "\n".join(f"{turn['role']}: {text_of(turn)}" for turn in turns)


def _marks(row: ExampleRow) -> str:
    edited = row.original is not None and any(
        row.original[name] != value
        for name, value in (("messages", row.messages), ("reference", row.reference), ("label", row.label))
    )
    return ", ".join([*(["edited"] if edited else []), *([f"note: {row.note}"[:80]] if row.note else [])])


def _undo(dataset: Dataset) -> None:
    """After a removal, the way back, until something else is removed or it is put back."""
    of_dataset, removed = st.session_state.get("removed_row", (0, 0))
    if of_dataset != dataset.id:
        return
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(":material/delete: An example was removed.", width="stretch")
        if st.button("Undo", icon=":material/undo:", key="undo_remove"):
            with guard():
                put_back([removed])
                st.session_state.pop("removed_row")
                st.rerun()
        if st.button("Keep it out", key="keep_out", type="tertiary"):
            st.session_state.pop("removed_row")
            st.rerun()

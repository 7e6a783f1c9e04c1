"""One example, whole: read it, mend it, write a note beside it, take it out or give it its imported texts back."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.data.dataset import datasets
from core.data.rows import REMOVED, annotate, copy_dataset, edit, is_frozen, put_back, remove, restore, row_of
from core.errors import UserError
from core.store.tables import Dataset
from core.store.tables import Example as ExampleRow
from pages.widgets.errors import guard, plain
from pages.widgets.opening import PARAM
from pages.widgets.turns import heading, show_text, show_tools, show_turns

# A hash that stands for the prompt itself says nothing to a person.
HASHED_GROUP = 16


def _close() -> None:
    st.query_params.pop(PARAM, None)


def opened_example(dataset: Dataset) -> None:
    """The example that the address names, in a drawer beside the page."""
    wanted = st.query_params.get(PARAM, "")
    if not wanted:
        return
    row = row_of(int(wanted)) if wanted.isdigit() else None
    if row is None or row.dataset_id != dataset.id:
        _close()
        return
    st.dialog(f"Example {row.position + 1:,} of {row.split}", width="medium", position="right", on_dismiss=_close)(
        lambda: _inside(row.id, dataset)
    )()


def _inside(example_id: int, dataset: Dataset) -> None:
    with guard():
        row = row_of(example_id)
        if row is None:
            raise UserError("This example does not exist any more.", "Close it and look at the list again.")
        _facts(row, dataset)
        frozen = is_frozen(dataset.id)
        if st.session_state.get(_editing(row)) and not frozen:
            _edit_form(row)
        else:
            show_turns(row.messages, row.reference)
            show_tools(row.tools)
            if row.context:
                with st.expander("The passage it rests on", icon=":material/article:"):
                    show_text(row.context)
            _original(row)
            _note(row)
        if frozen:
            _frozen(dataset, frozen)
        else:
            _actions(row)


def _editing(row: ExampleRow) -> str:
    return f"editing_{row.id}"


def _begin_editing(row: ExampleRow) -> None:
    st.session_state[_editing(row)] = True


def _stop_editing(row: ExampleRow) -> None:
    """The fields are filled from the record again when they are next shown."""
    st.session_state.pop(_editing(row), None)
    fields = (f"turn_{row.id}_", f"answer_{row.id}", f"label_{row.id}", f"note_{row.id}")
    for key in [key for key in st.session_state if str(key).startswith(fields)]:
        del st.session_state[key]


def _facts(row: ExampleRow, dataset: Dataset) -> None:
    with st.container(horizontal=True):
        st.badge("Removed" if row.split == REMOVED else row.split.capitalize(), color="gray")
        if row.label:
            st.badge(plain(f"Label: {row.label}", 80), color="blue")
        if row.original is not None and _texts_changed(row):
            st.badge("Edited", icon=":material/edit:", color="orange")
        if row.note:
            st.badge("Noted", icon=":material/sticky_note_2:", color="violet")
    group = "its own" if len(row.group) == HASHED_GROUP and row.group.isalnum() else row.group
    st.caption(plain(f"Imported from {dataset.source} · group: {group}", 300))


def _texts_changed(row: ExampleRow) -> bool:
    now = {"messages": row.messages, "reference": row.reference, "label": row.label}
    return row.original is not None and any(row.original[name] != value for name, value in now.items())


def _original(row: ExampleRow) -> None:
    if row.original is None or not _texts_changed(row):
        return
    with st.expander("As it was imported", icon=":material/history:"):
        if row.original["label"] != row.label:
            st.caption(plain(f"Label: {row.original['label'] or 'none'}", 200))
        show_turns(row.original["messages"], row.original["reference"])


def _edit_form(row: ExampleRow) -> None:
    with st.form(f"edit_{row.id}", border=False):
        turns = [
            st.text_area(
                heading(turn["role"]), turn["content"], key=f"turn_{row.id}_{number}", height=_height(turn["content"])
            )
            for number, turn in enumerate(row.messages)
        ]
        reference = st.text_area(
            ":material/flag: Expected answer", row.reference, key=f"answer_{row.id}", height=_height(row.reference)
        )
        label = st.text_input("Label", row.label or "", key=f"label_{row.id}", placeholder="None", max_chars=200)
        note = _note_field(row)
        with st.container(horizontal=True):
            save = st.form_submit_button("Save", type="primary", icon=":material/save:", key=f"save_{row.id}")
            st.form_submit_button("Cancel", key=f"cancel_{row.id}", on_click=_stop_editing, args=(row,))
    if save:

        def keep() -> None:
            edit(row.id, turns=turns, reference=reference, label=label or None)
            annotate(row.id, note)

        _do(keep, "Saved.", row)


def _height(text: str) -> int:
    """Pixels that show most of a text without scrolling."""
    return max(80, min(360, 40 + 24 * (text.count("\n") + len(text) // 80 + 1)))


def _note(row: ExampleRow) -> None:
    with st.form(f"note_form_{row.id}", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        note = _note_field(row)
        if st.form_submit_button("Save note", icon=":material/sticky_note_2:", key=f"save_note_{row.id}"):
            _do(lambda: annotate(row.id, note), "The note is saved.", row)


def _note_field(row: ExampleRow) -> str:
    return st.text_input(
        "Note",
        row.note,
        key=f"note_{row.id}",
        placeholder="What you want to remember about this example",
        help="Not part of the data: nothing learns from it.",
        width="stretch",
    )


def _actions(row: ExampleRow) -> None:
    with st.container(horizontal=True):
        if row.split == REMOVED:
            if st.button("Put back", icon=":material/undo:", type="primary", key=f"put_back_{row.id}"):
                _do(lambda: put_back([row.id]), "Put back.", row)
            return
        if not st.session_state.get(_editing(row)):
            st.button("Edit", icon=":material/edit:", key=f"edit_button_{row.id}", on_click=_begin_editing, args=(row,))
        if _texts_changed(row) and st.button(
            "Restore the imported text", icon=":material/history:", key=f"restore_{row.id}"
        ):
            _do(lambda: restore(row.id), "As imported again.", row)
        if st.button(
            "Remove", icon=":material/delete:", key=f"remove_{row.id}", help="Out of the data set; it can be put back."
        ):
            with guard():
                remove([row.id])
                st.session_state["removed_row"] = (row.dataset_id, row.id)
                _close()
                st.rerun()


def _do(what: Callable[[], None], said: str, row: ExampleRow) -> None:
    """Change the row, then draw the whole page, whose figures may have changed; the drawer stays open."""
    with guard():
        what()
        _stop_editing(row)
        st.toast(said, icon=":material/check:")
        st.rerun()


def _frozen(dataset: Dataset, why: str) -> None:
    st.info(
        f"{plain(why[:1].upper() + why[1:])} So that its results stay true, it cannot be changed; notes can be "
        "written. A copy can be edited.",
        title="This data set is kept as it is",
    )
    copy_button(dataset)


def copy_button(dataset: Dataset, key: str = "copy") -> None:
    """Makes an editable copy and opens it."""
    if st.button("Copy to edit", icon=":material/content_copy:", type="primary", key=f"{key}_{dataset.id}"):
        with guard():
            with st.spinner("Copying"):
                names = {other.name for other in datasets()}
                copy = copy_dataset(dataset.id, _free_name(dataset.name, names))
            _close()
            st.query_params["dataset"] = str(copy.id)
            st.session_state["import_outcome"] = ("copy", copy.id)
            st.rerun()


def _free_name(name: str, taken: set[str]) -> str:
    """ "Tickets (copy)", "Tickets (copy 2)" ..."""
    number, proposed = 1, f"{name} (copy)"
    while proposed in taken:
        number += 1
        proposed = f"{name} (copy {number})"
    return proposed

"""What was exported of an adapter: how it answers beside the live one, its size, download and deletion."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.publish import exports
from core.publish.exports import Export
from core.store.tables import Adapter
from pages.widgets.diff import blanks_kept, word_diff
from pages.widgets.errors import guard, plain
from pages.widgets.progress import confirmed
from pages.widgets.sources import size_in_words
from pages.widgets.words import ago, many

BADGES = {
    "same": ("Answers the same", ":material/check_circle:", "green"),
    "equivalent": ("Scores the same", ":material/check_circle:", "green"),
    "different": ("Answers differ", ":material/warning:", "orange"),
    None: ("Not checked", ":material/help:", "gray"),
}


def title_of(made: Export) -> str:
    """ "Merged model" or "GGUF, q8_0", with the number that tells two apart."""
    what = "Merged model" if made.what == "merged" else f"GGUF, {made.notes['kind']}"
    return f"{what} (export {made.id})"


def draw(adapter: Adapter) -> None:
    """Nothing when there is none."""
    for made in exports.exports(adapter.id):
        with st.container(border=True, key=f"export_{made.id}"), guard():
            _one(made)


def _one(made: Export) -> None:
    label, icon, colour = BADGES[made.check["verdict"] if made.check else None]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(title_of(made))}**", width="content")
        st.badge(label, icon=icon, color=colour)  # type: ignore[arg-type]
        st.caption(f"{size_in_words(made.bytes)} · {ago(made.made_at)}", width="content")
    st.markdown(plain(made.check["text"] if made.check else made.notes.get("unchecked", "")))
    if made.check and made.check["differences"]:
        _differences(made.check, made.id)
    with st.container(horizontal=True):
        if not exports.too_large(made):
            st.download_button(
                f"Download ({size_in_words(made.bytes)})",
                lambda: exports.zipped(made),
                f"{made.what}-{made.id}.zip",
                "application/zip",
                icon=":material/download:",
                on_click="ignore",
                key=f"download_export_{made.id}",
            )
        if confirmed("Delete", "Its files go. It can be made again from the adapter.", f"delete_export_{made.id}"):
            exports.delete(made.id)
            st.rerun()
    with st.expander("Where it lies on this machine", icon=":material/folder:"):
        st.code(str(made.folder), language=None, wrap_lines=True)


def _differences(check: dict[str, Any], number: int) -> None:
    shown, all_of_them = len(check["differences"]), check["of"] - check["same"]
    title = f"{many(all_of_them, 'answer')} that differ{'s' if all_of_them == 1 else ''}"
    first = f", the first {shown} of them" if shown < all_of_them else ""
    with st.expander(f"{title}{first}", icon=":material/difference:", key=f"export_differences_{number}"):
        for difference in check["differences"]:
            with st.container(border=True):
                st.caption("Asked")
                st.text(difference["prompt"])
                live, exported = st.columns(2)
                live.caption("The live adapter")
                live.markdown(plain(blanks_kept(difference["live"])))
                exported.caption("This export, with what differs marked")
                exported.markdown(word_diff(difference["live"], difference["exported"]))

"""Tables whose rows open the example they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from pages.widgets.tables import table

PARAM = "example"
# Pixels; from this height on a table breaks its lines.
ROW = 64
LOW_ROW = 36


def open_example(example_id: int) -> None:
    """Have the example shown, from whatever part of the page; the address then names it."""
    st.query_params[PARAM] = str(example_id)


def opening_table(
    rows: Sequence[Mapping[str, Any]], ids: Sequence[int], alt: str, key: str, columns: Mapping[str, Any] | None = None
) -> None:
    """`rows`, each with a button that opens the example of the same place in `ids`. Without `columns` they are low."""
    pixels = ROW if columns else LOW_ROW

    def clicked() -> None:
        open_example(ids[st.session_state[key]["row"]])

    table(
        [{"": ":material/open_in_full: Open", **row} for row in rows],
        alt,
        row_height=pixels,
        height=38 + pixels * min(10, len(rows)),
        column_config={
            "": st.column_config.ButtonColumn(type="tertiary", width=90, pinned=True, on_click=clicked, key=key),
            **(columns or {}),
        },
    )

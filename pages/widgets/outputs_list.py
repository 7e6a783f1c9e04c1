"""The answers as a list: one line per example with every rung's score, opened by a click."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st
from sqlalchemy import select

from core.evaluate.browsing import Looking, Rows, values_of
from core.evaluate.reading import Scores
from core.models.prompt import last_question
from core.store.database import session
from core.store.tables import Example
from pages.widgets.opening import open_example
from pages.widgets.outputs_filter import ANSWERS
from pages.widgets.tables import table
from pages.widgets.words import many

PER_PAGE = 25
SHOWN_CHARACTERS = 300
ROW_PIXELS = 36


def answers_list(scores: Scores, rows: Rows, looking: Looking) -> None:
    pages = -(-len(rows) // PER_PAGE)
    # Another filter begins on its first page.
    key = f"outputs_page_{scores.experiment_id}_{hash(looking)}"
    number = min(int(st.session_state.get(key, 1)), pages)
    shown = rows[(number - 1) * PER_PAGE : number * PER_PAGE]
    st.caption(f"{many(len(rows), 'example')}. Scores in %; open one to read its answers.")
    ids = [int(example) for example in scores.examples[shown]]

    def clicked() -> None:
        open_example(ids[st.session_state["outputs_open"]["row"]])
        st.session_state["layout"] = ANSWERS

    table(
        _lines(scores, shown, ids, looking),
        "Examples with the score of each rung",
        row_height=ROW_PIXELS,
        height=ROW_PIXELS * (len(shown) + 1) + 2,
        column_config={
            "": st.column_config.ButtonColumn(
                type="tertiary", width=90, pinned=True, on_click=clicked, key="outputs_open"
            ),
            "number": st.column_config.NumberColumn(width=60, format="localized", help="Its place in the test."),
            "question": st.column_config.TextColumn(width=210),
            "reference": st.column_config.TextColumn(width=180),
            **{
                rung: st.column_config.ProgressColumn(width=90, format="%.0f %%", min_value=0, max_value=100)
                for rung in scores.rungs
            },
        },
    )
    if pages > 1:
        st.pagination(pages, key=key)


def _lines(scores: Scores, shown: Rows, ids: list[int], looking: Looking) -> list[dict[str, Any]]:
    values = values_of(scores, looking.metric)
    with session(read_only=True) as db:
        texts = {
            found.id: found
            for found in db.execute(
                select(Example.id, Example.messages, Example.reference, Example.note).where(Example.id.in_(ids))
            )
        }
    noted = any(found.note for found in texts.values())
    return [
        {
            "": ":material/open_in_full: Open",
            "number": int(scores.positions[row]) + 1,
            "question": last_question(texts[example].messages)[-SHOWN_CHARACTERS:],
            "reference": texts[example].reference[:SHOWN_CHARACTERS],
            **{rung: _percent(values[rung][row]) for rung in scores.rungs},
            **({"note": texts[example].note[:SHOWN_CHARACTERS]} if noted else {}),
        }
        for row, example in zip(shown, ids, strict=True)
    ]


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else 100 * float(value)

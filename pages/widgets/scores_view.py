"""Every metric of every rung, and what became of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages.widgets.tables import metric_rows, score_rows, table


def scores(report: Mapping[str, Any]) -> None:
    st.subheader("Scores", anchor=False)
    st.caption("In percent with 95% intervals. One metric decides; the others are looked at beside it.")
    table(metric_rows(report), "Score of each rung in every metric, with intervals")
    st.subheader("Answers", anchor=False)
    rows = score_rows(report)
    formats = {"score, %": "%.1f", "US$ spent": "$%.4f", "US$ per 1,000": "$%.3f"} | dict.fromkeys(
        ("tokens in", "tokens out"), "localized"
    )
    columns = {name: st.column_config.NumberColumn(format=form) for name, form in formats.items() if name in rows[0]}
    table(rows, "What became of the answers of each rung, and what they took", column_config=columns)
    st.caption(
        "Failed and empty answers score 0 and stay in the denominator; cut short are those that reached the longest "
        "allowed length. Time per answer is the median, of a local rung on this machine working in batches. Set-up is "
        "the building of the index and the training."
    )

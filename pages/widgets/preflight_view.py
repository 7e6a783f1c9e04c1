"""A pre-flight check as a list that fills as it goes: what was looked at, what was found, what it measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from pages.widgets.errors import plain
from pages.widgets.marking import SUPPORT, Span, highlight
from pages.widgets.words import duration

STATES = {
    "waiting": ":gray[:material/radio_button_unchecked:]",
    "running": ":blue[:material/pending:]",
    "ok": ":green[:material/check_circle:]",
    "warn": ":orange[:material/warning:]",
    "fail": ":red[:material/cancel:]",
}


def draw(notes: Mapping[str, Any]) -> None:
    """The checklist in a job's notes, the example it rendered, and the figures it measured."""
    checks: Sequence[Mapping[str, Any]] = notes.get("preflight", ())
    for check in checks:
        detail = f"  \n:small[{plain(check['detail'])}]" if check.get("detail") else ""
        st.markdown(f"{STATES[check['state']]} {plain(check['title'])}{detail}")
    _measured(notes.get("measured"))
    for check in checks:
        if check["name"] == "supervision" and check.get("data", {}).get("rendered"):
            _rendered(check["data"])


def _measured(found: Mapping[str, float] | None) -> None:
    if not found:
        return
    with st.grid(3, min_column_width=110):
        st.metric(
            "Memory at the peak",
            f"{found['memory_gb']:.1f} GB",
            help="Measured in one forward and backward pass on the longest batch.",
        )
        st.metric("One step", duration_of_step(found["seconds_per_step"]))
        st.metric("The whole run", duration(found["expected_s"]), help="Reckoned from the step that was measured.")


def duration_of_step(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else duration(seconds)


def _rendered(data: Mapping[str, Any]) -> None:
    """One example as the model reads it. Every character is data: escaped, then marked."""
    spans, text = [], ""
    for piece, learned in data["rendered"]:
        if learned:
            spans.append(Span(len(text), len(text) + len(piece), SUPPORT))
        text += piece
    with st.expander("One example as the model reads it", icon=":material/visibility:"):
        st.caption(
            f"Marked and bold: what is learned, {data['learned_tokens']:,} of {data['tokens']:,} tokens in "
            f"{data['examples']:,} examples. The rest is only read."
        )
        with st.container(border=True, height="content" if len(text) < 1_500 else 320):
            st.markdown(highlight(text, spans))

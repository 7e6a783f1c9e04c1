"""The parts of a comparison, one at a time, so that nothing is worked out that nobody looks at.

Which one is shown stands in the address: `?part=Over+time`.
"""

from __future__ import annotations

import streamlit as st

VERDICT, SIDE_BY_SIDE, BLIND_VOTE = "Verdict", "Side by side", "Blind vote"
OVER_TIME, TAKE_AWAY = "Over time", "Take away"
PARTS = [VERDICT, SIDE_BY_SIDE, BLIND_VOTE, OVER_TIME, TAKE_AWAY]


def switch(key: str, options: list[str], label: str) -> str:
    """A switch whose state is `?key=OPTION`, the first one unless something else was asked for."""
    if wanted := st.session_state.pop(f"{key}_next", None):
        st.session_state[key] = wanted
    chosen = st.segmented_control(
        label, options, default=options[0], required=True, key=key, bind="query-params", label_visibility="collapsed"
    )
    return chosen or options[0]


def shown_part() -> str:
    """Draws the switch between the parts; returns the one to draw below it."""
    return switch("part", PARTS, "Part of the comparison")


def go_to(part: str) -> None:
    """From the next run on."""
    st.session_state["part_next"] = part

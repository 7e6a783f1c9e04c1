"""An example as a conversation: every text as it is, never as markup."""

from __future__ import annotations

import json
from collections.abc import Sequence

import streamlit as st

from core.models.prompt import Message, calls_text

ROLES = {
    "system": ("System", ":material/settings:"),
    "developer": ("Developer", ":material/settings:"),
    "user": ("User", ":material/person:"),
    "assistant": ("Assistant", ":material/smart_toy:"),
    "tool": ("Tool", ":material/build:"),
}
# Longer texts are cut on screen; the export has them whole.
MOST_CHARACTERS = 20_000


def heading(role: str) -> str:
    """A role in Markdown: its icon and its name."""
    title, icon = ROLES.get(role, (role, ":material/chat:"))
    return f"{icon} {title}"


def text_of(turn: Message) -> str:
    """What a turn says, its tool calls included."""
    calls = calls_text(turn.get("tool_calls") or ())
    return "\n".join(part for part in (turn["content"], calls) if part)


def show_text(text: str) -> None:
    """A text letter by letter, cut where nobody reads on."""
    cut = len(text) - MOST_CHARACTERS
    st.text(text[:MOST_CHARACTERS])
    if cut > 0:
        st.caption(f"{cut:,} more characters are not shown.")


def show_turns(messages: Sequence[Message], reference: str) -> None:
    """The turns of a prompt, then the answer in a frame of its own."""
    for turn in messages:
        st.caption(heading(turn["role"]))
        show_text(text_of(turn))
    with st.container(border=True):
        st.caption(":material/flag: Expected answer")
        show_text(reference)


def show_tools(tools: Sequence[dict[str, object]] | None) -> None:
    """The functions that the answer may call, folded."""
    if tools:
        with st.expander(f"Tools the answer may call: {len(tools)}", icon=":material/build:"):
            st.code(json.dumps(tools, ensure_ascii=False, indent=2), language="json", wrap_lines=True, height=320)

"""The keys that open the server: made here, shown once, taken back."""

from __future__ import annotations

import time

import streamlit as st

from core.api import keys
from core.store.tables import ApiKey
from pages.widgets.errors import guard, plain
from pages.widgets.progress import confirmed
from pages.widgets.words import ago

DAY_S = 86_400
STATES = {
    "active": ("Valid", ":material/check:", "green"),
    "expired": ("Expired", ":material/timer_off:", "orange"),
    "revoked": ("Revoked", ":material/block:", "gray"),
}
# A key that was just made, until the person says that it was copied. It is nowhere else.
_MADE = "serve_key_made"


def draw() -> None:
    _shown_once()
    listed = keys.keys()
    if listed:
        for key in listed:
            _row(key)
    else:
        st.caption("None so far, so every program on this machine may ask, and nobody from another one.")
    with st.expander("Make a key", icon=":material/key:", expanded=not listed and _MADE not in st.session_state):
        if not listed:
            st.caption(
                "Once there is a key, every program needs one, also on this machine. The app itself goes on without."
            )
        _form()


def _shown_once() -> None:
    made = st.session_state.get(_MADE)
    if made is None:
        return
    name, key = made
    with st.container(border=True):
        st.markdown(f":material/key: The key **{plain(name)}**. Copy it now: it is shown this once, and kept nowhere.")
        st.code(key, language=None, wrap_lines=True)
        st.button(
            "I have copied it",
            icon=":material/check:",
            key="serve_key_copied",
            on_click=lambda: st.session_state.pop(_MADE, None),
        )


def _row(key: ApiKey) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"api_key_{key.id}"):
        state = keys.state(key)
        label, icon, colour = STATES[state]
        st.badge(label, icon=icon, color=colour)  # type: ignore[arg-type]
        st.markdown(f"**{plain(key.name)}** {plain(key.beginning)}…", width="content")
        st.caption(plain(" · ".join(_facts(key))), width="stretch")
        if state == "revoked":
            if st.button("Remove", icon=":material/delete:", key=f"key_forget_{key.id}", help=_forgetting()):
                with guard():
                    keys.forget(key.id)
                    st.rerun()
        elif confirmed(
            "Revoke",
            "Programs that use this key are refused from then on. It cannot be made valid again.",
            f"key_revoke_{key.id}",
            yes="Revoke for good",
        ):
            with guard():
                keys.revoke(key.id)
                st.rerun()


def _forgetting() -> str:
    return "Takes it off this list. Once none is left, programs on this machine need no key again."


def _facts(key: ApiKey) -> list[str]:
    facts = [f"made {ago(key.created_at)}"]
    facts.append(f"last used {ago(key.last_used_at)}" if key.last_used_at is not None else "never used")
    if key.expires_at is not None:
        word = "expired" if keys.state(key) == "expired" else "expires"
        facts.append(f"{word} {time.strftime('%Y-%m-%d', time.localtime(key.expires_at))}")
    if key.requests_per_minute is not None:
        facts.append(f"{key.requests_per_minute:,} requests a minute")
    if key.tokens_per_minute is not None:
        facts.append(f"{key.tokens_per_minute:,} tokens a minute")
    return facts


def _form() -> None:
    with st.form("serve_key_form", border=False, clear_on_submit=True, enter_to_submit=True):
        with st.grid(4, min_column_width=180):
            name = st.text_input("Name", placeholder="Whose it is, or what for", max_chars=100, key="key_name")
            days = st.number_input("Days until it expires", 1, 3650, value=None, placeholder="Never", key="key_days")
            requests = st.number_input(
                "Requests a minute at most", 1, value=None, placeholder="No limit", key="key_requests"
            )
            tokens = st.number_input(
                "Tokens a minute at most",
                1,
                value=None,
                placeholder="No limit",
                key="key_tokens",
                help="Of prompts and answers together.",
            )
        if st.form_submit_button("Make the key", type="primary", icon=":material/key:"):
            with guard():
                made, key = keys.create(
                    name,
                    expires_at=None if days is None else time.time() + days * DAY_S,
                    requests_per_minute=requests,
                    tokens_per_minute=tokens,
                )
                st.session_state[_MADE] = (made.name, key)
                st.rerun()

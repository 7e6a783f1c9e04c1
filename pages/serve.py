"""Serve: talk to a base model or an adapter, and take the adapter with you."""

from __future__ import annotations

import streamlit as st

from core.models.package import client_code, vllm_command
from core.settings import get_settings
from core.store.lists import adapters
from core.store.tables import Adapter
from pages.widgets import beside
from pages.widgets.adapter_view import download_buttons
from pages.widgets.choose import choose
from pages.widgets.errors import guard, plain
from pages.widgets.forms import base_model
from pages.widgets.talk import (
    ask,
    choose_lookup,
    choose_sampling,
    choose_system,
    draw_turn,
    effort,
    looked_up,
    ready,
)
from pages.widgets.trash import recently_deleted

BASE = 0

st.title("Serve")
listed = {adapter.id: adapter for adapter in adapters()}
if not listed:
    st.info(
        "Talk to the base model here. Train an adapter, and it can be talked to and taken away as well.",
        title="No adapter yet",
    )
    if st.button("Train one", icon=":material/model_training:"):
        st.switch_page("pages/train.py")
names = {i: f"{a.name} (adapter {i}, {a.method})" for i, a in listed.items()} | {BASE: "The base model alone"}
chosen = choose("adapter", "What to talk to", names) or BASE
adapter = listed.get(chosen)


def talk(model: str) -> None:
    """A conversation that is remembered for each adapter; the model is loaded when the button is pressed."""
    with st.expander("Settings", icon=":material/tune:"):
        with st.grid(2, min_column_width=200):
            sampling = choose_sampling()
            index_id, count = choose_lookup()
        opening = choose_system(adapter, f"serve_system_{chosen}")
    history = st.session_state.setdefault(f"talk_{chosen}_{model}", [])
    if not ready(model):
        return
    for number, turn in enumerate(history):
        with st.chat_message(turn["role"]):
            draw_turn(turn, f"turn_{chosen}_{number}")
    question = st.chat_input("Ask something", submit_mode="disable", key="serve_question")
    if not question:
        if history and st.button("New conversation", icon=":material/restart_alt:", key="serve_new"):
            history.clear()
            st.rerun()
        return
    with st.chat_message("user"):
        st.text(str(question))
    said = [{"role": turn["role"], "content": turn["content"]} for turn in history]
    asked = [*opening, *said, {"role": "user", "content": str(question)}]
    with st.chat_message("assistant"), guard(), st.spinner("Thinking"):
        folder = get_settings().home / adapter.path if adapter is not None else None
        passages = looked_up(index_id, count, str(question))
        completion = ask(model, folder, asked, sampling, passages)
        answer = {"role": "assistant", "content": completion.text, "passages": passages}
        draw_turn(answer, f"turn_{chosen}_{len(history) + 1}")
        st.caption(effort(completion))
        history += [asked[-1], answer]


def take_away(adapter: Adapter) -> None:
    with st.container(horizontal=True):
        download_buttons(adapter)
    st.caption("Weights as safetensors, configuration and the model card; unpack it beside your code.")
    python, server = st.tabs(["Python", "vLLM server"])
    python.code(client_code(adapter.base_model, method=adapter.method), language="python", wrap_lines=True)
    server.code(
        vllm_command(adapter.base_model, int(adapter.recipe.get("rank", 16)), method=adapter.method),
        language="bash",
        wrap_lines=True,
    )
    server.caption("On a machine with a GPU. The adapter then answers as the model my-adapter.")


if adapter is None:
    model = base_model("serve_model")
else:
    model = adapter.base_model
    with st.container(horizontal=True, vertical_alignment="center"):
        loss = "" if adapter.eval_loss is None else f" · evaluation loss {adapter.eval_loss:.3f} nats per answer token"
        st.caption(plain(f"{adapter.method} on {model}{loss}"), width="content")
        if adapter.job_id is not None:
            st.page_link(
                "pages/train.py",
                label="Its training",
                icon=":material/model_training:",
                query_params={"run": str(adapter.job_id)},
            )
if adapter is None:
    with guard():
        talk(model)
else:
    conversation, both, download = st.tabs(
        ["Talk", "Beside its base", "Take it with you"], key="serve_tabs", on_change="rerun"
    )
    if conversation.open:
        with conversation, guard():
            talk(model)
    if both.open:
        with both:
            beside.draw(adapter)
    with download, guard():
        take_away(adapter)
recently_deleted("serve")
st.caption("This version has no OpenAI-compatible server of its own yet: use the code or the vLLM command.")

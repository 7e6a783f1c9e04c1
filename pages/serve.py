"""Serve: talk to a base model or an adapter, and take the adapter with you."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.data.dataset import examples_of
from core.models.generation import Sampling
from core.models.package import adapter_zip, client_code, vllm_command
from core.settings import get_settings
from core.store.lists import adapters
from core.store.tables import Adapter
from pages.widgets.choose import choose
from pages.widgets.errors import guard, plain
from pages.widgets.forms import base_model
from pages.widgets.talk import ask, choose_lookup, draw_turn, looked_up, open_model

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
    settings = st.expander("Settings", icon=":material/tune:")
    with settings, st.grid(2, min_column_width=200):
        longest = st.number_input(
            "Longest answer, tokens", 8, 4096, 128, 8, key="serve_tokens", persist_state="session"
        )
        warmth = st.slider(
            "Temperature",
            0.0,
            1.5,
            0.0,
            0.1,
            key="serve_temperature",
            persist_state="session",
            help="0 always gives the likeliest answer; Compare measures at 0.",
        )
        index_id, count = choose_lookup()
    system = settings.text_area(
        "System message",
        value=system_turn(adapter),
        key=f"serve_system_{chosen}",
        help="An adapter answers best under the instruction it was trained with.",
    )
    history = st.session_state.setdefault(f"talk_{chosen}_{model}", [])
    if st.session_state.get("serve_loaded") != model:
        st.caption("Loading takes a few seconds for the bundled model, and its size in memory.")
        if st.button("Load the model", type="primary", icon=":material/memory:", key="load_model"):
            with guard(), st.spinner("Loading the model"):
                open_model(model)
                st.session_state["serve_loaded"] = model
                st.rerun()
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
    opening = [{"role": "system", "content": system}] if system.strip() else []
    said = [{"role": turn["role"], "content": turn["content"]} for turn in history]
    asked = [*opening, *said, {"role": "user", "content": str(question)}]
    with st.chat_message("assistant"), guard(), st.spinner("Thinking"):
        folder: Path | None = get_settings().home / adapter.path if adapter is not None else None
        passages = looked_up(index_id, count, str(question))
        completion = ask(model, folder, asked, Sampling(int(longest), float(warmth)), passages)
        answer = {"role": "assistant", "content": completion.text, "passages": passages}
        draw_turn(answer, f"turn_{chosen}_{len(history) + 1}")
        st.caption(
            f"{completion.input_tokens:,} tokens in, {completion.output_tokens:,} out, {completion.latency_s:.1f} s"
            + (" · cut at the longest allowed answer" if completion.finish_reason == "length" else "")
        )
        history += [asked[-1], answer]


def system_turn(adapter: Adapter | None) -> str:
    """The instruction that the adapter's training examples begin with."""
    if adapter is None or adapter.dataset_id is None:
        return ""
    first = next((example for _, example in examples_of(adapter.dataset_id, "train")), None)
    if first is None or first.messages[0]["role"] != "system":
        return ""
    return str(first.messages[0]["content"])


def take_away(adapter: Adapter) -> None:
    st.download_button(
        "Download the adapter (zip)",
        lambda: adapter_zip(adapter),
        f"adapter-{adapter.id}.zip",
        "application/zip",
        icon=":material/download:",
        on_click="ignore",
        key="download_adapter",
    )
    st.caption("Weights as safetensors, configuration and a README; unpack it beside your code.")
    python, server = st.tabs(["Python", "vLLM server"])
    python.code(client_code(adapter.base_model), language="python", wrap_lines=True)
    server.code(
        vllm_command(adapter.base_model, int(adapter.recipe.get("rank", 16))),
        language="bash",
        wrap_lines=True,
    )
    server.caption("On a machine with a GPU. The adapter then answers as the model my-adapter.")


if adapter is None:
    model = base_model("serve_model")
else:
    model = adapter.base_model
    st.caption(
        plain(f"{adapter.method} on {model}")
        + ("" if adapter.eval_loss is None else f" · evaluation loss {adapter.eval_loss:.3f} nats per answer token")
    )
if adapter is None:
    with guard():
        talk(model)
else:
    conversation, download = st.tabs(["Talk", "Take it with you"])
    with conversation, guard():
        talk(model)
    with download, guard():
        take_away(adapter)
st.caption("This version has no OpenAI-compatible server of its own yet: use the code or the vLLM command.")

"""Talking to a model: opened once, asked one question at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from core.data.dataset import examples_of
from core.documents.retrieval import search
from core.errors import UserError
from core.models.generation import Completion, Generator, Request, Sampling
from core.models.open import open_generator
from core.models.prompt import Message, Passage, build_messages
from core.store.lists import indexes
from core.store.tables import Adapter
from pages.widgets.errors import guard
from pages.widgets.passages import draw_citations


@st.cache_resource(max_entries=1, show_spinner=False)
def _opened(model_id: str) -> tuple[Generator, threading.Lock]:
    """One model in memory, shared by all sessions; the lock keeps one from switching another's adapter."""
    return open_generator(model_id), threading.Lock()


def ready(model_id: str) -> bool:
    """Whether the model was loaded at this session's wish; until then, draws the button that does it."""
    if st.session_state.get("serve_loaded") == model_id:
        return True
    st.caption("Loading takes a few seconds for the bundled model, and its size in memory.")
    if st.button("Load the model", type="primary", icon=":material/memory:", key="load_model"):
        with guard(), st.spinner("Loading the model"):
            _opened(model_id)
            st.session_state["serve_loaded"] = model_id
            st.rerun()
    return False


def ask(
    model_id: str,
    adapter: Path | None,
    messages: list[Message],
    sampling: Sampling,
    passages: Sequence[dict[str, Any]] = (),
) -> Completion:
    """The model's next turn, given these passages with the question. Raises UserError when there is none."""
    generator, lock = _opened(model_id)
    prompt = build_messages(messages, (), [Passage(found["title"], found["text"]) for found in passages])
    with lock:
        answered = [pair for batch in generator.answer([Request(prompt, adapter)], sampling) for pair in batch]
    completion = answered[0][1]
    if completion.error is not None:
        raise UserError(completion.error)
    return completion


def choose_sampling() -> Sampling:
    """How the model answers; the same wherever it is talked to. Two widgets, for a grid."""
    longest = st.number_input("Longest answer, tokens", 8, 4096, 128, 8, key="serve_tokens", persist_state="session")
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
    return Sampling(int(longest), float(warmth))


def choose_system(adapter: Adapter | None, key: str) -> list[Message]:
    """The turn that every conversation begins with; none when it is left empty."""
    said = st.text_area(
        "System message",
        value=system_turn(adapter),
        key=key,
        help="An adapter answers best under the instruction it was trained with.",
    )
    return [{"role": "system", "content": said}] if said.strip() else []


def system_turn(adapter: Adapter | None) -> str:
    """The instruction that the adapter's training examples begin with."""
    if adapter is None or adapter.dataset_id is None:
        return ""
    first = next((example for _, example in examples_of(adapter.dataset_id, "train", 1)), None)
    if first is None or first.messages[0]["role"] != "system":
        return ""
    return str(first.messages[0]["content"])


def choose_lookup() -> tuple[int, int]:
    """(index to look each question up in, passages to find); index 0 for none."""
    ready = {s.index.id: f"{s.index.name} (number {s.index.id})" for s in indexes() if s.chunks}
    index_id = st.selectbox(
        "Look things up in",
        [0, *ready],
        format_func=lambda i: ready.get(i, "Nothing: the model answers alone"),
        key="serve_index",
        persist_state="session",
        help="An index of the Data page. Its best passages go to the model with each question, and the answer says "
        "which of them it rests on.",
    )
    count = st.number_input("Passages", 1, 20, 3, key="serve_passages", persist_state="session", disabled=not index_id)
    return int(index_id), int(count)


def looked_up(index_id: int, count: int, question: str) -> list[dict[str, Any]]:
    """The passages for a question; none without an index."""
    return [hit.as_dict() for hit in search(index_id, [question], count)[0]] if index_id else []


def draw_turn(turn: dict[str, Any], key: str) -> None:
    """What someone said; below an answer that was given passages, what of it they say."""
    st.text(turn["content"] or "The answer is empty.")
    if turn.get("passages"):
        draw_citations(turn["content"], turn["passages"], key)


def effort(completion: Completion) -> str:
    """What an answer took, in a line."""
    cut = " · cut at the longest allowed answer" if completion.finish_reason == "length" else ""
    return f"{completion.input_tokens:,} tokens in, {completion.output_tokens:,} out, {completion.latency_s:.1f} s{cut}"

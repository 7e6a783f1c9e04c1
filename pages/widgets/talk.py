"""Talking to models of the running server: one, or two side by side, streamed, with passages looked up or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from core.data.dataset import examples_of
from core.data.example import Example
from core.documents.retrieval import search
from core.models.generation import Sampling
from core.models.prompt import Message, last_question
from core.store.lists import indexes
from core.store.tables import Adapter
from pages.widgets.errors import guard, plain, show_error
from pages.widgets.passages import draw_citations
from pages.widgets.serve_server import access
from pages.widgets.serve_speed import speed
from pages.widgets.serve_stream import Exchange, Found, Side, Spoken, prompts_of

# Often enough that an answer seems to be written before one's eyes; each look draws one question with its answers.
POLL_S = 0.25
SUGGESTED = 3
LABEL_CHARACTERS = 60


def choose_sampling() -> Sampling:
    """How the model answers; the same wherever it is talked to. Three widgets, for a grid."""
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
    likeliest = st.slider(
        "Top-p",
        0.05,
        1.0,
        1.0,
        0.05,
        key="serve_top_p",
        persist_state="session",
        disabled=not warmth,
        help="Words are drawn from the likeliest that make up this share. Without meaning at temperature 0.",
    )
    return Sampling(int(longest), float(warmth), float(likeliest))


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
    """(index to look each question up in, passages to find); index 0 for none. Two widgets, for a grid."""
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


def looked_up(index_id: int, count: int, question: str) -> Found:
    """The passages for a question; none without an index."""
    return [hit.as_dict() for hit in search(index_id, [question], count)[0]] if index_id else []


def converse(
    key: str,
    sides: Sequence[Side],
    opening: Sequence[Message],
    sampling: Sampling,
    lookup: tuple[int, int],
    adapter: Adapter | None = None,
) -> None:
    """The conversation of `key` with these sides. Questions that `adapter` was not trained on are offered."""
    exchanges: list[Exchange] = st.session_state.setdefault(f"talk_{key}", [])
    conversation = st.container()
    suggested = _suggestions(adapter, key)
    question = st.chat_input("Ask both" if len(sides) > 1 else "Ask something", key=f"question_{key}")
    if suggested is not None or question:
        reached = access()
        if exchanges:
            exchanges[-1].stop()
        new = _fresh(suggested) if suggested is not None else Exchange([{"role": "user", "content": str(question)}])
        exchanges.append(new)
        asked = last_question(new.asked)
        new.begin(reached, prompts_of(exchanges, sides, opening), sampling, lambda: looked_up(*lookup, asked))
    busy = bool(exchanges) and not exchanges[-1].over
    with conversation:
        for number, exchange in enumerate(exchanges, 1):
            if busy and exchange is exchanges[-1]:
                _follow(exchange, f"{key}_{number}", sides)
            else:
                _show(exchange, f"{key}_{number}", sides)
        if busy:
            st.button("Stop", icon=":material/stop:", key=f"stop_{key}", on_click=exchanges[-1].stop, shortcut="Esc")
        elif exchanges:
            st.button("New conversation", icon=":material/restart_alt:", key=f"clear_{key}", on_click=exchanges.clear)


def _follow(exchange: Exchange, key: str, sides: Sequence[Side]) -> None:
    """Draw an exchange until it is over. Only this is drawn again and again: drawing takes time from answering."""

    def fragment() -> None:
        over = exchange.over
        _show(exchange, key, sides)
        if over:
            st.rerun()

    st.fragment(fragment, run_every=POLL_S)()


def _fresh(example: Example) -> Exchange:
    """The example's own question. Its instructions give way to those of the settings, as any question's do."""
    turns = [turn for turn in example.messages if turn["role"] not in ("system", "developer")]
    return Exchange(turns, fresh=True, expected=example.reference)


def _suggestions(adapter: Adapter | None, key: str) -> Example | None:
    """Buttons with questions that the adapter was not trained on; the example behind the one just pressed."""
    if adapter is None or adapter.dataset_id is None:
        return None
    examples = [example for _, example in examples_of(adapter.dataset_id, "validation", SUGGESTED)]
    if not examples:
        return None
    st.caption("Questions held back from the training, each asked by itself:")
    pressed = None
    with st.container(horizontal=True):
        for number, example in enumerate(examples):
            label = " ".join(str(example.messages[-1]["content"]).split()) or "An empty question"
            if st.button(plain(label, LABEL_CHARACTERS), key=f"suggestion_{key}_{number}", icon=":material/help:"):
                pressed = example
    return pressed


def _show(exchange: Exchange, key: str, sides: Sequence[Side]) -> None:
    """The question, and below it the answers as far as they are there: data, never read as Markdown or HTML."""
    with st.chat_message("user"):
        st.text(str(exchange.asked[-1]["content"]))
        if exchange.expected:
            st.caption(f"The data's answer: {plain(exchange.expected, 300)}")
    columns: Sequence[Any] = st.columns(len(sides), border=True) if len(sides) > 1 else [st.container()]
    for number, (side, column) in enumerate(zip(sides, columns, strict=True)):
        title = plain(side.name, 60)
        with column, st.chat_message(title, avatar=_tile(side.colour)):
            if len(sides) > 1:
                st.markdown(f"**{title}**")
            _answer(exchange, exchange.answers.get(side.id, Spoken()), side, f"{key}_{number}")
    if exchange.error is not None:
        show_error(exchange.error)


def _answer(exchange: Exchange, spoken: Spoken, side: Side, key: str) -> None:
    over = exchange.over or spoken.seconds is not None
    if spoken.error is not None:
        show_error(spoken.error)
    elif spoken.text or over:
        st.text(spoken.text or ("The answer is empty." if spoken.finish_reason else "Ended before the first word."))
    if not over:
        waits = "Looking things up" if side.looks_up and not exchange.passages else "Thinking"
        st.caption(":shimmer[Writing]" if spoken.text else f":shimmer[{waits}]")
        return
    if spoken.text and side.looks_up and exchange.passages:
        with guard():
            draw_citations(spoken.text, exchange.passages, key)
    elif spoken.text and side.looks_up:
        st.caption("Nothing was found to go with the question: the model answered alone.")
    if spoken.seconds is not None and spoken.error is None:
        st.caption(effort(spoken))


def effort(spoken: Spoken) -> str:
    """What an answer took, in a line."""
    parts = []
    if spoken.output_tokens:
        parts.append(f"{spoken.input_tokens:,} tokens in, {spoken.output_tokens:,} out")
    if spoken.tokens_per_s is not None:
        parts.append(speed(spoken.tokens_per_s))
    if spoken.first_s is not None:
        parts.append(f"first word after {spoken.first_s:.2f} s")
    parts.append(f"{spoken.seconds or 0:.1f} s in all")
    if spoken.finish_reason == "length":
        parts.append("cut at the longest allowed answer")
    elif not spoken.finish_reason:
        parts.append("stopped")
    return " · ".join(parts)


def _tile(colour: str) -> str:
    """A rung's colour as a picture beside what it says."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32">'
        f'<circle cx="16" cy="16" r="10" fill="{colour}"/></svg>'
    )

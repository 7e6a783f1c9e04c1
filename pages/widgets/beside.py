"""An adapter beside its base: one question, two answers, so that what the training changed can be seen."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from core.data.dataset import examples_of
from core.data.example import Example
from core.errors import UserError
from core.models.generation import Completion, Sampling
from core.models.prompt import Message
from core.settings import get_settings
from core.store.tables import Adapter
from pages.widgets.errors import guard, plain, show_error
from pages.widgets.ladder import RUNG_COLOURS
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

log = logging.getLogger("lowest_rung")
# Often enough that an answer seems to appear when it is there.
POLL_S = 0.7
SIDES = ("base", "lora")
SUGGESTED = 3
LABEL_CHARACTERS = 60


@dataclass
class Exchange:
    """One question and both answers to it; an answer is missing until it is there, or when it was stopped or failed."""

    asked: list[Message]
    fresh: bool = False
    """Begins a new conversation: nothing said before is sent along."""
    expected: str = ""
    """The data's own answer, where the question comes from there."""
    passages: list[dict[str, Any]] = field(default_factory=list)
    """Looked up with the question, for both."""
    answers: dict[str, Completion] = field(default_factory=dict)
    error: UserError | None = None
    over: bool = False
    """Whether nothing more is to come."""

    def stop(self) -> None:
        """What is being said at the moment is not listened to any more."""
        self.over = True


def draw(adapter: Adapter) -> None:
    """The conversation, in a part of the page that runs by itself. The models answer in a thread of their own, so
    that the page stays at hand and the first answer is seen while the second is made."""

    def fragment() -> None:
        with guard():
            _converse(adapter)

    st.fragment(fragment)()


def _converse(adapter: Adapter) -> None:
    exchanges: list[Exchange] = st.session_state.setdefault(f"beside_{adapter.id}", [])
    st.caption("One question to both: the base model as it is, and the same model with the adapter.")
    with st.expander("Settings", icon=":material/tune:"):
        with st.grid(2, min_column_width=200):
            sampling = choose_sampling()
            index_id, count = choose_lookup()
        opening = choose_system(adapter, f"beside_system_{adapter.id}")
    if not ready(adapter.base_model):
        return
    conversation = st.container()
    suggested = _suggestions(adapter)
    question = st.chat_input("Ask both", key=f"beside_question_{adapter.id}")
    if suggested is not None or question:
        if exchanges:
            exchanges[-1].stop()
        new = _fresh(suggested) if suggested is not None else Exchange([{"role": "user", "content": str(question)}])
        new.passages = looked_up(index_id, count, str(new.asked[-1]["content"]))
        exchanges.append(new)
        prompts = {side: prompt_of(exchanges, side, opening) for side in SIDES}
        threading.Thread(target=_answer, args=(new, prompts, adapter, sampling), daemon=True).start()
    busy = bool(exchanges) and not exchanges[-1].over
    with conversation:
        for number, exchange in enumerate(exchanges, 1):
            if busy and exchange is exchanges[-1]:
                _follow(exchange, number, adapter)
            else:
                _show(exchange, number, adapter)
    if busy:
        st.button("Stop", icon=":material/stop:", key=f"beside_stop_{adapter.id}", on_click=exchanges[-1].stop)
    elif exchanges:
        key = f"beside_clear_{adapter.id}"
        st.button("Clear the conversation", icon=":material/restart_alt:", key=key, on_click=exchanges.clear)


def _follow(exchange: Exchange, number: int, adapter: Adapter) -> None:
    """Draw an exchange until it is over. Only this is drawn again and again: drawing takes time from answering."""

    def fragment() -> None:
        over = exchange.over
        _show(exchange, number, adapter)
        if over:
            st.rerun()

    st.fragment(fragment, run_every=POLL_S)()


def _fresh(example: Example) -> Exchange:
    """The example's own question. Its instructions give way to those of the settings, as any question's do."""
    turns = [turn for turn in example.messages if turn["role"] not in ("system", "developer")]
    return Exchange(turns, fresh=True, expected=example.reference)


def _suggestions(adapter: Adapter) -> Example | None:
    """Buttons with questions that the adapter was not trained on; the example behind the one just pressed."""
    if adapter.dataset_id is None:
        return None
    examples = [example for _, example in examples_of(adapter.dataset_id, "validation", SUGGESTED)]
    if not examples:
        return None
    st.caption("Questions held back from the training, each asked by itself:")
    pressed = None
    with st.container(horizontal=True):
        for number, example in enumerate(examples):
            label = " ".join(str(example.messages[-1]["content"]).split()) or "An empty question"
            key = f"beside_suggestion_{adapter.id}_{number}"
            if st.button(plain(label, LABEL_CHARACTERS), key=key, icon=":material/help:"):
                pressed = example
    return pressed


def prompt_of(exchanges: Sequence[Exchange], side: str, opening: Sequence[Message]) -> list[Message]:
    """What one side is asked by the last exchange: the conversation from its latest beginning, with its own answers.

    An exchange that lacks an answer is left out for both sides, so that they are asked the same.
    """
    start = max((i for i, exchange in enumerate(exchanges) if exchange.fresh), default=0)
    said: list[Message] = []
    for exchange in exchanges[start:-1]:
        if len(exchange.answers) == len(SIDES):
            said += [*exchange.asked, {"role": "assistant", "content": exchange.answers[side].text}]
    return [*opening, *said, *exchanges[-1].asked]


def _answer(exchange: Exchange, prompts: Mapping[str, list[Message]], adapter: Adapter, sampling: Sampling) -> None:
    """Ask one side after the other; there is one model in memory."""
    folders = {"base": None, "lora": get_settings().home / adapter.path}
    try:
        for side in SIDES:
            completion = ask(adapter.base_model, folders[side], prompts[side], sampling, exchange.passages)
            if exchange.over:
                return
            exchange.answers[side] = completion
    except UserError as error:
        exchange.error = error
    except Exception:
        log.exception("A model did not answer")
        exchange.error = UserError("The model failed to answer.", "The terminal that runs the app has the details.")
    finally:
        exchange.over = True


def _show(exchange: Exchange, number: int, adapter: Adapter) -> None:
    """The question, and below it both answers as far as they are there."""
    with st.chat_message("user"):
        st.text(str(exchange.asked[-1]["content"]))
        if exchange.expected:
            st.caption(f"The data's answer: {plain(exchange.expected, 300)}")
    titles = {"base": "base", "lora": plain(adapter.name, 60)}
    for side, column in zip(SIDES, st.columns(2, border=True), strict=True):
        with column, st.chat_message(titles[side], avatar=_tile(RUNG_COLOURS[side])):
            st.markdown(f"**{titles[side]}**")
            completion = exchange.answers.get(side)
            if completion is not None:
                turn = {"content": completion.text, "passages": exchange.passages}
                draw_turn(turn, f"beside_{adapter.id}_{number}_{side}")
                st.caption(effort(completion))
            else:
                st.caption("No answer." if exchange.over else ":shimmer[Thinking]")
    if exchange.error is not None:
        show_error(exchange.error)


def _tile(colour: str) -> str:
    """A rung's colour as a picture beside what it says."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32">'
        f'<circle cx="16" cy="16" r="10" fill="{colour}"/></svg>'
    )

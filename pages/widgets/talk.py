"""Talking to a model: opened once, asked one question at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import streamlit as st

from core.errors import UserError
from core.models.generation import Completion, Generator, Sampling
from core.models.open import open_generator
from core.models.prompt import Message, build_messages


@st.cache_resource(max_entries=1, show_spinner=False)
def _opened(model_id: str) -> tuple[Generator, threading.Lock]:
    """One model in memory, shared by all sessions; the lock keeps one from switching another's adapter."""
    return open_generator(model_id), threading.Lock()


def open_model(model_id: str) -> None:
    _opened(model_id)


def ask(model_id: str, adapter: Path | None, messages: list[Message], sampling: Sampling) -> Completion:
    """The model's next turn. Raises UserError when there is none."""
    generator, lock = _opened(model_id)
    with lock:
        answered = [pair for batch in generator.answer([build_messages(messages)], sampling, adapter) for pair in batch]
    completion = answered[0][1]
    if completion.error is not None:
        raise UserError(completion.error, "Shorten the conversation, or start a new one.")
    return completion

"""The one place that decides what a model is shown.

A rung in Compare, the samples drawn while training and the Serve page all build their prompts here, so they ask
the model exactly the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Message = dict[str, str]

PASSAGES_HEADER = "Passages that may help:"


@dataclass(frozen=True)
class Shot:
    """One worked example for a few-shot prompt: the turns before the answer, and the answer."""

    messages: tuple[Message, ...]
    reference: str


@dataclass(frozen=True)
class Passage:
    """One retrieved chunk as the model sees it: `title` names its source, so that it can be cited."""

    title: str
    text: str


def build_messages(
    messages: Sequence[Message], shots: Sequence[Shot] = (), passages: Sequence[Passage] = ()
) -> list[Message]:
    """The chat to send: the instructions, then worked examples, then the question with its passages.

    Examples come before everything that differs between two questions, so that all prompts of a rung start with the
    same tokens and that prefix is computed once. Passages stand before the question, in the same user turn: adapters
    are trained on questions that end the turn, and keep finding them there.
    """
    opening = [turn for turn in messages if turn["role"] in ("system", "developer")]
    question = [dict(turn) for turn in messages if turn["role"] not in ("system", "developer")]
    worked: list[Message] = []
    for shot in shots:
        worked += [turn for turn in shot.messages if turn["role"] not in ("system", "developer")]
        worked.append({"role": "assistant", "content": shot.reference})
    if passages:
        last_user = max((i for i, turn in enumerate(question) if turn["role"] == "user"), default=None)
        if last_user is not None:
            quoted = "\n\n".join(f"[{passage.title}]\n{passage.text}" for passage in passages)
            asked = question[last_user]["content"]
            question[last_user]["content"] = f"{PASSAGES_HEADER}\n\n{quoted}\n\n{asked}"
    return [*opening, *worked, *question]

"""What of a conversation is learnt: its examples, and what is doubtful about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from core.data.example import Example
from core.data.layouts import Notes, Talk
from core.data.layouts.layout import quote
from core.models.prompt import Message, calls_text

# About 4,000 tokens: beyond what small models are tuned on, so the end may be cut off.
LONG_CHARACTERS = 16_000
# Of one conversation; each answer is an example with all turns before it, so their size grows as the square of this.
MAX_ANSWERS = 500


def prompt_key(messages: Sequence[Message]) -> str:
    """The group of an example that names none: the same prompt is the same source, so copies stay in one split."""
    text = "\n".join(f"{turn['role']}: {' '.join(turn['content'].split()).casefold()}" for turn in messages)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def example_text(example: Example) -> tuple[str, str]:
    """(everything asked, everything answered): equal for two examples exactly if a model would learn the same."""
    asked = "\x1e".join(
        f"{turn['role']}\x1f{turn['content']}{calls_text(turn.get('tool_calls') or ())}" for turn in example.messages
    )
    return f"{asked}\x1e{json.dumps(example.tools)}" if example.tools else asked, example.reference


def examples_of(talk: Talk, answers: Literal["last", "each"], notes: Notes) -> tuple[Example, ...]:
    """The examples of a record, with what is doubtful about them noted."""
    turns = talk.turns
    holder = talk.places[0].split("[")[0] if talk.places else ""
    if turns[-1]["role"] != "assistant":
        has_answer = any(turn["role"] == "assistant" for turn in turns)
        found = "does not end with the assistant's turn" if has_answer else "has no assistant turn"
        remedy = "Add the answer you expect as the last turn."
        notes.error(holder, "no_answer", f'"{holder}" {found}.', remedy, "drop_trailing" if has_answer else "")
        return ()
    asked = next((i for i, turn in enumerate(turns) if turn["role"] == "user"), len(turns))
    said = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
    learnt = [i for i in said if turns[i].get("weight") != 0]
    if not learnt:
        remedy = "Give the answer to learn the weight 1, or take the weights out."
        notes.error(holder, "no_answer", f'Every assistant turn of "{holder}" has the weight 0.', remedy)
        return ()
    learnt = [i for i in learnt if i > asked]
    if not learnt:
        remedy = "Add the question before the answer."
        notes.error(holder, "no_question", f'"{holder}" has no user turn.', remedy)
        return ()
    chosen = learnt if answers == "each" else learnt[-1:]
    if len(chosen) > MAX_ANSWERS:
        remedy = "Cut the conversation into several, or learn its last answer alone."
        notes.error(
            holder, "answers", f'"{holder}" has {len(chosen):,} answers to learn, each with all before it.', remedy
        )
        return ()
    # Of a conversation cut into several examples, the group is what all of them share: the first question.
    group = talk.group or prompt_key(turns[: chosen[0]])
    examples = tuple(_example(talk, i, group) for i in chosen)
    _doubts(talk, chosen, notes)
    return examples


def _example(talk: Talk, position: int, group: str) -> Example:
    answer = talk.turns[position]
    calls = answer.get("tool_calls")
    reference = answer["content"]
    if calls:
        reference = "\n".join(part for part in (reference, calls_text(calls)) if part)
    prompt = tuple(talk.turns[:position])
    return Example(prompt, reference, group, talk.label, talk.context, talk.tools, calls)


def _doubts(talk: Talk, chosen: Sequence[int], notes: Notes) -> None:
    """Warn of what can be learnt from, but is seldom meant."""
    for i in chosen:
        content, place = talk.turns[i]["content"], talk.places[i]
        if not content:  # a call, which is judged where it is read
            continue
        if content[0].isspace() or content[-1].isspace():
            message = "The answer starts or ends with white space."
            notes.warn(place, "white_space", message, "Trim it: a model learns to write it.", "trim")
        if not any(map(str.isalnum, content)):
            message = f"The answer {quote(content)} holds no letter and no digit."
            notes.warn(place, "short_answer", message, "Check that this is the answer you want.")
    size = sum(len(turn["content"]) for turn in talk.turns)
    if size > LONG_CHARACTERS:
        message = f"The example has {size:,} characters, about {size // 4:,} tokens."
        notes.warn(talk.places[-1], "long", message, "Check the length that training cuts it to, or shorten it.")
    for i in range(1, len(talk.turns)):
        role = talk.turns[i]["role"]
        if role == talk.turns[i - 1]["role"] and role in ("user", "assistant"):
            message = f"Two turns of the {role} follow each other."
            notes.warn(talk.places[i], "turn_order", message, "Join them, or put the missing turn between them.")
            return

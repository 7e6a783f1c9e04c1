"""The one place that decides what a model is shown.

A rung in Compare, the samples drawn while training and the Serve page all build their prompts here, so they ask
the model exactly the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

# `role` and `content` (a text, maybe empty); a stored turn may also hold `tool_calls`, `tool_call_id`, `name` and
# `weight`, as OpenAI's chat format has them. What a model is shown holds the first two alone.
Message = dict[str, Any]

PASSAGES_HEADER = "Passages that may help:"
TOOLS_HEADER = (
    "You can call these functions. To call one, answer with its name and arguments as JSON between "
    "<tool_call> and </tool_call>:"
)


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


def last_question(messages: Sequence[Message]) -> str:
    """What to search documents for: the last thing the user said; empty where none did."""
    return next((str(turn["content"]) for turn in reversed(messages) if turn["role"] == "user"), "")


def quoted(passages: Sequence[Passage]) -> str:
    """Passages as they stand in a prompt, each under its title."""
    return "\n\n".join(f"[{passage.title}]\n{passage.text}" for passage in passages)


def calls_text(calls: Sequence[dict[str, Any]]) -> str:
    """Tool calls as the text a model writes for them: one <tool_call> block of JSON each.

    The form is that of the Hermes models, which Qwen, SmolLM and others were trained on. Arguments come as OpenAI has
    them, a text of JSON, or as an object; a text that is no JSON is kept as it is.
    """
    blocks = []
    for call in calls:
        function = call.get("function", call)
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            with suppress(ValueError, RecursionError):
                arguments = json.loads(arguments) if arguments.strip() else {}
        body = json.dumps({"name": function.get("name", ""), "arguments": arguments}, ensure_ascii=False)
        blocks.append(f"<tool_call>\n{body}\n</tool_call>")
    return "\n".join(blocks)


def as_text(turn: Message) -> Message:
    """A turn in words alone: tool calls become text, and what a tool gave back becomes the next thing said.

    Every model reads the same words then, whether or not its template or service knows tools.
    """
    content = turn["content"]
    if turn.get("tool_calls"):
        content = "\n".join(part for part in (content, calls_text(turn["tool_calls"])) if part)
    if turn["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    return {"role": turn["role"], "content": content}


def build_messages(
    messages: Sequence[Message],
    shots: Sequence[Shot] = (),
    passages: Sequence[Passage] = (),
    tools: Sequence[dict[str, Any]] | None = None,
) -> list[Message]:
    """The chat to send: the instructions, then worked examples, then the question with its passages.

    Examples come before everything that differs between two questions, so that all prompts of a rung start with the
    same tokens and that prefix is computed once. Passages stand before the question, in the same user turn: adapters
    are trained on questions that end the turn, and keep finding them there. `tools`, in OpenAI's form, are described
    at the end of the instructions.
    """
    turns = [as_text(turn) for turn in messages]
    opening = [turn for turn in turns if turn["role"] in ("system", "developer")]
    question = [turn for turn in turns if turn["role"] not in ("system", "developer")]
    if tools:
        listed = "\n".join(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)
        described = f"{TOOLS_HEADER}\n{listed}"
        if opening:
            opening[-1]["content"] += f"\n\n{described}"
        else:
            opening = [{"role": "system", "content": described}]
    worked: list[Message] = []
    for shot in shots:
        worked += [as_text(turn) for turn in shot.messages if turn["role"] not in ("system", "developer")]
        worked.append({"role": "assistant", "content": shot.reference})
    if passages:
        last_user = max((i for i, turn in enumerate(question) if turn["role"] == "user"), default=None)
        if last_user is not None:
            asked = question[last_user]["content"]
            question[last_user]["content"] = f"{PASSAGES_HEADER}\n\n{quoted(passages)}\n\n{asked}"
    return [*opening, *worked, *question]

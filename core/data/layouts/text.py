"""One "text" with prompt and answer in it: read where markers say beyond doubt who speaks."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from core.data.layouts.layout import Notes, Talk, column_text, layout, shared
from core.data.roles import role_meant
from core.models.prompt import Message

HEADINGS = "System|Instruction|Input|Human|User|Question|Response|Assistant|Output|Answer"
# Each marks where a turn begins and whose it is, as the chat templates of the named families write it.
TEMPLATES = (
    re.compile(r"<\|im_start\|>[ ]*(?P<role>\w+)[ ]*\n?"),  # ChatML: Qwen, SmolLM and many others
    re.compile(r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>\s*"),  # Llama 3
    re.compile(r"<start_of_turn>(?P<role>\w+)\n?"),  # Gemma
    re.compile(r"<\|(?P<role>system|user|assistant)\|>\n?"),  # Zephyr, Phi
    re.compile(rf"^###[ ]*(?P<role>{HEADINGS}):?[ ]*\n?", re.M | re.I),
    re.compile(r"^(?P<role>System|Human|User|Assistant|Bot|AI):[ ]*", re.M),
    re.compile(r"^(?P<role>Question|Answer):[ ]*", re.M),
    re.compile(r"^(?P<role>Q|A):[ ]*", re.M),
)
ROLE_OF = {
    "instruction": "user",
    "input": "user",
    "question": "user",
    "q": "user",
    "response": "assistant",
    "output": "assistant",
    "answer": "assistant",
    "a": "assistant",
}
# What ends a turn or a text, and is no part of it.
ENDS = re.compile(r"(?:<\|(?:im_end|eot_id|end|endoftext|end_of_text)\|>|<end_of_turn>|</s>|<eos>)\s*$")
STARTS = re.compile(r"^\s*(?:<s>|<bos>|<\|begin_of_text\|>)")
INST = re.compile(r"\[(/?)INST\]")
SYS = re.compile(r"^\s*<<SYS>>(?P<system>.*?)<</SYS>>", re.S)
# Columns that say where a text is from.
ABOUT = frozenset({"id", "idx", "index", "meta", "metadata", "source", "url", "date", "timestamp", "lang", "language"})
REMEDY = (
    "Give prompt and answer in two columns, or mark them, for example with a line ### Instruction: before the one and "
    "### Response: before the other."
)


def _fits(record: dict[str, Any]) -> bool:
    """A text on its own or beside what says where it is from; with another column, only if it holds the turns."""
    text = record.get("text")
    return "text" in record and (record.keys() - {"text"} <= ABOUT or (isinstance(text, str) and bool(turns_in(text))))


@layout(
    "text",
    "one text",
    fields=("text",),
    sample={"text": "### Instruction:\nHello\n\n### Response:\nGood morning!"},
    fits=_fits,
)
def read_text(record: dict[str, Any], notes: Notes) -> Talk | None:
    text = column_text(record, "text", notes, needed=True)
    beside = shared(record, notes)
    if text is None or notes.failed:
        return None
    turns = turns_in(text)
    if turns is None:
        message = "Nothing in the text says beyond doubt where the prompt ends and the answer begins."
        notes.error("text", "no_markers", message, REMEDY)
        return None
    return Talk(turns, ["text"] * len(turns), **beside)


def turns_in(text: str) -> list[Message] | None:
    """The turns that the text's markers name, without the markers; None where they leave a doubt."""
    text = STARTS.sub("", text)
    if "[INST]" in text:
        return _inst(text)
    for template in TEMPLATES:
        marks = list(template.finditer(text))
        if len(marks) < 2:
            continue
        before = text[: marks[0].start()].strip()
        said: list[tuple[str, list[str]]] = []
        for mark, following in zip(marks, [*marks[1:], None], strict=True):
            role = ROLE_OF.get(mark["role"].casefold()) or role_meant(mark["role"])
            content = ENDS.sub("", text[mark.end() : following.start() if following else None]).strip()
            if role is None:
                return None
            if mark["role"].casefold() == "input" and said:  # belongs to the instruction before it
                said[-1][1].append(content)
            else:
                said.append((role, [content]))
        turns = [{"role": role, "content": "\n\n".join(filter(None, parts))} for role, parts in said]
        turns = [turn for turn in turns if turn["content"] or turn["role"] == "assistant"]
        if before:  # what stands before the first marker belongs to the first question, such as a table to query
            if not turns or turns[0]["role"] != "user":
                return None
            turns[0]["content"] = f"{before}\n\n{turns[0]['content']}"
        return _sound(turns)
    return None


def _inst(text: str) -> list[Message] | None:
    """Llama 2 and Mistral: [INST] <<SYS>>instructions<</SYS>> question [/INST] answer</s>, and again."""
    before, *parts = INST.split(text)  # then in turn: a slash or nothing, and the text after it
    if before.strip() or any(slash != "/" * (number % 2) for number, slash in enumerate(parts[::2])):
        return None
    turns: list[Message] = []
    for number, content in enumerate(parts[1::2]):
        system = SYS.match(content) if number == 0 else None
        if system:
            turns.append({"role": "system", "content": system["system"].strip()})
            content = content[system.end() :]
        content = ENDS.sub("", content.strip().removesuffix("<s>").strip()).strip()
        turns.append({"role": "assistant" if number % 2 else "user", "content": content})
    return _sound(turns)


def _sound(turns: list[Message]) -> list[Message] | None:
    """Questions and answers take turns and none is empty; otherwise a marker was part of somebody's text."""
    spoken = [turn["role"] for turn in turns if turn["role"] not in ("system", "tool")]
    taking_turns = spoken[:1] == ["user"] and spoken[-1] == "assistant"
    taking_turns = taking_turns and all(a != b for a, b in pairwise(spoken))
    return turns if taking_turns and all(turn["content"] for turn in turns) else None

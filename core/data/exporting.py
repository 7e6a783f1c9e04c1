"""Examples out again, as others read them: OpenAI chat JSONL, prompt/completion JSONL, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal

from core.data.example import Example
from core.export import safe_cell
from core.models.prompt import as_text, calls_text

Format = Literal["chat", "prompt_completion", "csv"]
COLUMNS = ("system", "prompt", "answer", "label", "group", "context")
# Rows written at a time.
BATCH = 500


def export(examples: Iterable[Example], layout: Format, *, extras: bool = False) -> Iterator[bytes]:
    """The file in pieces, UTF-8, one or more examples each.

    `extras` adds label, group and context to the JSON lines, which our own import reads and OpenAI refuses. The CSV
    always has them. CSV and prompt/completion hold conversations of several turns as text with the roles' names, and
    tool calls as text; the tools themselves go along in chat alone.
    """
    if layout == "csv":
        yield from _csv(examples)
        return
    record = RECORDS[layout]
    lines = (record(example) | (_extras(example) if extras else {}) for example in examples)
    while batch := list(islice(lines, BATCH)):
        yield "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in batch).encode()


def chat_record(example: Example) -> dict[str, Any]:
    """One line of OpenAI's chat format; tool calls stay calls, and the tools go along."""
    answer: dict[str, Any] = {"role": "assistant", "content": example.reference}
    if example.calls:
        # The reference ends with the calls as text; what stands before is what was said beside them.
        said = example.reference.removesuffix(calls_text(example.calls)).rstrip("\n")
        answer = {"role": "assistant", "content": said or None, "tool_calls": example.calls}
    turns = [_turn(turn) for turn in example.messages]
    return {"messages": [*turns, answer]} | ({"tools": example.tools} if example.tools else {})


def _turn(turn: dict[str, Any]) -> dict[str, Any]:
    return turn | {"content": None} if turn.get("tool_calls") and not turn["content"] else dict(turn)


def pair_record(example: Example) -> dict[str, Any]:
    """One line of the prompt/completion format; instructions stand before the question."""
    system, prompt = _asked(example)
    return {"prompt": "\n\n".join(part for part in (system, prompt) if part), "completion": example.reference}


RECORDS: dict[str, Callable[[Example], dict[str, Any]]] = {"chat": chat_record, "prompt_completion": pair_record}


def _asked(example: Example) -> tuple[str, str]:
    """(instructions, question): one question as it is, a conversation with the roles' names."""
    turns = [as_text(turn) for turn in example.messages]
    system = "\n\n".join(turn["content"] for turn in turns if turn["role"] in ("system", "developer"))
    rest = [turn for turn in turns if turn["role"] not in ("system", "developer")]
    if len(rest) == 1:
        return system, rest[0]["content"]
    return system, "\n\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in rest)


def _extras(example: Example) -> dict[str, Any]:
    known = {"label": example.label, "group": example.group, "context": example.context}
    return {key: value for key, value in known.items() if value is not None}


def _csv(examples: Iterable[Example]) -> Iterator[bytes]:
    # The mark that Excel wants.
    yield "\ufeff".encode() + _rows([COLUMNS])
    rows = ((*_asked(e), e.reference, e.label, e.group, e.context) for e in examples)
    while batch := list(islice(rows, BATCH)):
        yield _rows(batch)


def _rows(rows: Iterable[Sequence[str | None]]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([safe_cell(value) for value in row] for row in rows)
    return out.getvalue().encode()

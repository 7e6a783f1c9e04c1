"""OpenAI chat JSONL: one {"messages": [...]} a line, the last turn being the answer we expect.

Every line is looked at, and every bad one is reported with its number; the caller imports all or nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from core.data.example import Example, Problem, ReadResult
from core.models.prompt import Message

ROLES = ("system", "developer", "user", "assistant", "tool")
KNOWN_KEYS = {"messages", "group", "label", "context"}


class _Bad(Exception):
    def __init__(self, field: str, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.field, self.code, self.message, self.remedy = field, code, message, remedy


def read_chat_jsonl(file: str, data: bytes) -> ReadResult:
    """Read one file. `file` is its name, used in messages only. Never raises on content."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        broken = data[: error.start].count(b"\n") + 1
        message = f"Byte {error.start} is not UTF-8 ({error.reason})."
        return ReadResult(
            (), (Problem(file, broken, "", "encoding", message, "Save the file as UTF-8 and try again."),)
        )
    examples: list[Example] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = _parse(line)
            examples.append(_example(record))
            problems += _warnings(file, number, record)
        except _Bad as bad:
            problems.append(Problem(file, number, bad.field, bad.code, bad.message, bad.remedy))
    if not examples and not problems:
        problems.append(
            Problem(
                file, 0, "", "empty", "The file holds no examples.", 'Put one {"messages": [...]} object on each line.'
            )
        )
    return ReadResult(tuple(examples), tuple(problems))


def _parse(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        remedy = "Each line must be one complete JSON object; check quotes, commas and brackets there."
        raise _Bad("", "json", f"This is not JSON: {error.msg} at column {error.colno}.", remedy) from error
    except ValueError as error:
        remedy = "Write it as a text."
        raise _Bad("", "number", "A number there has more digits than a program can read.", remedy) from error
    except RecursionError as error:
        raise _Bad("", "nesting", "The brackets are nested too deeply.", "Write the messages as plain text.") from error
    if not isinstance(record, dict):
        remedy = 'Write {"messages": [...]} on this line.'
        raise _Bad("", "not_object", f"Expected an object, found {_kind(record)}.", remedy)
    return record


def _refuse_constant(name: str) -> None:
    raise _Bad("", "json", f"{name} is not JSON.", "Use null or a number.")


def _example(record: dict[str, Any]) -> Example:
    turns = _turns(record.get("messages"))
    if turns[-1]["role"] != "assistant":
        has_answer = any(turn["role"] == "assistant" for turn in turns)
        found = "does not end with the assistant's turn" if has_answer else "has no assistant turn"
        raise _Bad("messages", "no_answer", f'"messages" {found}.', "Add the answer you expect as the last turn.")
    if not any(turn["role"] == "user" for turn in turns):
        raise _Bad("messages", "no_question", '"messages" has no user turn.', "Add the question before the answer.")
    prompt = tuple(turns[:-1])
    reference = turns[-1]["content"]
    group, label, context = (_optional_text(record, key) for key in ("group", "label", "context"))
    return Example(prompt, reference, group or prompt_key(prompt), label, context)


def prompt_key(messages: tuple[Message, ...]) -> str:
    """The group of an example that names none: the same prompt is the same source, so copies stay in one split."""
    text = "\n".join(f"{turn['role']}: {' '.join(turn['content'].split()).casefold()}" for turn in messages)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _turns(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        found = "is missing" if value is None else "is empty" if value == [] else f"is {_kind(value)}"
        remedy = 'Use a list such as [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}].'
        raise _Bad("messages", "messages", f'"messages" {found}.', remedy)
    return [_turn(position, turn) for position, turn in enumerate(value)]


def _turn(position: int, turn: Any) -> Message:
    field = f"messages[{position}]"
    if not isinstance(turn, dict):
        remedy = 'Each turn is {"role": ..., "content": ...}.'
        raise _Bad(field, "turn", f"Turn {position + 1} is {_kind(turn)}.", remedy)
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES:
        remedy = f"Use one of {', '.join(ROLES)}."
        raise _Bad(f"{field}.role", "role", f"Turn {position + 1} has the role {json.dumps(role)[:40]}.", remedy)
    if not isinstance(content, str):
        found = "no content" if content is None else f"content that is {_kind(content)}"
        raise _Bad(f"{field}.content", "content", f"Turn {position + 1} has {found}.", "Write the content as a text.")
    if not content.strip():
        raise _Bad(
            f"{field}.content", "empty_content", f"Turn {position + 1} is empty.", "Fill it in or drop the line."
        )
    _refuse_half_characters(f"{field}.content", f"Turn {position + 1}", content)
    return {"role": role, "content": content}


def _refuse_half_characters(field: str, where: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        remedy = "Replace the broken character (half of a surrogate pair)."
        raise _Bad(field, "surrogate", f"{where} holds half a character.", remedy) from error


def _optional_text(record: dict[str, Any], key: str) -> str | None:
    value = record.get(key)
    if isinstance(value, str):
        _refuse_half_characters(key, f'"{key}"', value)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    raise _Bad(key, "type", f'"{key}" is {_kind(value)}.', "Write it as a text.")


def _warnings(file: str, number: int, record: dict[str, Any]) -> Iterator[Problem]:
    unknown = sorted(set(record) - KNOWN_KEYS)
    if unknown:
        names = ", ".join(f'"{name[:40]}"' for name in unknown[:5])
        yield Problem(
            file,
            number,
            unknown[0],
            "unknown_key",
            f"Not used: {names}.",
            "Nothing to do unless you need it.",
            "warning",
        )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")

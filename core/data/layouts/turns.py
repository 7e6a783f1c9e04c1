"""Turns as OpenAI's chat format writes them: role, content, tool calls. Shared by the layouts that hold such lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.data.files.parsing import Refused, kind_of, parse_part
from core.data.layouts.layout import ROLES, Notes, quote
from core.data.roles import role_meant
from core.models.prompt import Message

ROLE_SET = frozenset(ROLES)
TURN_KEYS = frozenset({"role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call"})
TURNS_REMEDY = 'Use a list such as [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}].'


def read_turns(value: Any, field: str, notes: Notes) -> tuple[list[Message], list[str]]:
    """(turns, the field each came from). Turns that cannot be read are noted and left out."""
    if not isinstance(value, list) or not value:
        found = "is missing" if value is None else "is empty" if value == [] else f"is {kind_of(value)}"
        notes.error(field, "messages", f'"{field}" {found}.', TURNS_REMEDY)
        return [], []
    turns: list[Message] = []
    places: list[str] = []
    for position, turn in enumerate(value):
        # Nearly all turns are two texts; only the rest is looked at closely.
        if isinstance(turn, dict) and len(turn) == 2:
            role, content = turn.get("role"), turn.get("content")
            plain = isinstance(role, str) and role in ROLE_SET and isinstance(content, str)
            if plain and content and not content.isspace():
                turns.append({"role": role, "content": content})
                places.append(f"{field}[{position}].content")
                continue
        read = _turn(position, turn, f"{field}[{position}]", notes)
        if read is not None:
            turns.append(read)
            places.append(f"{field}[{position}].content")
    return turns, places


def _turn(position: int, turn: Any, field: str, notes: Notes) -> Message | None:
    where = f"Turn {position + 1}"
    if not isinstance(turn, dict):
        notes.error(field, "turn", f"{where} is {kind_of(turn)}.", 'Each turn is {"role": ..., "content": ...}.')
        return None
    role = turn.get("role")
    if role == "function":  # the older name of a tool's turn
        role = "tool"
    if not isinstance(role, str) or role not in ROLE_SET:
        found = f"has the role {quote(role)}" if "role" in turn else "has no role"
        fix = "unify_roles" if role_meant(role) else ""
        notes.error(f"{field}.role", "role", f"{where} {found}.", f"Use one of {', '.join(ROLES)}.", fix)
        return None
    read: Message = {"role": role, "content": ""}
    calls = _calls(turn, where, field, notes) if role == "assistant" else None
    content = _content(turn.get("content"), where, f"{field}.content", notes, may_be_empty=bool(calls))
    if content is None:
        return None
    read["content"] = content
    if calls:
        read["tool_calls"] = calls
    for key in ("name", "tool_call_id"):
        value = turn.get(key)
        if isinstance(value, str):
            read[key] = value
        elif value is not None:
            notes.error(f"{field}.{key}", "type", f'"{key}" of turn {position + 1} is {kind_of(value)}.', "Use a text.")
    if turn.get("weight") is not None:
        _weight(turn["weight"], read, where, f"{field}.weight", notes)
    unknown = [key for key, value in turn.items() if key not in TURN_KEYS and value is not None]
    if unknown:
        names = ", ".join(quote(name) for name in unknown[:5])
        notes.warn(f"{field}.{unknown[0]}", "unknown_key", f"Not used: {names}.", "Nothing to do unless you need it.")
    return read


def _content(value: Any, where: str, field: str, notes: Notes, *, may_be_empty: bool) -> str | None:
    """The text of a turn; parts of type text are joined by line ends."""
    if isinstance(value, list) and value:
        texts = []
        for number, part in enumerate(value):
            kind = part.get("type") if isinstance(part, dict) else None
            text = part.get("text") if isinstance(part, dict) else part
            if kind in ("text", None) and isinstance(text, str):
                texts.append(text)
                continue
            named = quote(kind) if kind else kind_of(part)
            remedy = "Only text can be learnt here: take the part out or drop the record."
            notes.error(f"{field}[{number}]", "content_part", f"{where} holds a part of the kind {named}.", remedy)
        if len(texts) < len(value):
            return None
        value = "\n".join(texts)
    if value is None and may_be_empty:
        return ""
    if not isinstance(value, str):
        found = "no content" if value is None else f"content that is {kind_of(value)}"
        fix = "drop_empty" if value is None else ""
        notes.error(field, "content", f"{where} has {found}.", "Write the content as a text.", fix)
        return None
    if may_be_empty or (value and not value.isspace()):
        return value
    notes.error(field, "empty_content", f"{where} is empty.", "Fill it in or drop the record.", "drop_empty")
    return None


def _weight(weight: Any, read: Message, where: str, field: str, notes: Notes) -> None:
    if isinstance(weight, bool) or weight not in (0, 1):
        message = f"{where} has the weight {quote(weight)}."
        notes.error(field, "weight", message, "Use 1 to learn the turn, 0 to pass over it.")
    elif read["role"] == "assistant":
        read["weight"] = int(weight)
    else:
        notes.warn(field, "weight", f"{where} is no assistant turn; its weight is not used.", "Take it out.")


def _calls(turn: Mapping[str, Any], where: str, field: str, notes: Notes) -> list[dict[str, Any]]:
    """The turn's tool calls in today's form; the older `function_call` is one of them."""
    value, key = turn.get("tool_calls"), "tool_calls"
    if value is None and turn.get("function_call") is not None:
        value, key = [{"type": "function", "function": turn["function_call"]}], "function_call"
    if value is None:
        return []
    if not isinstance(value, list):
        notes.error(f"{field}.{key}", "tool_calls", f'"{key}" is {kind_of(value)}.', "Write a list of calls.")
        return []
    calls = []
    for number, call in enumerate(value):
        place = f"{field}.tool_calls[{number}]" if key == "tool_calls" else f"{field}.function_call"
        function = call.get("function", call) if isinstance(call, dict) else None
        read = call_of(function, place, where, notes)
        if read is not None:
            extra = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
            calls.append({**extra, **read})
    return calls


def call_of(function: Any, place: str, where: str, notes: Notes) -> dict[str, Any] | None:
    """One call as OpenAI writes it, from {"name": ..., "arguments": text or object}."""
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        remedy = 'Write {"name": "...", "arguments": "{...}"}.'
        notes.error(place, "tool_calls", f"{where} calls a function without a name.", remedy)
        return None
    arguments = function.get("arguments")
    if arguments is None:
        arguments = "{}"
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    elif not isinstance(arguments, str):
        message = f"The arguments of {quote(function['name'])} are {kind_of(arguments)}."
        notes.error(f"{place}.arguments", "arguments", message, "Write them as an object or its JSON text.")
        return None
    elif arguments.strip():
        try:
            parse_part(arguments)
        except Refused as bad:
            message = f"The arguments of {quote(function['name'])} cannot be read: {bad.message}"
            if bad.code != "json":  # Nobody could write or keep what they stand for.
                notes.error(f"{place}.arguments", "arguments", message, bad.remedy)
                return None
            notes.warn(f"{place}.arguments", "arguments", message, "A model learns them as they are: mend them.")
    return {"type": "function", "function": {"name": function["name"], "arguments": arguments}}


def read_tools(value: Any, field: str, notes: Notes) -> list[dict[str, Any]] | None:
    """The functions an answer may call, in OpenAI's form. Accepts their JSON text and bare function objects."""
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = parse_part(value)
        except Refused as bad:
            message = f'"{field}" is a text that cannot be read: {bad.message}'
            notes.error(field, "tools", message, "Write a list of functions.")
            return None
    if not value:
        return None
    tools = []
    for number, tool in enumerate(value if isinstance(value, list) else [value]):
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            remedy = 'Each is {"type": "function", "function": {"name": ..., "parameters": {...}}}.'
            notes.error(f"{field}[{number}]", "tools", f"Tool {number + 1} has no name.", remedy)
            return None
        tools.append({"type": "function", "function": function})
    return tools

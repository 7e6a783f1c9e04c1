"""ShareGPT: {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}, calls included."""

from __future__ import annotations

from typing import Any

from core.data.files.parsing import Refused, kind_of, parse_part
from core.data.layouts.chat import names_senders, talk
from core.data.layouts.layout import Notes, Talk, layout, quote
from core.data.layouts.turns import TURNS_REMEDY, call_of, read_turns
from core.data.roles import role_meant
from core.models.prompt import Message

FROM = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "function_call": "assistant",
    "system": "system",
    "developer": "developer",
    "observation": "tool",
    "tool": "tool",
}
FROM_REMEDY = TURNS_REMEDY.replace("role", "from").replace("content", "value")
KEYS = ("conversations", "conversation", "messages")


def _key(record: dict[str, Any]) -> str:
    return next((key for key in KEYS if key in record), "conversations")


@layout(
    "sharegpt",
    "ShareGPT",
    fields=(*KEYS, "system", "tools"),
    sample={"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good morning!"}]},
    fits=lambda record: "conversations" in record or "conversation" in record or names_senders(record.get("messages")),
    cells=KEYS,
)
def read_sharegpt(record: dict[str, Any], notes: Notes) -> Talk | None:
    key = _key(record)
    value = record.get(key)
    if isinstance(value, list) and value and not names_senders(value):
        turns, places = read_turns(value, key, notes)
    else:
        turns, places = _turns(value, key, notes)
    return talk(record, turns, places, notes)


def _turns(value: Any, key: str, notes: Notes) -> tuple[list[Message], list[str]]:
    if not isinstance(value, list) or not value:
        found = "is missing" if value is None else "is empty" if value == [] else f"is {kind_of(value)}"
        notes.error(key, "messages", f'"{key}" {found}.', FROM_REMEDY)
        return [], []
    turns: list[Message] = []
    places = []
    for position, turn in enumerate(value):
        field, where = f"{key}[{position}]", f"Turn {position + 1}"
        if not isinstance(turn, dict):
            notes.error(field, "turn", f"{where} is {kind_of(turn)}.", 'Each turn is {"from": ..., "value": ...}.')
            continue
        name, text = turn.get("from"), turn.get("value")
        role = FROM.get(name) if isinstance(name, str) else None
        if role is None:
            found = f"is from {quote(name)}" if "from" in turn else 'has no "from"'
            remedy = "Use human, gpt, system, function_call or observation."
            notes.error(f"{field}.from", "role", f"{where} {found}.", remedy, "unify_roles" if role_meant(name) else "")
        elif not isinstance(text, str) or not text or text.isspace():
            if text is None or isinstance(text, str):
                remedy = "Fill it in or drop the record."
                notes.error(f"{field}.value", "empty_content", f"{where} is empty.", remedy, "drop_empty")
            else:
                notes.error(f"{field}.value", "content", f"{where} is {kind_of(text)}.", "Write it as a text.")
        else:
            read: Message = {"role": role, "content": text}
            if name == "function_call":
                calls = _calls(text, position, f"{field}.value", where, notes)
                read = {"role": role, "content": "", "tool_calls": calls}
            elif role == "tool" and turns and turns[-1].get("tool_calls"):
                read["tool_call_id"] = turns[-1]["tool_calls"][0]["id"]
            turns.append(read)
            places.append(f"{field}.value")
    return turns, places


def _calls(text: str, position: int, field: str, where: str, notes: Notes) -> list[dict[str, Any]]:
    """The calls in a function_call turn. The format has no ids; these are numbered, so that results find their call."""
    try:
        value = parse_part(text)
    except Refused as bad:
        remedy = 'Write {"name": "...", "arguments": {...}} as its text.'
        notes.error(field, "tool_calls", f"{where} is a function call that cannot be read: {bad.message}", remedy)
        return []
    calls = [call_of(call, field, where, notes) for call in (value if isinstance(value, list) else [value])]
    return [{"id": f"call_{position}_{n}", **call} for n, call in enumerate(calls) if call is not None]

"""The rules by which OpenAI's fine-tuning API takes or refuses a file, and nothing else; as they were in November 2026.

JSON lines in UTF-8; ten examples at least; `messages` is a list; the five roles; content in every message, except that
an assistant's call of tools needs none; an assistant's message in every example; no unknown keys; `weight` 0 or 1, on
the assistant's messages alone. White space, lengths or duplicates are nothing to the API.
"""

from __future__ import annotations

from typing import Any

from core.data.files.parsing import kind_of
from core.data.layouts.layout import ROLES, Notes, quote
from core.data.reading import Reading
from core.data.roles import role_meant

MIN_EXAMPLES = 10
RECORD_KEYS = frozenset({"messages", "tools", "parallel_tool_calls", "functions"})
MESSAGE_KEYS = frozenset({"role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call"})
EXPORT_REMEDY = 'Import it and use "Export as OpenAI chat".'


def judge_file(reading: Reading, notes: Notes) -> None:
    """The API takes JSON lines in UTF-8, each a chat."""
    kind = reading.kind
    if kind.container != "jsonl" or kind.gzip or kind.encoding not in ("utf-8", "utf-8-sig"):
        notes.error("", "openai_format", f"OpenAI takes JSON lines in UTF-8; this is {kind.title}.", EXPORT_REMEDY)
    elif reading.layout != "chat":
        notes.error("", "openai_format", 'OpenAI takes lines with "messages"; these have none.', EXPORT_REMEDY)


def judge_count(count: int, notes: Notes) -> None:
    if count < MIN_EXAMPLES:
        found = f"The file has {count} example{'' if count == 1 else 's'}"
        notes.error("", "too_few", f"{found}; OpenAI takes {MIN_EXAMPLES} at least.", "Add more.")


def judge_record(record: dict[str, Any], notes: Notes) -> None:
    """Everything wrong with one line."""
    _refuse_unknown(record, RECORD_KEYS, "", notes)
    messages = record.get("messages")
    if not isinstance(messages, list) or not messages:
        found = "is missing" if messages is None else "is empty" if messages == [] else f"is {kind_of(messages)}"
        remedy = 'Use a list such as [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}].'
        notes.error("messages", "messages", f'"messages" {found}.', remedy)
        return
    for position, message in enumerate(messages):
        if isinstance(message, dict):
            _judge_message(message, position, notes)
        else:
            remedy = 'Each is {"role": ..., "content": ...}.'
            notes.error(f"messages[{position}]", "turn", f"Turn {position + 1} is {kind_of(message)}.", remedy)
    if not any(isinstance(message, dict) and message.get("role") == "assistant" for message in messages):
        notes.error("messages", "no_answer", '"messages" has no assistant turn.', "Add the answer you expect.")


def _judge_message(message: dict[str, Any], position: int, notes: Notes) -> None:
    field, where = f"messages[{position}]", f"Turn {position + 1}"
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        found = f"has the role {quote(role)}" if "role" in message else "has no role"
        fix = "unify_roles" if role_meant(role) else ""
        notes.error(f"{field}.role", "role", f"{where} {found}.", f"Use one of {', '.join(ROLES)}.", fix)
    if content is None or content == "" or content == []:
        calls = role == "assistant" and (message.get("tool_calls") or message.get("function_call"))
        if not calls:
            remedy = "Fill it in or drop the line."
            notes.error(f"{field}.content", "content", f"{where} has no content.", remedy, "drop_empty")
    elif not isinstance(content, (str, list)):
        message_ = f"{where} has content that is {kind_of(content)}."
        notes.error(f"{field}.content", "content", message_, "Write the content as a text.")
    if message.get("weight") is not None:
        weight = message["weight"]
        if role != "assistant":
            message_ = f"{where} is no assistant turn and has a weight."
            notes.error(f"{field}.weight", "weight", message_, "Take the weight out.")
        elif isinstance(weight, bool) or weight not in (0, 1):
            notes.error(f"{field}.weight", "weight", f"{where} has the weight {quote(weight)}.", "Use 0 or 1.")
    _refuse_unknown(message, MESSAGE_KEYS, f"{field}.", notes)


def _refuse_unknown(value: dict[str, Any], known: frozenset[str], field: str, notes: Notes) -> None:
    if value.keys() <= known:
        return
    for key in sorted(value.keys() - known):
        message = f"{quote(key)} is a key that OpenAI refuses."
        notes.error(f"{field}{key[:40]}", "unknown_key", message, "Take it out; an export as OpenAI chat has none.")

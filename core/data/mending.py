"""The repairs that one button makes: what each does to a record. None of them writes what nobody wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.data.files.parsing import Refused, refuse_content
from core.data.layouts.layout import ROLES
from core.data.layouts.sharegpt import FROM
from core.data.roles import role_meant

# What is sent, not said: white space within it is not ours to touch.
NOT_TEXT = frozenset({"tools", "functions", "tool_calls", "function_call"})
TURN_LISTS = ("messages", "conversations", "conversation")
# The one repair that loses what somebody meant to bring, so it is never part of "all".
DROP_BROKEN = "drop_broken"
# A broken line longer than this is looked at by its author: the repair takes about a second for a megabyte.
MAX_REPAIRED_CHARACTERS = 200_000
_ESCAPES = re.compile(r"\\u([0-9a-fA-F]{4})|\\.")
_WORDS = re.compile(r"[^\W_]+")


class Edit(NamedTuple):
    """What a repair changed within a record."""

    field: str
    before: str
    after: str


Mend = Callable[[dict[str, Any], list[Edit]], dict[str, Any]]


@dataclass(frozen=True)
class Fix:
    """A repair: `mend` returns the record as it should be and adds its edits. Without it, the reader does the work."""

    key: str
    title: str
    what: str
    mend: Mend | None = None


def trim(record: dict[str, Any], edits: list[Edit]) -> dict[str, Any]:
    """White space at both ends of every text."""

    def trimmed(value: Any, field: str) -> Any:
        if isinstance(value, str):
            bare = value.strip()
            if bare == value or not bare:
                return value
            edits.append(Edit(field, value, bare))
            return bare
        if isinstance(value, list):
            return [trimmed(item, f"{field}[{position}]") for position, item in enumerate(value)]
        if isinstance(value, dict):
            return {
                key: item if key in NOT_TEXT else trimmed(item, f"{field}.{key}" if field else key)
                for key, item in value.items()
            }
        return value

    mended = trimmed(record, "")
    return mended if edits else record


def unify_roles(record: dict[str, Any], edits: list[Edit]) -> dict[str, Any]:
    """Other names of the five roles, wherever a turn has one."""
    mended = record
    for key, turns in record.items():
        if not isinstance(turns, list) or key in NOT_TEXT:
            continue
        renamed = list(turns)
        for position, turn in enumerate(turns):
            if not isinstance(turn, dict):
                continue
            for name, right in (("role", (*ROLES, "function")), ("from", FROM)):
                found = turn.get(name)
                role = role_meant(found) if isinstance(found, str) and found not in right else None
                if role is not None:
                    edits.append(Edit(f"{key}[{position}].{name}", turn[name], role))
                    renamed[position] = {**turn, name: role}
        if renamed != turns:
            mended = {**mended, key: renamed}
    return mended


def drop_trailing(record: dict[str, Any], edits: list[Edit]) -> dict[str, Any]:
    """Turns after the last answer: there is nothing to learn from them."""
    for key in TURN_LISTS:
        turns = record.get(key)
        if not isinstance(turns, list):
            continue
        speakers = [turn.get("role", turn.get("from")) if isinstance(turn, dict) else None for turn in turns]
        answers = [i for i, name in enumerate(speakers) if name == "function_call" or role_meant(name) == "assistant"]
        if answers and answers[-1] < len(turns) - 1:
            for position in range(answers[-1] + 1, len(turns)):
                edits.append(Edit(f"{key}[{position}]", json.dumps(turns[position], ensure_ascii=False), ""))
            return {**record, key: turns[: answers[-1] + 1]}
    return record


# In the order in which they are applied, whatever the order in which they are chosen.
FIXES: dict[str, Fix] = {
    fix.key: fix
    for fix in (
        Fix("repair_json", "Repair JSON", "Quotes, commas and brackets that are wrong or missing; no word changes."),
        Fix(
            "unify_roles", "Unify roles", "Human, gpt, bot, USER and the like become the roles they mean.", unify_roles
        ),
        Fix("drop_trailing", "Drop turns after the answer", "Turns that follow the last answer go.", drop_trailing),
        Fix("trim", "Trim white space", "White space at the start and end of every text goes.", trim),
        Fix("drop_empty", "Drop empty examples", "Records without a prompt or an answer are left out."),
        Fix("drop_duplicates", "Drop duplicates", "Of records with the same prompt and answer the first stays."),
        Fix(DROP_BROKEN, "Leave out broken records", "Records with an error that no repair mends are left out."),
    )
}


def repaired_json(text: str) -> Any:
    """The value that broken JSON was meant to be, or None where its words would have to change.

    The library guesses freely; its guess counts only if all its letters and digits are those of the text, in
    the same order. So punctuation is mended, and nothing is lost or made up.
    """
    from json_repair import repair_json

    if len(text) > MAX_REPAIRED_CHARACTERS or text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = repair_json(text, return_objects=True, skip_json_loads=True)
        refuse_content(value)
        written = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError, Refused):
        return None
    return value if _words(written) == _words(text) else None


def _words(text: str) -> str:
    """Letters and digits, those of \\u escapes included; Python's None and JSON's null are the same word."""
    plain = _ESCAPES.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else " ", text)
    return "".join(_WORDS.findall(plain)).casefold().replace("none", "null")

"""What a layout is: how one kind of record says prompt and answer. Each stands in its own file, under `@layout`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from core.data.files.model import MAX_FIELD_CHARACTERS
from core.data.files.parsing import kind_of
from core.models.prompt import Message

ROLES = ("system", "developer", "user", "assistant", "tool")
# Quoted in messages: enough to find the place, too little to flood a screen.
QUOTED_CHARACTERS = 40
# Of one record; three million empty turns would otherwise be three million problems.
MAX_NOTES = 100
# What every layout may carry besides its own keys, and the column that holds it.
SHARED = {"group": "group", "label": "label", "context": "context"}


class Found(NamedTuple):
    """One thing wrong with a record, in the record's own field names."""

    field: str
    code: str
    message: str
    remedy: str
    severity: Literal["error", "warning"] = "error"
    fix: str = ""


class Enough(Exception):
    """So much is wrong with a record that nobody would read on."""


class Notes(list[Found]):
    """What was found wrong with one record, in the order in which it was found."""

    failed = False

    def error(self, field: str, code: str, message: str, remedy: str, fix: str = "") -> None:
        """Raises Enough at the last error that a record may have."""
        self.append(Found(field[:MAX_FIELD_CHARACTERS], code, message, remedy, "error", fix))
        self.failed = True
        if len(self) >= MAX_NOTES:
            message = f"After {MAX_NOTES} problems the rest of the record was not looked at."
            self.append(Found("", "more", message, "Mend these first."))
            raise Enough

    def warn(self, field: str, code: str, message: str, remedy: str, fix: str = "") -> None:
        if len(self) < MAX_NOTES:
            self.append(Found(field[:MAX_FIELD_CHARACTERS], code, message, remedy, "warning", fix))


@dataclass
class Talk:
    """A record as turns, answers included; `places` names the field that each turn came from."""

    turns: list[Message]
    places: Sequence[str]
    group: str | None = None
    label: str | None = None
    context: str | None = None
    tools: list[dict[str, Any]] | None = None


Read = Callable[[dict[str, Any], Notes], Talk | None]
Columns = Callable[[tuple[str, ...]], Iterable[str]]


@dataclass(frozen=True)
class Layout:
    """`fits` judges a record by its keys alone; `read` gives its turns, or None with the reasons in the notes.

    It raises Enough where these are too many. `fields` are the keys that are read, besides those shared by all;
    `sample` is a record to show; `cells` are the keys whose list may stand as its JSON text, as it must in a
    spreadsheet. Where the keys that are read depend on those there are, `columns` says which.
    """

    key: str
    title: str
    fields: tuple[str, ...]
    sample: dict[str, Any]
    fits: Callable[[dict[str, Any]], bool]
    read: Read
    cells: tuple[str, ...] = ()
    columns: Columns | None = None

    def unused(self, record: Mapping[str, Any]) -> list[str]:
        """Those keys of a record that are not read."""
        read = self.columns(tuple(record)) if self.columns else (*SHARED, *self.fields)
        return sorted(record.keys() - set(read))


LAYOUTS: dict[str, Layout] = {}


def layout(
    key: str,
    title: str,
    *,
    fields: tuple[str, ...],
    sample: dict[str, Any],
    fits: Callable[[dict[str, Any]], bool],
    cells: tuple[str, ...] = (),
    columns: Columns | None = None,
) -> Callable[[Read], Read]:
    """Register a reader of records. Where two layouts fit equally well, the one registered first is taken."""

    def register(read: Read) -> Read:
        LAYOUTS[key] = Layout(key, title, fields, sample, fits, read, cells, columns)
        return read

    return register


def quote(value: Any) -> str:
    """A value as it stands in the file, cut short."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return f'"{text[:QUOTED_CHARACTERS]}{"..." if len(text) > QUOTED_CHARACTERS else ""}"'


def as_text(value: Any) -> str | None:
    """A single value as text: numbers and truth values as JSON writes them. None for lists, objects and null."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return None


def single(record: Mapping[str, Any], key: str, notes: Notes) -> str | None:
    """An optional column that holds one value: group, label, context."""
    value = record.get(key)
    if value is None or isinstance(value, str):
        return value or None
    text = as_text(value)
    if text is None:
        notes.error(key, "type", f'"{key}" is {kind_of(value)}.', "Write it as a text.")
    return text


def shared(record: Mapping[str, Any], notes: Notes, columns: Mapping[str, str] = SHARED) -> dict[str, Any]:
    """Group, label and context, which every layout may carry, from the columns that hold them."""
    return {field: single(record, key, notes) for field, key in columns.items() if key in record}


def column_text(record: Mapping[str, Any], key: str, notes: Notes, *, needed: bool, answer: bool = False) -> str | None:
    """The text of one column. A needed one that is missing or empty is an error; an answer may be an object."""
    value = record.get(key)
    if answer and isinstance(value, (dict, list)) and value:
        message = f'"{key}" is {kind_of(value)}; the answer learnt is its JSON text.'
        notes.warn(key, "answer_as_json", message, "Nothing to do if JSON is the answer you want.")
        return json.dumps(value, ensure_ascii=False)
    text = as_text(value)
    if text is not None and not text.isspace() and text:
        return text
    if value is None or text is not None:
        if needed:
            found = "is empty" if key in record else "is missing"
            remedy = "Fill it in or drop the record."
            notes.error(key, "empty_content" if key in record else "missing", f'"{key}" {found}.', remedy, "drop_empty")
        return None
    notes.error(key, "content", f'"{key}" is {kind_of(value)}.', "Write it as a text.")
    return None

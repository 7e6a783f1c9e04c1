"""JSON over many lines: an array of objects, an object that wraps such an array, or objects one after the other.

Python's own parser works on a window of the text that grows until one item fits, so a record means the same here and
on a line of its own. ijson would read such files too, but it reads some numbers as others, drops a repeated key
without a word, limits neither the length nor the depth of an item, and does not say where it failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.data.example import Problem
from core.data.files.model import MAX_RECORD_BYTES, File, FileKind, Record, reader
from core.data.files.parsing import Refused, as_record, repeated_key, shown, too_long
from core.data.files.stream import content
from core.data.files.window import Value, Window

# Names under which tools wrap their records; the first key of an object may wrap them under any name ...
_WRAPPERS = {"data", "examples", "records", "items", "rows", "instances", "samples", "results", "dataset", "train"}
# ... but for these, which hold a part of one record.
_PARTS = {
    *("messages", "conversations", "conversation", "turns", "dialog", "dialogue", "history", "chosen", "rejected"),
    *("input", "output", "prompt", "completion", "tools", "functions", "context", "contexts", "documents"),
}
# Of a file of countless lists, so many are named.
_MAX_NAMED = 10


def wraps(key: str, first: bool) -> bool:
    """Whether a list of objects under this key of the outermost object is the list of records."""
    return key in _WRAPPERS or (first and key not in _PARTS)


@reader("json")
def read_json(file: File, kind: FileKind) -> Iterator[Record]:
    """A record for each item. What is not JSON ends the reading, since nobody knows where the next item starts."""
    with content(file, kind) as (stream, encoding, source):
        window = Window(stream, encoding, kind.encoding)
        number = 0
        lists: dict[str, bool] = {}
        try:
            for item in _items(window, lists):
                number += 1
                yield _record(file.name, number, item, source.done)
        except Refused as bad:
            yield Record(number + 1, None, bad.problem(file.name, window.line, "line"), end=source.done)
        if len(lists) > 1:
            yield Record(0, None, _several(lists).problem(file.name, 0, "item"), end=source.done)


def _several(lists: dict[str, bool]) -> Refused:
    """A warning that an object holds several lists of objects, given whether each was read."""
    names = {read: ", ".join(f'"{shown(key)}"' for key in lists if lists[key] is read) for read in (True, False)}
    told = f"The file holds several lists of records. Read: {names[True]}."
    told += f" Not read: {names[False]}." if names[False] else ""
    remedy = "Give each list as a file of its own if they are not one."
    return Refused("several_lists", told, remedy, severity="warning")


def _record(file: str, number: int, item: Value, end: int) -> Record:
    if item.bad:
        return Record(number, None, item.bad.problem(file, item.bad_line, "line"), end=end)
    try:
        value = as_record(item.value, item.text)
    except Refused as bad:
        bad.column = None  # It would count from the start of the item, whose line nobody has named.
        return Record(number, None, bad.problem(file, number, "item"), end=end)
    problem: Problem | None = None
    if item.repeated is not None:
        problem = repeated_key(item.repeated).problem(file, number, "item")
    return Record(number, value, problem, end=end)


def _items(window: Window, lists: dict[str, bool]) -> Iterator[Value]:
    if window.peek() == "[":
        yield from _array(window)
    elif window.peek() == "{":
        while window.peek() == "{":
            yield from _object(window, lists)
    elif window.peek():
        yield window.value()
    if window.peek():
        raise window.refuse("Extra data after the end")


def _array(window: Window) -> Iterator[Value]:
    window.take("[")
    if window.peek() != "]":
        yield window.value()
        while window.peek() == ",":
            window.take(",")
            yield window.value()
    window.take("]")


def _object(window: Window, lists: dict[str, bool]) -> Iterator[Value]:
    """The records under the key that wraps them, or the object itself as one record.

    Of an object that wraps records, `lists` gets the names of its lists of objects and whether they were read.
    """
    window.take("{")
    whole = _Whole()
    first, wrapped = True, False
    while window.peek() != "}":
        if not first:
            window.take(",")
        if window.peek() != '"':
            raise window.refuse("Expecting a name in double quotes")
        key = window.value()
        window.take(":")
        reads = wraps(key.value, first) and not whole.is_record
        if (reads or wrapped) and window.at_objects():
            wrapped = wrapped or reads
            if len(lists) < _MAX_NAMED:
                lists[key.value] = reads
            yield from (item for item in _array(window) if reads)
        elif wrapped:
            window.value()
        else:
            whole.add(key, window.value())
        first = False
    window.take("}")
    if not wrapped:
        yield whole.as_value()


class _Whole:
    """An object that is one record, gathered member by member."""

    def __init__(self) -> None:
        self._members: dict[str, Any] = {}
        self._texts, self._size = ["{"], 0
        self._repeated: str | None = None
        self._bad: Value | None = None

    def add(self, key: Value, part: Value) -> None:
        """Raises Refused if the object gets longer than a record may be."""
        if self._repeated is None:
            self._repeated = key.value if key.value in self._members else part.repeated
        self._members[key.value] = part.value
        self._texts += (key.text, part.text)
        self._size += len(key.text) + len(part.text)
        if self._size > MAX_RECORD_BYTES:
            raise too_long()
        self._bad = self._bad or next((value for value in (key, part) if value.bad), None)

    @property
    def is_record(self) -> bool:
        """Whether what is there already cannot but be part of a record."""
        return not self._members.keys().isdisjoint(_PARTS)

    def as_value(self) -> Value:
        bad = self._bad
        text = "".join(self._texts)
        return Value(self._members, text, self._repeated, bad.bad if bad else None, bad.bad_line if bad else 0)

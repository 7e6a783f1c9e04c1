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
from core.data.files.parsing import Refused, as_record, repeated_key, too_long
from core.data.files.stream import content
from core.data.files.window import Value, Window

# Names under which tools wrap their records; the first key of an object may wrap them under any name ...
_WRAPPERS = {"data", "examples", "records", "items", "rows", "instances", "samples", "results", "dataset", "train"}
# ... but for these, which hold a part of one record.
_PARTS = {
    *("messages", "conversations", "conversation", "turns", "dialog", "dialogue", "history", "chosen", "rejected"),
    *("input", "output", "prompt", "completion", "tools", "functions", "context", "contexts", "documents"),
}


def wraps(key: str, first: bool) -> bool:
    """Whether a list of objects under this key of the outermost object is the list of records."""
    return key in _WRAPPERS or (first and key not in _PARTS)


@reader("json")
def read_json(file: File, kind: FileKind) -> Iterator[Record]:
    """A record for each item. What is not JSON ends the reading, since nobody knows where the next item starts."""
    with content(file, kind) as (stream, encoding, source):
        window = Window(stream, encoding)
        number = 0
        try:
            for item in _items(window):
                number += 1
                yield _record(file.name, number, item, source.done)
        except Refused as bad:
            yield Record(number + 1, None, bad.problem(file.name, window.line, "line"), end=source.done)


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


def _items(window: Window) -> Iterator[Value]:
    if window.peek() == "[":
        yield from _array(window)
    elif window.peek() == "{":
        while window.peek() == "{":
            yield from _object(window)
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


def _object(window: Window) -> Iterator[Value]:
    """The records under the key that wraps them, or the object itself as one record."""
    window.take("{")
    whole = Value({}, "{")
    first, wrapped = True, False
    while window.peek() != "}":
        if not first:
            window.take(",")
        if window.peek() != '"':
            raise window.refuse("Expecting a name in double quotes")
        key = window.value()
        window.take(":")
        if wraps(key.value, first) and window.at_objects():
            wrapped = True
            yield from _array(window)
        else:
            _add(whole, key, window.value())
            if len(whole.text) > MAX_RECORD_BYTES:
                raise too_long()
        first = False
    window.take("}")
    if not wrapped:
        yield whole


def _add(whole: Value, key: Value, part: Value) -> None:
    members: dict[str, Any] = whole.value
    if key.value in members:
        whole.repeated = key.value
    members[key.value] = part.value
    whole.text += key.text + part.text
    whole.repeated = whole.repeated if whole.repeated is not None else part.repeated
    if not whole.bad:
        bad = key if key.bad else part
        whole.bad, whole.bad_line = bad.bad, bad.bad_line

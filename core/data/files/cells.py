"""What the tables share: the names in their first row, and cells as values that JSON knows."""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections.abc import Sequence
from typing import Any

from core.data.files.model import MAX_NESTING, MAX_RECORD_BYTES
from core.data.files.parsing import Refused, refuse_characters, too_deep, too_long

# A column is not called "I lost my card last week and would like to ...".
_LONGEST_NAME = 100
# A name is repeated in every record and in many a message.
_MAX_NAME = 1_000
# As many as a sheet of Excel has.
MAX_COLUMNS = 16_384
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*")


def header(cells: Sequence[Any]) -> tuple[list[str], list[Refused]]:
    """(names of the columns, what is wrong with them); every column gets a name of its own, so that reading goes on."""
    texts = ["" if cell is None else str(cell).strip() for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    problems: list[Refused] = []
    if len(texts) > MAX_COLUMNS:
        message = f"There are {len(texts):,} columns; a table may have {MAX_COLUMNS:,}."
        remedy = "Check the delimiter, or leave out the columns that you do not need."
        problems.append(Refused("header", message, remedy))
        del texts[MAX_COLUMNS:]
    names: dict[str, None] = {}
    for position, text in enumerate(texts, start=1):
        if len(text) > _MAX_NAME:
            message = f"The name of column {position} has {len(text):,} characters; it may have {_MAX_NAME:,}."
            problems.append(Refused("header", message, "If the table has no names yet, put a row of them on top."))
            text = f"column {position}"
        try:
            refuse_characters(text, f"column {position}")
        except Refused as bad:
            problems.append(bad)
            text = text.encode("utf-8", "replace").decode().replace("\0", "?")
        if not text:
            message = f"Column {position} has no name."
            problems.append(Refused("header", message, "Write a name in the first row, or remove the column."))
        elif text in names:
            message = f'Two columns are called "{text[:40]}".'
            problems.append(Refused("header", message, "Give each column a name of its own.", text[:40]))
        elif len(text) > _LONGEST_NAME or _NUMBER.fullmatch(text):
            message = f'Column {position} is called "{text[:40]}".'
            remedy = "If the table has no names yet, put a row of them on top."
            problems.append(Refused("header", message, remedy, severity="warning"))
        name = text if text and text not in names else f"column {position}"
        while name in names:
            name += "*"
        names[name] = None
    if not texts:
        problems.append(
            Refused("header", "The first row is empty.", "Put the names of the columns into the first row.")
        )
    return list(names), problems


def row(names: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    """One row by column; an empty cell is None. Raises Refused if it has other columns or cannot be kept."""
    filled = len(cells)
    while filled > len(names) and cells[filled - 1] in (None, ""):
        filled -= 1
    if filled > len(names):
        message = f"The row has {filled} cells, the first row names {len(names)}."
        raise Refused("ragged", message, "Name the column, or put quotes around a cell that holds the delimiter.")
    if filled < len(names):
        message = f'The row has {filled} of {len(names)} cells; the first one missing is "{names[filled][:40]}".'
        raise Refused("ragged", message, "Fill in the missing cells, if only with nothing between delimiters.")
    size = 0
    found: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=False):
        value, length = plain(cell, name)
        size += length
        found[name] = None if value == "" else value
    if size > MAX_RECORD_BYTES:
        raise too_long(size)
    return found


def plain(value: Any, field: str, level: int = 0) -> tuple[Any, int]:
    """(a cell's value as JSON knows it, about its size in bytes).

    Dates and times are written as in ISO 8601, bytes are read as UTF-8, a decimal of any precision becomes the nearest
    float, and NaN, which tables write for "nothing", becomes None. Raises Refused.
    """
    if isinstance(value, str):
        if not value.isascii() or "\0" in value:
            refuse_characters(value, field)
        return value, len(value)
    if value is None or isinstance(value, bool | int):
        return value, 1
    if isinstance(value, float | decimal.Decimal):
        return _number(float(value), field), 8
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time() and value.tzinfo is None
        return (value.date() if midnight else value).isoformat(), 32
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat(), 32
    if isinstance(value, datetime.timedelta):
        return str(value), 32
    if isinstance(value, bytes):
        return _text(value, field)
    if level > MAX_NESTING:
        raise too_deep()
    if isinstance(value, dict):
        pairs = {key: plain(inner, f"{field}.{key[:40]}", level + 1) for key, inner in value.items()}
        return {key: inner for key, (inner, _) in pairs.items()}, sum(size for _, size in pairs.values())
    if isinstance(value, list | tuple):
        parts = [plain(inner, f"{field}[{position}]", level + 1) for position, inner in enumerate(value)]
        return [inner for inner, _ in parts], sum(size for _, size in parts)
    message = f'"{field}" holds a value of the type {type(value).__name__}.'
    raise Refused("type", message, "Write it as a text or a number, or leave the column out.", field)


def _number(value: float, field: str) -> float | int | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise Refused("number", f'"{field}" is infinite.', "Use a number or leave the cell empty.", field)
    return value


def _text(value: bytes, field: str) -> tuple[str, int]:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        message = f'"{field}" holds bytes that are no text.'
        raise Refused("type", message, "Write the column as text, or leave it out.", field) from error
    refuse_characters(text, field)
    return text, len(value)

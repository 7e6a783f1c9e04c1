"""One JSON text as a record: what Python's json reads, less what no database, model or other program would take.

orjson is four times as fast, but reads a number of more than 64 bits as another number and drops a repeated key
without a word; Python's own parser does more lines a second than everything after it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal, NoReturn

from core.data.example import Problem
from core.data.files.model import ENCODINGS, MAX_FIELD_CHARACTERS, MAX_NESTING, MAX_RECORD_BYTES

WHITE = " \t\r\n"
# The only escapes that can make half a character or a NUL: a search that is cheap beside parsing.
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))|\\."
)


# What a record's text starts with where people took JSON for something else, and what to do.
_HABITS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("//", "/*", "#"), "Take the comment out: JSON has none."),
    (("'", "\u2018", "\u2019", "\u201c", "\u201d"), 'Put texts into straight double quotes, as in "text".'),
    (("None", "True", "False"), "Write null, true or false."),
    (("\ufeff",), "Remove the byte order mark there, which a file has at its very start if at all."),
)


class Refused(Exception):
    """What is wrong with a record, and what to do. `column` counts from 1; None if unknown."""

    def __init__(
        self,
        code: str,
        message: str,
        remedy: str,
        field: str = "",
        column: int | None = None,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy
        self.field, self.column, self.severity = field, column, severity

    def problem(self, file: str, line: int, unit: Literal["line", "row", "item"]) -> Problem:
        """The same, with its place."""
        field = self.field[:MAX_FIELD_CHARACTERS]
        return Problem(file, line, field, self.code, self.message, self.remedy, self.severity, self.column, unit)


class _Repeated(Exception):
    """A key stands twice in one object."""


def _refuse_constant(name: str) -> NoReturn:
    raise Refused("json", f"{name} is not JSON.", "Use null or a number.")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Refused("number", f"The number {text[:40]} is larger than a program can read.", "Write it as a text.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        raise _Repeated(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return found


_strict = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique)
_lenient = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def decode(text: str, start: int = 0) -> tuple[Any, int, str | None]:
    """(value, where it ends, a key that stands twice) of the JSON at `start`, which is no white space.

    Of a repeated key the last value is kept, as JSON parsers do. Raises Refused, or JSONDecodeError with a position.
    """
    try:
        try:
            return *_strict.raw_decode(text, start), None
        except _Repeated as repeated:
            return *_lenient.raw_decode(text, start), str(repeated)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        remedy = "Write it as a text."
        raise Refused("number", "A number there has more digits than a program can read.", remedy) from error
    except RecursionError as error:
        raise too_deep() from error


def parse_line(text: str) -> tuple[dict[str, Any], str | None]:
    """(record, a key that stands twice) of one line. Raises Refused."""
    value, repeated = _parse(text)
    return as_record(value, text), repeated


def parse_part(text: str) -> Any:
    """The value of a JSON text that stands within a record, as in a cell. Raises Refused."""
    value, _ = _parse(text)
    _refuse_what_text_may_hide(value, text)
    return value


def _parse(text: str) -> tuple[Any, str | None]:
    try:
        value, end, repeated = decode(text, len(text) - len(text.lstrip(WHITE)))
        if text[end:].strip(WHITE):
            end += len(text[end:]) - len(text[end:].lstrip(WHITE))
            raise json.JSONDecodeError("Extra data after the end", text, end)
    except json.JSONDecodeError as error:
        raise syntax(error) from error
    return value, repeated


def syntax(error: json.JSONDecodeError) -> Refused:
    """A JSONDecodeError in our words; the column is within its line."""
    if error.doc[error.pos : error.pos + 1] == "\0":
        return Refused("nul", "There is a NUL character.", "Remove it.", column=error.colno)
    said = error.msg.removesuffix(" starting at").removesuffix(" at")
    return Refused("json", f"This is not JSON: {said}.", _remedy(error), column=error.colno)


def _remedy(error: json.JSONDecodeError) -> str:
    """What people mostly did who wrote this."""
    before, here = error.doc[max(0, error.pos - 99) : error.pos].rstrip(WHITE), error.doc[error.pos : error.pos + 5]
    if error.msg.startswith("Extra data") and here.startswith(("{", "[")):
        return "Put each object on a line of its own, or all of them into one list with commas between them."
    if error.msg.startswith("Invalid control character"):
        return "Write a tab within a text as \\t and a line end as \\n."
    if error.msg.startswith("Unterminated string"):
        return "Close the quotation mark; a line end within a text is written as \\n."
    if before.endswith(",") and here.startswith(("}", "]")):
        return "Remove the comma before the closing bracket."
    for starts, remedy in _HABITS:
        if here.startswith(starts):
            return remedy
    return "Check quotes, commas and brackets there: a record is one complete JSON object."


def as_record(value: Any, text: str) -> dict[str, Any]:
    """The value that `text` was parsed to, if it is an object that can be kept. Raises Refused."""
    if not isinstance(value, dict):
        remedy = 'Write a record as {"name": value, ...}.'
        raise Refused("not_object", f"Expected an object, found {kind_of(value)}.", remedy)
    _refuse_what_text_may_hide(value, text)
    return value


def _refuse_what_text_may_hide(value: Any, text: str) -> None:
    """Look through the value only if its text holds what could be wrong with it."""
    if text.count("{") + text.count("[") > MAX_NESTING or _SUSPECT.search(text):
        column = next((match.start() + 1 for match in _ESCAPE.finditer(text) if match[1]), None)
        refuse_content(value, column)


def refuse_content(value: Any, column: int | None = None, field: str = "", level: int = 1) -> None:
    """Raise Refused if a value nests too deeply or holds a text that cannot be kept."""
    if isinstance(value, str):
        refuse_characters(value, field, column)
    elif isinstance(value, dict | list):
        if level > MAX_NESTING:
            raise too_deep()
        if isinstance(value, list):
            for position, inner in enumerate(value):
                refuse_content(inner, column, f"{field}[{position}]", level + 1)
            return
        for key, inner in value.items():
            name = f"{field}.{shown(key)}".lstrip(".")
            refuse_characters(key, name, column)
            refuse_content(inner, column, name, level + 1)


def refuse_characters(text: str, field: str, column: int | None = None) -> None:
    """Raise Refused if a text holds half a character or a NUL, which neither databases nor models take."""
    if "\0" in text:
        raise Refused("nul", f'"{field}" holds a NUL character.', "Remove it.", field, column)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            remedy = "Replace the broken character (half of a surrogate pair)."
            raise Refused("surrogate", f'"{field}" holds half a character.', remedy, field, column) from error


def too_deep() -> Refused:
    remedy = "Write the content as plain text."
    return Refused("nesting", f"The brackets are nested too deeply (more than {MAX_NESTING} levels).", remedy)


def too_long(size: int = 0) -> Refused:
    """Of a record of `size` bytes; 0 if nobody has read to its end."""
    found = f"{size / 1e6:,.1f} MB long, which is more" if size else "longer"
    message = f"This is {found} than the {MAX_RECORD_BYTES / 1e6:.0f} MB that a record may have."
    remedy = "Split it, or check whether line ends or closing quotes are missing."
    return Refused("too_long", message, remedy)


def bad_byte(byte: int, encoding: str, column: int | None = None) -> Refused:
    """Of a byte that means nothing in the encoding of the file."""
    title = ENCODINGS.get(encoding, encoding).removesuffix(" with BOM")
    if encoding.startswith("utf-16"):
        message = f"There is half a character, which is not {title}."
        return Refused("encoding", message, "Save the file as UTF-8.", "", column)
    remedy = "Save the file as UTF-8, or choose the encoding that it is written in."
    western = "latin-1" if byte >= 0xA0 else "cp1252"
    letter = bytes([byte]).decode(western, "replace")
    if encoding.startswith("utf-8") and letter.isprintable() and letter != "\N{REPLACEMENT CHARACTER}":
        remedy = (
            f'In {ENCODINGS[western]} it is "{letter}": choose that encoding if the whole file is written in it, '
            "or save the file as UTF-8."
        )
    return Refused("encoding", f"Byte 0x{byte:02X} is not {title}.", remedy, "", column)


def repeated_key(key: str) -> Refused:
    """A warning."""
    name = shown(key)
    message = f'The key "{name}" stands twice in one object; the last one counts.'
    return Refused("duplicate_key", message, "Remove the other.", name, severity="warning")


def shown(key: str) -> str:
    """As much of a key as a message takes, without the half characters that no message could be written with."""
    return key[:40].encode("utf-8", "replace").decode()


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")

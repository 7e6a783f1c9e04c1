"""A moving window over a long JSON text, from which one value after the other is taken."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import Any, BinaryIO

from core.data.files.model import MAX_RECORD_BYTES
from core.data.files.parsing import Refused, bad_byte, decode, syntax, too_long
from core.data.files.stream import CHUNK_BYTES

_SPACE = re.compile(r"[ \t\r\n]*")
_OBJECTS = re.compile(r"\[[ \t\r\n]*\{")
# A literal that the end of the window cuts off ("-Infini") fails at most this far before that end.
_LITERAL = len("-Infinity")


@dataclass
class Value:
    """A parsed value and its text; `repeated` is a key that stands twice in it, `bad` a byte of it that is no text."""

    value: Any
    text: str
    repeated: str | None = None
    bad: Refused | None = None
    bad_line: int = 0


class Window:
    """The text around the current place; whatever it refuses is refused with the line and the column in the file."""

    def __init__(self, stream: BinaryIO, encoding: str, written: str) -> None:
        self._written = written  # The encoding of the file, of which UTF-16 arrives as UTF-8.
        # Bytes that are no characters come through as half characters, which no text holds, and are found by these.
        self._reader = io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="")
        self._text, self._at, self._ended = "", 0, False
        self._line, self._column = 1, 0  # Of the window's first character; the column counts from 0.

    @property
    def line(self) -> int:
        """The line of the current place, from 1."""
        return self._place(self._at)[0]

    def peek(self) -> str:
        """The next character that is no white space, or "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def take(self, character: str) -> None:
        """Step over this character. Raises Refused if another one is next."""
        if self.peek() != character:
            raise self.refuse(f"Expecting '{character}'")
        self._at += 1

    def at_objects(self) -> bool:
        """Whether a list of objects is next."""
        if self.peek() == "[" and len(self._text) - self._at < CHUNK_BYTES:
            self._grow()
        return bool(_OBJECTS.match(self._text, self._at))

    def value(self) -> Value:
        """Step over the next value. Raises Refused if that is no JSON, or longer than a record may be."""
        self.peek()
        while True:
            try:
                value, end, repeated = decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _LITERAL
                if cut_off and self._grow():
                    continue
                if cut_off and not self._ended:
                    raise too_long() from error
                raise self._placed(error) from error
            if end == len(self._text) and self._grow():
                continue
            break
        text = self._text[self._at : end]
        found = Value(value, text, repeated)
        if not text.isascii():
            self._find_bad_byte(found)
        self._at = end
        return found

    def refuse(self, what: str) -> Refused:
        """The problem that something else was expected at the current place."""
        return self._placed(json.JSONDecodeError(what, self._text, self._at))

    def _find_bad_byte(self, found: Value) -> None:
        try:
            found.text.encode()
        except UnicodeEncodeError as error:
            found.bad_line, column = self._place(self._at + error.start)
            found.bad = bad_byte(ord(found.text[error.start]) & 0xFF, self._written, column)

    def _placed(self, error: json.JSONDecodeError) -> Refused:
        self._at = error.pos
        refused = syntax(error)
        refused.column = self._place(error.pos)[1]
        return refused

    def _place(self, position: int) -> tuple[int, int]:
        """(line, column) in the file of a position in the window, both from 1."""
        breaks = self._text.count("\n", 0, position)
        if not breaks:
            return self._line, self._column + position + 1
        return self._line + breaks, position - self._text.rfind("\n", 0, position)

    def _grow(self) -> bool:
        """Read on, as much again as is waiting, and forget what lies behind; False at the end or at the limit."""
        waiting = len(self._text) - self._at
        if self._ended or waiting > MAX_RECORD_BYTES:
            return False
        more = self._reader.read(min(max(CHUNK_BYTES, waiting), MAX_RECORD_BYTES + 1))
        self._ended = not more
        if more:
            self._line, column = self._place(self._at)
            self._column = column - 1
            self._text, self._at = self._text[self._at :] + more, 0
        return not self._ended

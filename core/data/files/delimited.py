"""CSV and TSV: a row of names, then a record a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TextIO

from core.data.example import Problem
from core.data.files.cells import header, row
from core.data.files.model import MAX_RECORD_BYTES, File, FileKind, Record, reader
from core.data.files.parsing import Refused, bad_byte, too_long
from core.data.files.stream import content

# For the whole process; the library's own limit would refuse a context of 128 KiB.
csv.field_size_limit(MAX_RECORD_BYTES)


@reader("csv", "tsv")
def read_delimited(file: File, kind: FileKind) -> Iterator[Record]:
    """A record for each row below the names; a row that cannot be read costs no other."""
    with content(file, kind) as (stream, encoding, source):
        # Bytes that are no characters come through as half characters, and are found by these.
        text = io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="")
        lines = _Lines(text, file.name, kind.encoding)
        rows = csv.reader(lines, delimiter=kind.delimiter, strict=True)
        names: list[str] = []
        number = 0
        while True:
            number += 1
            first = lines.start_row()
            try:
                cells = next(rows)
                if lines.bad_byte:
                    yield Record(number, None, lines.bad_byte, end=source.done)
                if not names and any(cells):
                    names, problems = header(cells)
                    for refused in problems:
                        yield Record(0, None, refused.problem(file.name, number, "row"), end=source.done)
                elif any(cells) and not lines.bad_byte:
                    yield Record(number, row(names, cells), end=source.done)
            except StopIteration:
                return
            except Refused as bad:
                yield Record(number, None, bad.problem(file.name, number, "row"), end=source.done)
            except csv.Error as error:
                yield Record(number, None, _in_words(error, first).problem(file.name, number, "row"), end=source.done)


def _in_words(error: csv.Error, first: int) -> Refused:
    """`first` is the line of text on which the row starts."""
    if "field larger" in str(error):
        return too_long()
    if "end of data" in str(error):
        message = f"A quotation mark that is opened in this row, from line {first} on, is never closed."
        return Refused("quotes", message, "Close it; a quotation mark within a cell is written twice.")
    message = f"A quotation mark stands in the middle of a cell, on line {first} or after."
    return Refused("quotes", message, "Write a quotation mark within a cell twice, and quotes around the cell.")


class _Lines:
    """The lines of a text as long as a row stays within the limit, the bytes of it that are no text being noted.

    `bad_byte` is the first such byte of the row.
    """

    def __init__(self, text: TextIO, name: str, encoding: str) -> None:
        self._text, self._name, self._encoding = text, name, encoding
        self._number = self._size = 0
        self.bad_byte: Problem | None = None

    def start_row(self) -> int:
        """Count a new row from here; returns the line that it starts on."""
        self._size, self.bad_byte = 0, None
        return self._number + 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = part = self._text.readline(MAX_RECORD_BYTES + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self._size += len(line)
        while len(part) > MAX_RECORD_BYTES and not part.endswith(("\n", "\r")):
            part = self._text.readline(MAX_RECORD_BYTES + 1)
            self._size += len(part)
        if self._size > MAX_RECORD_BYTES:
            raise too_long(self._size)
        if not line.isascii():
            self._note_bad_byte(line)
        return line

    def _note_bad_byte(self, line: str) -> None:
        try:
            line.encode()
        except UnicodeEncodeError as error:
            bad = bad_byte(ord(line[error.start]) & 0xFF, self._encoding, error.start + 1)
            self.bad_byte = self.bad_byte or bad.problem(self._name, self._number, "line")

"""What a file of records is, how it is written, and the limits that keep reading it within bounds."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from core.data.example import Problem

Container = Literal["jsonl", "json", "csv", "tsv", "parquet", "excel"]

CONTAINERS: dict[str, str] = {
    "jsonl": "JSON lines",
    "json": "JSON",
    "csv": "CSV",
    "tsv": "TSV",
    "parquet": "Parquet",
    "excel": "Excel",
}
TEXT_CONTAINERS = ("jsonl", "json", "csv", "tsv")
ENCODINGS: dict[str, str] = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8 with BOM",
    "utf-16-le": "UTF-16 LE",
    "utf-16-be": "UTF-16 BE",
    "cp1252": "Windows-1252",
    "latin-1": "Latin-1",
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
    "cp932": "Shift JIS",
    "gb18030": "GB 18030",
    "big5": "Big5",
    "cp949": "Korean (EUC-KR)",
}
DELIMITERS: dict[str, str] = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

# A context of 128,000 tokens is about half a megabyte of text; twenty of them are still no training example.
MAX_RECORD_BYTES = 10_000_000
# Four times the largest file we promise to read; text that unpacks to more is a mistake or an attack.
MAX_UNPACKED_BYTES = 4 * 2**30
# Text compresses 3 to 30 times, a log of one repeated line about 150 times, a bomb 1,000 times. The ratio counts only
# beyond what does no harm.
MAX_RATIO = 200
HARMLESS_BYTES = 64 * 2**20
# Tool schemas nest about ten levels. Far enough below Python's recursion limit that whoever handles the value later,
# with a few calls a level, does not meet it.
MAX_NESTING = 100
# Of a field's name in a problem; a key may have megabytes.
MAX_FIELD_CHARACTERS = 200


@dataclass(frozen=True)
class File:
    """An upload or a file on disk: its name, for messages only, and its bytes or where they are."""

    name: str
    data: bytes = field(default=b"", repr=False)
    path: Path | None = None

    @property
    def size(self) -> int:
        """Bytes, as stored (packed, if it is packed)."""
        return self.path.stat().st_size if self.path else len(self.data)

    def open(self) -> BinaryIO:
        """A new stream at the first byte."""
        return self.path.open("rb") if self.path else io.BytesIO(self.data)


@dataclass(frozen=True)
class FileKind:
    """How a file holds its records; `encoding` and `delimiter` mean nothing to containers that have none.

    `sheet` is the name of an Excel sheet, or empty for the first.
    """

    container: Container
    gzip: bool = False
    encoding: str = "utf-8"
    delimiter: str = ","
    sheet: str = ""

    @property
    def title(self) -> str:
        """For people: "JSON lines, UTF-8, gzip"."""
        parts = [CONTAINERS[self.container]]
        if self.container in TEXT_CONTAINERS:
            parts.append(ENCODINGS.get(self.encoding, self.encoding))
        if self.container == "csv" and self.delimiter != ",":
            parts.append(DELIMITERS.get(self.delimiter, self.delimiter))
        return ", ".join([*parts, *([f'sheet "{self.sheet}"'] if self.sheet else []), *(["gzip"] * self.gzip)])

    @property
    def unit(self) -> Literal["line", "row", "item"]:
        """What `Record.line` counts, from 1. The rows of a spreadsheet count from the
        first one, names and blank rows included; those of Parquet are its records."""
        if self.container == "jsonl":
            return "line"
        return "item" if self.container == "json" else "row"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file, or why there is none.

    `value` is None when the problem is an error; a warning stands beside the value. What concerns no one record, such
    as the names of a table, is a Record of line 0 with nothing but a problem. `raw` is the text of a JSON line that
    could not be parsed. `end` is how many bytes of the file have been used so far, in steps of the size of a buffer.
    """

    line: int
    value: dict[str, Any] | None
    problem: Problem | None = None
    raw: str = ""
    end: int = 0


Reader = Callable[[File, FileKind], Iterator[Record]]
READERS: dict[str, Reader] = {}


def reader(*containers: Container) -> Callable[[Reader], Reader]:
    """Register the reader of containers."""

    def register(read: Reader) -> Reader:
        READERS.update(dict.fromkeys(containers, read))
        return read

    return register

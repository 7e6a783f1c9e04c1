"""JSON lines: one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from core.data.files.model import MAX_RECORD_BYTES, File, FileKind, Record, reader
from core.data.files.parsing import Refused, bad_byte, parse_line, repeated_key, too_long
from core.data.files.stream import content


@reader("jsonl")
def read_json_lines(file: File, kind: FileKind) -> Iterator[Record]:
    """A record for each line that is not blank. A line that cannot be read costs no other."""
    with content(file, kind) as (stream, encoding, source):
        for number, (line, size) in enumerate(_lines(stream), start=1):
            if size <= MAX_RECORD_BYTES and line.isspace():
                continue
            text = ""
            try:
                if size > MAX_RECORD_BYTES:
                    raise too_long(size)
                text = _decoded(line, encoding, kind.encoding)
                value, repeated = parse_line(text)
            except Refused as bad:
                yield Record(number, None, bad.problem(file.name, number, "line"), text, source.done)
                continue
            problem = repeated_key(repeated).problem(file.name, number, "line") if repeated is not None else None
            yield Record(number, value, problem, end=source.done)


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """(line, its bytes); of a line beyond the limit only the start is kept."""
    while line := stream.readline(MAX_RECORD_BYTES + 1):
        size, part = len(line), line
        while size > MAX_RECORD_BYTES and part and not part.endswith(b"\n"):
            part = stream.readline(MAX_RECORD_BYTES)
            size += len(part)
        yield line, size


def _decoded(line: bytes, encoding: str, written: str) -> str:
    """The text of a line; `written` is the encoding of the file, of which UTF-16 arrives as UTF-8."""
    try:
        return line.rstrip(b"\r\n").decode(encoding)
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode(encoding, "replace")) + 1
        raise bad_byte(line[error.start], written, column) from error

"""Parquet: a record a row, read in a process of its own (columns.py)."""

from __future__ import annotations

from collections.abc import Iterator

from core.data.files.cells import header
from core.data.files.child import answers
from core.data.files.model import File, FileKind, Record, reader
from core.data.files.parsing import Refused


@reader("parquet")
def read_parquet(file: File, kind: FileKind) -> Iterator[Record]:
    """A record for each row; row 1 is the first, since the names of the columns stand elsewhere."""
    module, refusal = "core.data.files.columns", "is no readable Parquet file"
    lines = answers(file, kind.gzip, module, refusal=refusal, remedy="Write the file again.")
    size, (rows, columns) = file.size, next(lines, (0, []))
    for bad in header(columns)[1]:
        yield Record(0, None, bad.problem(file.name, 0, "row"))
    for number, (value, refused) in enumerate(lines, start=1):
        end = min(size, size * number // rows)
        problem = Refused(*refused).problem(file.name, number, "row") if refused else None
        yield Record(number, value, problem, end=end)

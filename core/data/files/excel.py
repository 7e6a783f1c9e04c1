"""Excel: a row of names on a sheet, then a record a row.

openpyxl could stream in this process, but takes 25 times as long as calamine does in one of its own (workbook.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.data.files.cells import header, row
from core.data.files.child import answers
from core.data.files.model import File, FileKind, Record, reader
from core.data.files.parsing import Refused


@reader("excel")
def read_excel(file: File, kind: FileKind) -> Iterator[Record]:
    """A record for each row below the first row that is not empty, which holds the names."""
    names: list[str] = []
    size = file.size
    lines = _answers(file, kind, "rows")
    rows = next(lines, 0)
    for number, cells in enumerate(lines, start=1):
        end = min(size, size * number // rows)
        if not any(cell not in (None, "") for cell in cells):
            continue
        if not names:
            names, problems = header(cells)
            for bad in problems:
                yield Record(0, None, bad.problem(file.name, number, "row"), end=end)
            continue
        try:
            yield Record(number, row(names, cells), end=end)
        except Refused as bad:
            yield Record(number, None, bad.problem(file.name, number, "row"), end=end)


def sheets(file: File, kind: FileKind) -> list[str]:
    """The names of an Excel file's sheets, in order. Raises UserError if it cannot be opened."""
    return list(_answers(file, kind, "sheets"))


def _answers(file: File, kind: FileKind, question: str) -> Iterator[Any]:
    module, remedy = "core.data.files.workbook", "Save the sheet as CSV, or as a new workbook."
    return answers(file, kind.gzip, module, question, kind.sheet, refusal="cannot be opened", remedy=remedy)

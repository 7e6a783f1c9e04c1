"""Excel: a row of names on a sheet, then a record a row.

The workbook is opened in a process of its own (workbook.py), whose memory and time are limited: a few kilobytes can
unpack to more than the machine has. openpyxl could stream in this process, but takes 25 times as long.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from core.data.files.cells import header, row
from core.data.files.model import File, FileKind, Record, reader
from core.data.files.parsing import Refused
from core.data.files.stream import CHUNK_BYTES, Source
from core.errors import UserError
from core.settings import REPOSITORY


@reader("excel")
def read_excel(file: File, kind: FileKind) -> Iterator[Record]:
    """A record for each row below the first row that is not empty, which holds the names."""
    names: list[str] = []
    rows, size = 0, file.size
    for number, line in enumerate(_answer(file, kind, "rows")):
        if not number:
            rows = json.loads(line)
            continue
        cells = json.loads(line)
        end = min(size, size * number // rows)
        if not any(cell not in (None, "") for cell in cells):
            continue
        if not names:
            names, problems = header(cells)
            for bad in problems:
                yield Record(number, None, bad.problem(file.name, number, "row"), end=end)
            continue
        try:
            yield Record(number, row(names, cells), end=end)
        except Refused as bad:
            yield Record(number, None, bad.problem(file.name, number, "row"), end=end)


def sheets(file: File, kind: FileKind) -> list[str]:
    """The names of an Excel file's sheets, in order. Raises UserError if it cannot be opened."""
    return [json.loads(line) for line in _answer(file, kind, "sheets")]


def _answer(file: File, kind: FileKind, question: str) -> Iterator[bytes]:
    """The lines that workbook.py prints. Raises UserError for what it refuses, or if it had to be stopped."""
    command = [sys.executable, "-m", "core.data.files.workbook", question, kind.sheet]
    with _on_disk(file, kind.gzip) as stream, tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdin=stream, stdout=subprocess.PIPE, stderr=said, cwd=REPOSITORY)
        assert child.stdout
        try:
            yield from child.stdout
            status = child.wait()
        finally:
            child.stdout.close()
            child.kill()
            child.wait()
        if status:
            said.seek(0)
            reason = said.read().decode(errors="replace").strip().splitlines()[-1:] if status == 1 else []
            what = reason[0] if reason else "it takes more memory or time than a workbook may"
            raise UserError(f"{file.name} cannot be opened: {what}.", "Save the sheet as CSV, or as a new workbook.")


@contextmanager
def _on_disk(file: File, packed: bool) -> Iterator[IO[bytes]]:
    """The unpacked content as a file that another process can read."""
    if file.path and not packed:
        with file.path.open("rb") as stream:
            yield stream
        return
    with Source(file, packed) as source, tempfile.TemporaryFile() as copy:
        while data := source.read(CHUNK_BYTES):
            copy.write(data)
        copy.seek(0)
        yield copy

"""The process that opens one workbook, for excel.py: `python -m core.data.files.workbook rows|sheets [SHEET]`.

Reads the workbook from standard input. Prints JSON lines: the names of the sheets, or the number of rows and each row.
What goes wrong is the last line of standard error, with exit status 1.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

from core.data.files.cells import plain

# A million rows of four short columns, nearly a full sheet, take 0.4 GB and 16 s.
MEMORY_BYTES = 2**30
SECONDS = 120


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    from python_calamine import CalamineError, CalamineWorkbook, WorksheetNotFound

    question, sheet = sys.argv[1:]
    try:
        workbook = CalamineWorkbook.from_filelike(sys.stdin.buffer)
        if question == "sheets":
            lines: Any = workbook.sheet_names
        else:
            table = workbook.get_sheet_by_name(sheet) if sheet else workbook.get_sheet_by_index(0)
            lines = table.iter_rows()
            _say(table.end[0] + 1 if table.end else 0)
        for line in lines:
            _say(line if question == "sheets" else [_cell(cell) for cell in line])
    except WorksheetNotFound:
        sys.exit(f'it has no sheet "{sheet}"')
    except (CalamineError, OSError, ValueError) as error:
        sys.exit(str(error).partition("\n")[0][:200].rstrip(".") or type(error).__name__)


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=_written) + "\n")


def _cell(value: Any) -> Any:
    """A workbook knows one kind of number; whole ones are meant as such."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _written(value: Any) -> Any:
    return plain(value, "")[0]


if __name__ == "__main__":
    main()

"""The process that opens one workbook, for excel.py: `python -m core.data.files.workbook rows|sheets [SHEET]`.

Reads the workbook from standard input. Prints JSON lines: the names of the sheets, or the number of rows and each row.
What goes wrong is the last line of standard error, with exit status 1.
"""

from __future__ import annotations

import sys
from typing import Any

from core.data.files.cells import plain
from core.data.files.child import limit, refuse, say


def main() -> None:
    limit()
    from python_calamine import CalamineError, CalamineWorkbook, WorksheetNotFound

    question, sheet = sys.argv[1:]
    try:
        workbook = CalamineWorkbook.from_filelike(sys.stdin.buffer)
        if question == "sheets":
            lines: Any = workbook.sheet_names
        else:
            table = workbook.get_sheet_by_name(sheet) if sheet else workbook.get_sheet_by_index(0)
            lines = table.iter_rows()
            say(table.end[0] + 1 if table.end else 0)
        for line in lines:
            say(line if question == "sheets" else [_cell(cell) for cell in line], _written)
    except WorksheetNotFound:
        sys.exit(f'it has no sheet "{sheet}"')
    except (CalamineError, OSError, ValueError) as error:
        refuse(error)


def _cell(value: Any) -> Any:
    """A workbook knows one kind of number; whole ones are meant as such."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _written(value: Any) -> Any:
    return plain(value, "")[0]


if __name__ == "__main__":
    main()

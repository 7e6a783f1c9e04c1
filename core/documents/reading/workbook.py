"""Excel workbooks: a section for each sheet."""

from __future__ import annotations

import io
import re
from typing import Any

from core.documents.reading.document import Extracted, reader
from core.documents.reading.tables import paragraphs


@reader(".xlsx", looks="xlsx")
def workbook(data: bytes) -> Extracted:
    """The shown values (not the formulas) of every sheet with any, a paragraph for each row."""
    from python_calamine import CalamineWorkbook

    book = CalamineWorkbook.from_filelike(io.BytesIO(data))
    sections = []
    for name in book.sheet_names:
        rows = ([_shown(cell) for cell in row] for row in book.get_sheet_by_name(name).iter_rows())
        body = "\n\n".join(paragraphs(rows))
        if body:
            # "# of items" is a column, not a heading.
            sections.append(f"## {' '.join(name.split())}\n\n" + re.sub(r"^#", r"\\#", body, flags=re.MULTILINE))
    return Extracted("\n\n".join(sections))


def _shown(cell: Any) -> str:
    """As a person would write it: 5 rather than 5.0, and a date without a midnight."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return " ".join(str(cell).removesuffix(" 00:00:00").split())

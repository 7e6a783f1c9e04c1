"""CSV files, and how the rows of any table become text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from core.documents.reading.document import Extracted, reader
from core.documents.reading.encodings import decode
from core.errors import UserError


@reader(".csv", ".tsv", looks="text", risky=False, markdown=False)
def csv_rows(data: bytes) -> Extracted:
    """A paragraph for each row; the first row names the columns."""
    text, encoding = decode(data)
    try:
        delimiter = csv.Sniffer().sniff(text[:20_000], delimiters=",;\t|").delimiter
    except csv.Error:
        delimiter = ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        body = "\n\n".join(paragraphs(rows))
    except csv.Error as error:
        raise UserError(
            f"line {rows.line_num}: {error}.", "Check the quotation marks from there on, or save the table anew."
        ) from error
    return Extracted(body, meta={} if encoding == "utf-8" else {"encoding": encoding})


def paragraphs(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Each row below the first as lines "column: value", without its empty cells.

    A passage of a table is then understood without the table's head, which another passage may hold.
    """
    columns: Sequence[str] | None = None
    for row in rows:
        cells = [re.sub(r"\n\s*", "\n", cell.strip()) for cell in row]
        if not any(cells):
            continue
        if columns is None:
            columns = cells
            continue
        names = [*columns, *(f"column {n + 1}" for n in range(len(columns), len(cells)))]
        yield "\n".join(f"{name}: {cell}" if name else cell for name, cell in zip(names, cells, strict=False) if cell)

"""CSV files, and how the rows of any table become text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from core.documents.reading.document import Extracted, check_length, reader
from core.documents.reading.encodings import decode
from core.errors import UserError

# A name is said again in every row; a longer one is no name.
LONGEST_NAME = 200


@reader(".csv", ".tsv", looks="text", risky=False, markdown=False)
def csv_rows(data: bytes) -> Extracted:
    """A paragraph for each row; the first row names the columns."""
    text, encoding = decode(data)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        body = "\n\n".join(paragraphs(rows))
    except csv.Error as error:
        raise UserError(
            f"line {rows.line_num}: {error}.", "Check the quotation marks from there on, or save the table anew."
        ) from error
    return Extracted(body, meta={} if encoding == "utf-8" else {"encoding": encoding})


def paragraphs(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Each row below the first as lines "column: value", without its empty cells.

    A passage of a table is then understood without the table's head, which another passage may hold. Raises UserError
    where the names, said again in every row, make more text than a document may have.
    """
    columns: Sequence[str] | None = None
    length = 0
    for row in rows:
        cells = [re.sub(r"\n\s*", "\n", cell.strip()) for cell in row]
        if not any(cells):
            continue
        if columns is None:
            columns = [cell[:LONGEST_NAME] for cell in cells]
            continue
        lines = []
        for number, cell in enumerate(cells):
            name = columns[number] if number < len(columns) else f"column {number + 1}"
            if cell:
                lines.append(f"{name}: {cell}" if name else cell)
                length += len(lines[-1])
        check_length(length)
        yield "\n".join(lines)


def _delimiter(text: str) -> str:
    """The one that the first rows have equally often; the standard library's guess takes seconds on mere quotes."""
    rows = [row for row in re.sub(r'"[^"]*"', "", text[:20_000]).splitlines() if row.strip()][:20]

    def fits(delimiter: str) -> tuple[bool, int, int]:
        counts = [row.count(delimiter) for row in rows]
        return counts[:1] > [0], -len(set(counts)), sum(counts)

    return max(",;\t|", key=fits)

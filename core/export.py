"""Tables to take away."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

# A cell that begins with one of these is run as a formula by spreadsheet programs (OWASP, CSV injection).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def safe_cell(value: Any) -> Any:
    """Texts that a spreadsheet would run get a leading apostrophe; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def safe_csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as CSV for spreadsheets, UTF-8 with the mark that Excel wants; the first row names the columns."""
    listed = list(rows)
    out = io.StringIO(newline="")
    if listed:
        writer = csv.DictWriter(out, fieldnames=[safe_cell(name) for name in listed[0]])
        writer.writeheader()
        writer.writerows({safe_cell(k): safe_cell(v) for k, v in row.items()} for row in listed)
    return out.getvalue().encode("utf-8-sig")

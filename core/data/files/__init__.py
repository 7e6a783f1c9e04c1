"""A file as a stream of records, whatever it is written in: JSON lines, JSON, CSV, TSV, Parquet, Excel, plain or gzip.

`detect_kind` looks at the content first and at the name second; `records` reads with bounded memory, and says of each
record that cannot be read where it is, what is wrong and what to do. Each container has a module of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.data.files import delimited, excel, json_lines, json_whole, parquet
from core.data.files.detect import detect_kind
from core.data.files.excel import sheets
from core.data.files.model import (
    CONTAINERS,
    DELIMITERS,
    ENCODINGS,
    MAX_NESTING,
    MAX_RECORD_BYTES,
    MAX_UNPACKED_BYTES,
    READERS,
    File,
    FileKind,
    Record,
)

# Importing a module registers its reader.
_MODULES = (delimited, excel, json_lines, json_whole, parquet)

__all__ = [
    "CONTAINERS",
    "DELIMITERS",
    "ENCODINGS",
    "MAX_NESTING",
    "MAX_RECORD_BYTES",
    "MAX_UNPACKED_BYTES",
    "File",
    "FileKind",
    "Record",
    "detect_kind",
    "records",
    "sheets",
]


def records(file: File, kind: FileKind) -> Iterator[Record]:
    """Every record in order. Raises UserError only if the file breaks as a whole (cut off, corrupt, a bomb)."""
    return READERS[kind.container](file, kind)

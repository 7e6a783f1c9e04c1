"""Parquet: a record a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.data.files.cells import header, row
from core.data.files.model import (
    HARMLESS_BYTES,
    MAX_RATIO,
    MAX_RECORD_BYTES,
    MAX_UNPACKED_BYTES,
    File,
    FileKind,
    Record,
    reader,
)
from core.data.files.parsing import Refused
from core.data.files.stream import seekable
from core.errors import UserError

# Rows at a time: few, since a value may stand in the file once and in every row of
# a batch; eight of the longest that we take still fit into memory.
_BATCH_ROWS = 8


@reader("parquet")
def read_parquet(file: File, kind: FileKind) -> Iterator[Record]:
    """A record for each row; row 1 is the first, since the names of the columns stand elsewhere."""
    import pyarrow
    from pyarrow import parquet

    with seekable(file, kind.gzip) as stream:
        try:
            # Not the whole of a row group at once, which may be the whole file.
            table = parquet.ParquetFile(stream, buffer_size=2**20, pre_buffer=False)
            _refuse_bomb(file.name, table.metadata)
            names, problems = header(table.schema_arrow.names)
            for bad in problems:
                yield Record(1, None, bad.problem(file.name, 1, "row"))
            number, rows, size = 0, table.metadata.num_rows, file.size
            for batch in table.iter_batches(_BATCH_ROWS, use_threads=False):
                columns = [column.to_pylist() for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield _record(file, number, names, cells, min(size, size * number // rows))
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
            said = str(error).partition("\n")[0][:200].rstrip(".")
            raise UserError(f"{file.name} is no readable Parquet file: {said}.", "Write the file again.") from error


def _record(file: File, number: int, names: list[str], cells: tuple[Any, ...], end: int) -> Record:
    try:
        return Record(number, row(names, cells), end=end)
    except Refused as bad:
        return Record(number, None, bad.problem(file.name, number, "row"), end=end)


def _refuse_bomb(name: str, metadata: Any) -> None:
    """Raise UserError if a part of the file unpacks to more than any real data would."""
    total = 0
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            unpacked, packed = chunk.total_uncompressed_size, chunk.total_compressed_size
            total += unpacked
            most = min(packed * MAX_RATIO, chunk.num_values * MAX_RECORD_BYTES)
            if unpacked > max(HARMLESS_BYTES, most) or total > MAX_UNPACKED_BYTES:
                message = f"{name} unpacks to more than {max(unpacked, total) // 2**20:,} MiB."
                raise UserError(message, "Give the data in smaller files.")

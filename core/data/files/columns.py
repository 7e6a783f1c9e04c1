"""The process that reads one Parquet file, for parquet.py: `python -m core.data.files.columns`.

Reads the file from standard input. Prints JSON lines: the number of rows with the names of the columns, and for each
row [record, null] or [null, what is wrong with it]. What goes wrong with the file is the last line of standard error,
with exit status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any

from core.data.files.cells import header, row
from core.data.files.child import limit, refuse, say
from core.data.files.model import HARMLESS_BYTES, MAX_RATIO, MAX_RECORD_BYTES, MAX_UNPACKED_BYTES
from core.data.files.parsing import Refused

# Rows at a time: few, since a value may stand in the file once and in every row of
# a batch; eight of the longest that we take still fit into memory.
_BATCH_ROWS = 8
# Of each column; not the whole of a row group at once, which may be the whole file.
_BUFFER_BYTES = 2**16


def main() -> None:
    limit()
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(sys.stdin.buffer, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        _refuse_bomb(table.metadata)
        columns = table.schema_arrow.names
        say([table.metadata.num_rows, columns])
        names, _ = header(columns)
        for batch in table.iter_batches(_BATCH_ROWS, use_threads=False):
            for cells in _rows(batch):
                say(_record(names, cells))
    except MemoryError:  # Arrow's own, too: a list of a billion equal numbers is nothing in the file.
        sys.exit("its rows take more memory than they may")
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        refuse(error)


def _record(names: list[str], cells: tuple[Any, ...] | Refused) -> tuple[Any, Any]:
    try:
        if isinstance(cells, Refused):
            raise cells
        return row(names, cells), None
    except Refused as bad:
        return None, (bad.code, bad.message, bad.remedy, bad.field)


def _rows(batch: Any) -> Iterator[tuple[Any, ...] | Refused]:
    """The cells of each row, or why Python cannot hold them."""
    try:
        return zip(*[column.to_pylist() for column in batch.columns], strict=True)
    except (ValueError, OverflowError) as error:  # A date beyond the year 9999, for one.
        if batch.num_rows == 1:
            message = f"A value of the row cannot be read: {str(error)[:200].rstrip('.')}."
            return iter([Refused("type", message, "Write the column as text, or leave it out.")])
    return chain.from_iterable(_rows(batch.slice(position, 1)) for position in range(batch.num_rows))


def _refuse_bomb(metadata: Any) -> None:
    """End the process if a part of the file unpacks to more than any real data would."""
    total = 0
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            unpacked, packed = chunk.total_uncompressed_size, chunk.total_compressed_size
            total += unpacked
            most = min(packed * MAX_RATIO, chunk.num_values * MAX_RECORD_BYTES)
            if unpacked > max(HARMLESS_BYTES, most) or total > MAX_UNPACKED_BYTES:
                sys.exit(f"it unpacks to more than {max(unpacked, total) // 2**20:,} MiB")


if __name__ == "__main__":
    main()

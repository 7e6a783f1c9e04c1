"""Writing a dataset: in batches, beside everyone else who writes, and seen by nobody until the last one is in.

A dataset that is being filled carries a sign of life, renewed with every batch. Whoever finds one that has been silent
for long takes it over and erases it: its import was killed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import delete, insert, select, tuple_, update
from sqlalchemy.exc import SQLAlchemyError

from core.data.example import Example
from core.errors import UserError
from core.store.database import session
from core.store.tables import Dataset
from core.store.tables import Example as ExampleRow

# A batch is written in about a tenth of a second: nobody else can write meanwhile, and running jobs want to.
ROWS_PER_WRITE = 2_000
BYTES_PER_WRITE = 4_000_000
ROWS_PER_READ = 500
# What a search looks through in one row. Longer examples exist, and reading all of a million of them takes minutes.
MAX_FOLDED = 20_000
# The slowest batch is far quicker, and so is the longest pause between two.
SILENT_S = 600.0

# Where a row is that a person took out: kept, shown on demand, and no part of the data.
REMOVED = "removed"
CONTENT = ("messages", "reference", "group", "label", "context", "tools", "calls")
_MODULUS = 2**256


def columns(example: Example) -> dict[str, Any]:
    """The columns that hold an example's content."""
    return {**vars(example), "messages": list(example.messages)}


def example_of(row: ExampleRow) -> Example:
    return Example(tuple(row.messages), row.reference, row.group, row.label, row.context, row.tools, row.calls)


def canonical(split: str, position: int, content: dict[str, Any]) -> bytes:
    """A row as the one JSON text that stands for it."""
    return json.dumps([split, position, {name: content[name] for name in CONTENT}], sort_keys=True).encode()


def row_hash(canonical_row: bytes) -> int:
    """SHA-256 of a row's canonical JSON, as a number."""
    return int.from_bytes(hashlib.sha256(canonical_row).digest(), "big")


def content_hash(total: int) -> str:
    """The hash of a dataset whose rows' hashes add up to `total`: that sum modulo 2^256, as 64 hexadecimal digits.

    A sum can be brought up to date when one row of a million changes, and does not care how rows were batched. Nothing
    is lost by it, as each row's hash covers its split and position too. It tells data apart that differ by accident or
    by editing; against somebody who searches for two datasets of one hash it is weaker than SHA-256.
    """
    return f"{total % _MODULUS:064x}"


def folded(content: dict[str, Any]) -> str:
    """What a search looks through: the texts in folded case, as far as a search reads."""
    texts = [*(turn["content"] for turn in content["messages"]), content["reference"], content["label"] or ""]
    return "\n".join(texts).casefold()[:MAX_FOLDED]


def rows_of(dataset_id: int, split: str) -> Iterator[ExampleRow]:
    """The rows of one split in order, a few at a time: no transaction stays open while the caller works on them."""
    query = select(ExampleRow).where(ExampleRow.dataset_id == dataset_id, ExampleRow.split == split)
    query = query.order_by(ExampleRow.position, ExampleRow.id).limit(ROWS_PER_READ)
    last = (-1, 0)
    while True:
        with session(read_only=True) as db:
            rows = list(db.scalars(query.where(tuple_(ExampleRow.position, ExampleRow.id) > last)))
        if not rows:
            return
        yield from rows
        last = rows[-1].position, rows[-1].id


class Filling:
    """A dataset while it is filled; `add` is to be called in the order of the positions of each split."""

    def __init__(self, dataset: Dataset, alive: float) -> None:
        self.dataset = dataset
        self._alive = alive
        self._total = 0
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, split: str, position: int, content: dict[str, Any], **more: Any) -> None:
        """One row; `more` are columns beside the content."""
        row = canonical(split, position, content)
        if split != REMOVED:
            self._total += row_hash(row)
        place = {"dataset_id": self.dataset.id, "position": position, "split": split}
        self._rows.append({**content, **place, "folded": folded(content), **more})
        self._bytes += len(row)
        if len(self._rows) >= ROWS_PER_WRITE or self._bytes >= BYTES_PER_WRITE:
            self.write()

    def write(self, **finished: Any) -> None:
        """Store the rows collected, with a sign of life, or with the columns of the finished dataset."""
        alive = time.time()
        mine = Dataset.id == self.dataset.id, Dataset.importing_at == self._alive
        with session() as db:
            changed: Any = db.execute(update(Dataset).where(*mine).values({"importing_at": alive} | finished))
            if changed.rowcount == 0:
                raise UserError(
                    "The import paused for so long that it was given up.", "Import the file again; nothing was stored."
                )
            if self._rows:
                db.execute(insert(ExampleRow), self._rows)
        self._alive, self._rows, self._bytes = alive, [], 0

    def finish(self) -> None:
        """Store the rest and show the dataset, in one transaction. Its notes are stored as they are now."""
        self.dataset.hash, self.dataset.importing_at = content_hash(self._total), None
        self.write(hash=self.dataset.hash, notes=self.dataset.notes, importing_at=None)


@contextmanager
def filling(dataset: Dataset) -> Iterator[Filling]:
    """Fill a new dataset inside: complete at the end, and gone if anything is raised."""
    alive = time.time()
    dataset.hash, dataset.importing_at = "", alive
    with session() as db:
        db.add(dataset)
    filled = Filling(dataset, alive)
    try:
        yield filled
        filled.finish()
    except BaseException:
        # If the records cannot be written just now, the sweep does it later; the reason is what matters here.
        with suppress(SQLAlchemyError):
            erase(dataset.id)
        raise


def erase(dataset_id: int) -> None:
    """Delete a dataset that nobody sees any more, in batches, its examples first."""
    some = select(ExampleRow.id).where(ExampleRow.dataset_id == dataset_id).limit(ROWS_PER_WRITE)
    while True:
        with session() as db:
            gone: Any = db.execute(delete(ExampleRow).where(ExampleRow.id.in_(some)))
            if gone.rowcount < ROWS_PER_WRITE:
                db.execute(delete(Dataset).where(Dataset.id == dataset_id))
                return


def hide(dataset_id: int, since: float | None = None) -> bool:
    """Take a dataset out of sight, to erase it; `since` is the sign of life it must still have. False if it differs."""
    mine = Dataset.id == dataset_id, Dataset.importing_at.is_(None) if since is None else Dataset.importing_at == since
    with session() as db:
        changed: Any = db.execute(update(Dataset).where(*mine).values(importing_at=time.time()))
        return bool(changed.rowcount)


def sweep_unfinished() -> int:
    """Erase the datasets whose import (or deletion) was killed; how many there were."""
    query = select(Dataset.id, Dataset.importing_at).where(Dataset.importing_at < time.time() - SILENT_S)
    with session(read_only=True) as db:
        silent = db.execute(query).all()
    swept = 0
    for dataset_id, since in silent:
        if hide(dataset_id, since):
            erase(dataset_id)
            swept += 1
    return swept

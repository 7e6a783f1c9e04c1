"""The rows of a dataset as a person looks through them: one page of those that fit a filter, at any size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from core.data.editing import annotate, copy_dataset, edit, is_frozen, put_back, remove, restore
from core.data.storing import REMOVED
from core.store.database import session
from core.store.tables import Dataset
from core.store.tables import Example as ExampleRow

__all__ = [
    "REMOVED",
    "Filter",
    "Page",
    "annotate",
    "copy_dataset",
    "edit",
    "is_frozen",
    "labels_of",
    "page",
    "put_back",
    "remove",
    "restore",
    "row_of",
]

# Nobody turns more pages than this; beyond it a count says "more than".
COUNTED = 1_000
# Once the page itself has been found, how long counting may go on.
COUNTING_S = 0.5
LABELS_LISTED = 500


@dataclass(frozen=True)
class Filter:
    """Which rows: of one split (or `removed`), containing a text in any case, of one label, noted or edited ones.

    The text may stand in a turn, the answer or the label, within the first 20,000 characters of the example.
    """

    split: str = "train"
    search: str = ""
    label: str | None = None
    only: Literal["all", "noted", "edited"] = "all"


@dataclass(frozen=True)
class Page:
    """Some rows that fit, and how many do: `count` of them, or at least that many when it is not `exact`."""

    count: int
    exact: bool
    rows: list[ExampleRow]


def page(dataset_id: int, filter: Filter, offset: int, limit: int) -> Page:
    """`limit` rows from the `offset`th that fits, in file order."""
    with session(read_only=True) as db:
        fits = _conditions(dataset_id, filter)
        dataset = db.get(Dataset, dataset_id)
        if dataset is not None and filter == Filter(filter.split) and filter.split != REMOVED:
            rows = select(ExampleRow).where(*fits).order_by(ExampleRow.position).offset(offset).limit(limit)
            return Page(dataset.notes["counts"][filter.split], True, list(db.scalars(rows)))
        ids, exact = _matches(db, fits, offset + limit)
        found = select(ExampleRow).where(ExampleRow.id.in_(ids[offset : offset + limit]))
        return Page(len(ids), exact, list(db.scalars(found.order_by(ExampleRow.position, ExampleRow.id))))


def row_of(example_id: int) -> ExampleRow | None:
    """One row, or None if it was deleted."""
    with session(read_only=True) as db:
        return db.get(ExampleRow, example_id)


def labels_of(dataset_id: int) -> list[tuple[str, int]]:
    """(label, how many examples have it), the most frequent first, at most 500."""
    number = func.count().label("number")
    query = (
        select(ExampleRow.label, number)
        .where(ExampleRow.dataset_id == dataset_id, ExampleRow.label.is_not(None))
        .group_by(ExampleRow.label)
        .order_by(number.desc(), ExampleRow.label)
        .limit(LABELS_LISTED)
    )
    with session(read_only=True) as db:
        return [(label, count) for label, count in db.execute(query) if label is not None]


def _conditions(dataset_id: int, filter: Filter) -> list[ColumnElement[bool]]:
    fits: list[ColumnElement[bool]] = [ExampleRow.dataset_id == dataset_id, ExampleRow.split == filter.split]
    if filter.label is not None:
        fits.append(ExampleRow.label == filter.label)
    if filter.only == "noted":
        fits.append(ExampleRow.note != "")
    elif filter.only == "edited":
        fits.append(ExampleRow.original.is_not(None))
    if filter.search:
        # Both sides are folded by Python: SQLite knows the case of ASCII letters only.
        fits.append(ExampleRow.folded.contains(filter.search.casefold(), autoescape=True))
    return fits


def _matches(db: Session, fits: list[Any], wanted: int) -> tuple[list[int], bool]:
    """(ids that fit, in order, `wanted` of them and more if they come quickly; whether that is all of them)."""
    most = max(wanted, COUNTED)
    query = select(ExampleRow.id).where(*fits).order_by(ExampleRow.position, ExampleRow.id).limit(most + 1)
    deadline = time.monotonic() + COUNTING_S
    ids: list[int] = []
    # One pass for page and count: on a large dataset each pass over the texts takes a second or two.
    for id in db.scalars(query, execution_options={"yield_per": 50}):
        if len(ids) == most or (len(ids) > wanted and time.monotonic() > deadline):
            return ids, False
        ids.append(id)
    return ids, True

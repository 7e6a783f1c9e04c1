"""What there is: the lists that screens offer to choose from, newest first."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from core.errors import UserError
from core.store.database import session
from core.store.tables import Adapter, Document, Experiment, Index


@dataclass(frozen=True)
class IndexSummary:
    """An index with its counts; `waiting` documents have not been cut and embedded yet."""

    index: Index
    documents: int
    chunks: int
    waiting: int

    @property
    def ready(self) -> bool:
        return self.waiting == 0


def indexes() -> list[IndexSummary]:
    waiting = func.sum(func.coalesce(Document.chunk_count == 0, False).cast(Document.chunk_count.type))
    query = (
        select(Index, func.count(Document.id), func.sum(Document.chunk_count), waiting)
        .outerjoin(Document, Document.index_id == Index.id)
        .group_by(Index.id)
        .order_by(Index.id.desc())
    )
    with session(read_only=True) as db:
        return [IndexSummary(index, n, chunks or 0, left or 0) for index, n, chunks, left in db.execute(query)]


def experiments() -> list[Experiment]:
    with session(read_only=True) as db:
        return list(db.scalars(select(Experiment).order_by(Experiment.id.desc())))


def experiment(experiment_id: int) -> Experiment:
    """Raises UserError when it was deleted."""
    with session(read_only=True) as db:
        found = db.get(Experiment, experiment_id)
    if found is None:
        raise UserError(f"Experiment {experiment_id} does not exist any more.", "Choose another on the Compare page.")
    return found


def adapters(dataset_id: int | None = None) -> list[Adapter]:
    """All adapters, or those trained on one dataset; deleted ones are left out."""
    query = select(Adapter).where(Adapter.deleted_at.is_(None)).order_by(Adapter.id.desc())
    if dataset_id is not None:
        query = query.where(Adapter.dataset_id == dataset_id)
    with session(read_only=True) as db:
        return list(db.scalars(query))


def adapter(adapter_id: int) -> Adapter:
    """Raises UserError when there is none, or it was deleted."""
    with session(read_only=True) as db:
        found = db.get(Adapter, adapter_id)
    if found is None:
        raise UserError(f"There is no adapter {adapter_id}.", "Choose another on the Train page.")
    if found.deleted_at is not None:
        raise UserError(
            f'The adapter "{found.name}" was deleted.', "Bring it back on the Train page, or choose another."
        )
    return found

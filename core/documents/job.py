"""The job that fills an index."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from core.documents.index import build_index
from core.documents.storing import indexed_chunks
from core.jobs.context import JobContext
from core.store.database import session
from core.store.tables import Chunk


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `index_id`. Goes on after a stop or a kill with the documents that are not done.

    Result: `chunks` of the index, and how many of these were `reused`, not embedded by this attempt.
    """
    index_id = context.spec["index_id"]
    with session(read_only=True) as db:
        before = set(db.scalars(select(Chunk.id).where(indexed_chunks(index_id))))

    def after_step(done: int, total: int) -> None:
        context.progress(done, total, "Reading and embedding documents")
        context.check_stop()

    chunks = build_index(index_id, after_step)
    with session(read_only=True) as db:
        reused = sum(id in before for id in db.scalars(select(Chunk.id).where(indexed_chunks(index_id))))
    return {"chunks": chunks, "reused": reused}

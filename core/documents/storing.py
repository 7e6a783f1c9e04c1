"""One chunk in three places, records, vectors and words, kept in agreement whatever interrupts the work.

The records are the truth. A chunk counts (`indexed`) once its vector and its words are stored; one that goes is
hidden first, then deleted among the vectors and words, and last from the records.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from core.documents import sparse
from core.documents.cutting import Piece, heading
from core.documents.vectors import stored_count, stored_ids, vectors
from core.errors import UserError
from core.models.embedding import Embedder
from core.store.database import session
from core.store.tables import Chunk, Document, Index

# Ids in one statement, far below what SQLite and Chroma take.
IDS_PER_STATEMENT = 5000
Cut = tuple[Document, list[Piece]]


@dataclass(frozen=True)
class Open:
    """A chunk that waits for its vector and words."""

    chunk: Chunk
    title: str
    embedded: str


def get_index(db: Session, index_id: int) -> Index:
    """Raises UserError when it was deleted."""
    index = db.get(Index, index_id)
    if index is None:
        raise UserError(f"Index {index_id} does not exist any more.", "Build it again on the Data page.")
    return index


def indexed_chunks(index_id: int) -> Any:
    return sa.and_(Chunk.index_id == index_id, Chunk.indexed)


def batches(ids: Sequence[int]) -> Iterator[list[int]]:
    for first in range(0, len(ids), IDS_PER_STATEMENT):
        yield list(ids[first : first + IDS_PER_STATEMENT])


def words_of(index: Index) -> sparse.WordIndex:
    """The words by the rules of the index's language, made from the records where they are not what those say."""
    sparse.forget_words(index.id, except_language=index.language)
    words = sparse.open_words(index.id, index.language)
    with session(read_only=True) as db:
        count = db.scalar(select(func.count()).where(indexed_chunks(index.id))) or 0
    if words.count() != count:
        words.clear()
        with session(read_only=True) as db:
            query = (
                select(Chunk, Document.title)
                .join(Document, Chunk.document_id == Document.id)
                .where(indexed_chunks(index.id))
                .execution_options(yield_per=IDS_PER_STATEMENT)
            )
            for rows in db.execute(query).partitions():
                words.write([_entry(chunk, title) for chunk, title in rows])
    return words


def _entry(chunk: Chunk, title: str) -> sparse.Entry:
    return sparse.Entry(chunk.id, chunk.document_id, f"{heading(title, chunk.section)}\n{chunk.text}")


def reconcile(index_id: int) -> None:
    """Where the vectors are not those that the records count on, delete the strange ones and embed the missing anew.

    So it is after a kill between the two, for an index of before there were chunk records, and for lost files.
    """
    with session(read_only=True) as db:
        ids = list(db.scalars(select(Chunk.id).where(indexed_chunks(index_id))))
    if stored_count(index_id) == len(ids):
        return
    stored, counted = stored_ids(index_id), {str(id) for id in ids}
    with vectors(index_id) as collection:
        strange = sorted(stored - counted)
        for first in range(0, len(strange), IDS_PER_STATEMENT):
            collection.delete(ids=strange[first : first + IDS_PER_STATEMENT])
    missing = [int(id) for id in counted - stored]
    with session() as db:
        for ids in batches(missing):
            owners = select(Chunk.document_id).where(Chunk.id.in_(ids))
            db.execute(update(Document).where(Document.id.in_(owners)).values(chunk_count=0))
            db.execute(update(Chunk).where(Chunk.id.in_(ids)).values(indexed=False))


def record_cuts(index_id: int, step: Sequence[Cut], words: sparse.WordIndex) -> list[Open]:
    """Make the chunk records of these documents what they were cut into; returns those that have no vector yet.

    A record whose hash is among the new ones keeps its id, and so its vector.
    """
    open_: list[Open] = []
    with session() as db:
        old: dict[tuple[int, str], list[Chunk]] = defaultdict(list)
        owners = [document.id for document, _ in step]
        rows = select(Chunk).where(Chunk.document_id.in_(owners))
        for row in db.scalars(rows.order_by(Chunk.position.desc())):
            old[row.document_id, row.hash].append(row)
        for document, pieces in step:
            for piece in pieces:
                known = old[document.id, piece.hash]
                chunk = known.pop() if known else Chunk(index_id=index_id, document_id=document.id)
                _fill(chunk, piece)
                db.add(chunk)
                if not chunk.indexed:
                    open_.append(Open(chunk, document.title, piece.embedded))
        gone = [row.id for rows in old.values() for row in rows]
        _hide(db, gone)
    _forget(index_id, gone, words)
    return open_


def _fill(row: Chunk, piece: Piece) -> None:
    chunk = piece.chunk
    row.position, row.hash, row.text, row.section = chunk.position, piece.hash, chunk.text, chunk.section
    row.page, row.start, row.end = chunk.page, chunk.start, chunk.end


def store(index_id: int, embedder: Embedder, words: sparse.WordIndex, pieces: Sequence[Open]) -> None:
    embedded = embedder.embed([piece.embedded for piece in pieces])
    with vectors(index_id) as collection:
        collection.upsert(
            ids=[str(piece.chunk.id) for piece in pieces],
            embeddings=embedded,
            metadatas=[{"document": piece.chunk.document_id} for piece in pieces],
        )
    words.write([_entry(piece.chunk, piece.title) for piece in pieces])
    with session() as db:
        ids = [piece.chunk.id for piece in pieces]
        db.execute(update(Chunk).where(Chunk.id.in_(ids)).values(indexed=True))


def remove(index_id: int, document_ids: Sequence[int]) -> None:
    if not document_ids:
        return
    with session() as db:
        chunk_ids: list[int] = []
        for ids in batches(document_ids):
            chunk_ids += db.scalars(select(Chunk.id).where(Chunk.document_id.in_(ids)))
            db.execute(update(Document).where(Document.id.in_(ids)).values(chunk_count=0))
        _hide(db, chunk_ids)
        language = get_index(db, index_id).language
    _forget(index_id, chunk_ids, sparse.open_words(index_id, language))
    with session() as db:
        for ids in batches(document_ids):
            db.execute(delete(Document).where(Document.id.in_(ids)))


def _hide(db: Session, chunk_ids: Sequence[int]) -> None:
    for ids in batches(chunk_ids):
        db.execute(update(Chunk).where(Chunk.id.in_(ids)).values(indexed=False))


def _forget(index_id: int, chunk_ids: Sequence[int], words: sparse.WordIndex) -> None:
    """Delete the vectors, the words and, last, the records of chunks that are hidden already."""
    if not chunk_ids:
        return
    with vectors(index_id) as collection:
        for ids in batches(chunk_ids):
            collection.delete(ids=[str(id) for id in ids])
    words.write([], chunk_ids)
    with session() as db:
        for ids in batches(chunk_ids):
            db.execute(delete(Chunk).where(Chunk.id.in_(ids)))

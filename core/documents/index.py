"""The searchable collection: chunks of documents as vectors in Chroma, and the passages nearest to a question.

The records know which documents belong to an index and which are done; Chroma holds chunks and vectors. A chunk's id
comes from its document's content and its position, so writing one twice changes nothing and an interrupted index
goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.documents.chunking import DEFAULT_CHUNK_TOKENS, DEFAULT_OVERLAP_TOKENS, Chunk, split_text
from core.documents.reading import SourceDocument
from core.documents.vectors import vector_store, vectors
from core.errors import UserError
from core.models.catalogue import BUNDLED_EMBEDDER
from core.models.embedding import load_embedder
from core.store.database import session
from core.store.tables import Document, Index

# Documents whose chunks are embedded in one go: enough to fill the encoder's batches, few enough to stop quickly.
DOCUMENTS_PER_STEP = 8
# Chunks embedded and written in one go: Chroma refuses more than 5,461, and a stop should not wait for a whole book.
CHUNKS_PER_WRITE = 512


@dataclass(frozen=True)
class Hit:
    """A chunk found for a question. `score` is the cosine similarity, from -1 to 1; `source` is the document's name."""

    chunk_id: str
    source: str
    title: str
    text: str
    score: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def create_index(
    name: str,
    documents: Iterable[SourceDocument],
    *,
    embedder: str = BUNDLED_EMBEDDER,
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS,
    overlap_tokens: int = DEFAULT_OVERLAP_TOKENS,
) -> Index:
    """Record an index and its documents; `build_index` fills it. Two documents of one name are refused."""
    rows = [Document(name=d.name, title=d.title, hash=d.hash, text=d.text) for d in documents]
    if not rows:
        raise UserError("There are no documents to index.", "Add Markdown or text files.")
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"Two documents are called {twice}.", "Rename one of them.")
    index = Index(name=name, embedder=embedder, chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
    with session() as db:
        db.add(index)
        db.flush()
        for row in rows:
            row.index_id = index.id
        db.add_all(rows)
    return index


def build_index(index_id: int, after_step: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Chunk and embed every document that is not in the index yet; returns the number of chunks in the index.

    `after_step(done, total)` counts documents, and is called within long ones too; an exception it raises stops the
    work without losing the documents that are done.
    """
    with session(read_only=True) as db:
        index = _get(db, index_id)
        waiting = list(db.scalars(select(Document).where(Document.index_id == index_id, Document.chunk_count == 0)))
        total = db.scalar(select(func.count()).where(Document.index_id == index_id)) or 0
    done = total - len(waiting)
    after_step(done, total)
    embedder = load_embedder(index.embedder)
    if index.chunk_tokens > embedder.max_tokens:
        raise UserError(
            f"Chunks of {index.chunk_tokens} tokens are too long: {index.embedder} reads {embedder.max_tokens}.",
            f"Choose chunks of {embedder.max_tokens} tokens or fewer.",
        )
    for start in range(0, len(waiting), DOCUMENTS_PER_STEP):
        step = waiting[start : start + DOCUMENTS_PER_STEP]
        pieces = [(document, chunk) for document in step for chunk in _chunks(document, index, embedder.tokenizer)]
        headings = {document.id: _heading(document, index, embedder.tokenizer)[0] for document in step}
        for first in range(0, len(pieces), CHUNKS_PER_WRITE):
            after_step(done, total)
            portion = pieces[first : first + CHUNKS_PER_WRITE]
            embedded = embedder.embed([f"{headings[document.id]}\n{chunk.text}" for document, chunk in portion])
            with vectors(_name(index_id)) as collection:
                collection.upsert(
                    ids=[f"{document.id}-{document.hash[:16]}-{chunk.position}" for document, chunk in portion],
                    embeddings=embedded,
                    documents=[chunk.text for _, chunk in portion],
                    metadatas=[{"source": d.name, "title": d.title, "position": c.position} for d, c in portion],
                )
        with session() as db:
            for document in step:
                count = sum(owner is document for owner, _ in pieces)
                db.get_one(Document, document.id).chunk_count = count
        done += len(step)
        after_step(done, total)
    with vectors(_name(index_id)) as collection:
        return int(collection.count())


def search(index_id: int, questions: Sequence[str], k: int) -> list[list[Hit]]:
    """The `k` nearest chunks for each question, best first."""
    with session(read_only=True) as db:
        index = _get(db, index_id)
    if not questions:
        return []
    asked = load_embedder(index.embedder).embed(questions)
    with vectors(_name(index_id)) as collection:
        found = collection.query(query_embeddings=asked, n_results=k, include=["documents", "metadatas", "distances"])
    return [
        [
            Hit(chunk_id, str(meta["source"]), str(meta["title"]), text, 1 - float(distance))
            for chunk_id, text, meta, distance in zip(*row, strict=True)
        ]
        for row in zip(found["ids"], found["documents"], found["metadatas"], found["distances"], strict=True)
    ]


def preview_chunks(text: str, name: str, embedder: str, chunk_tokens: int, overlap_tokens: int) -> list[Chunk]:
    """How a document would be cut, without storing anything."""
    markdown = PurePosixPath(name).suffix.lower() != ".txt"
    return split_text(text, load_embedder(embedder).tokenizer, chunk_tokens, overlap_tokens, markdown=markdown)


def delete_index(index_id: int) -> None:
    """Remove an index, its documents and its vectors."""
    with session() as db:
        db.delete(_get(db, index_id))
    with vector_store() as client:
        if _name(index_id) in [collection.name for collection in client.list_collections()]:
            client.delete_collection(_name(index_id))


def _chunks(document: Document, index: Index, tokenizer: Any) -> list[Chunk]:
    markdown = PurePosixPath(document.name).suffix.lower() != ".txt"
    # Two tokens mark beginning and end; the title is embedded with every chunk.
    room = index.chunk_tokens - 2 - _heading(document, index, tokenizer)[1]
    return split_text(document.text, tokenizer, room, min(index.overlap_tokens, room - 1), markdown=markdown)


def _heading(document: Document, index: Index, tokenizer: Any) -> tuple[str, int]:
    """The title as it is embedded, and its tokens: at most half of a chunk, so that the text has the other half."""
    limit = max(index.chunk_tokens // 2 - 2, 0)
    tokens = tokenizer(document.title, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"][:limit]
    return (document.title[: tokens[-1][1]] if tokens else "", len(tokens))


def _get(db: Session, index_id: int) -> Index:
    index = db.get(Index, index_id)
    if index is None:
        raise UserError(f"Index {index_id} does not exist any more.", "Build it again on the Data page.")
    return index


def _name(index_id: int) -> str:
    return f"index-{index_id}"

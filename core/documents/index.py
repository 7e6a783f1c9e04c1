"""The searchable collection: which documents belong to it, and their chunks as vectors and words.

The records are the truth: a document that was added or changed waits (`chunk_count` 0) until `build_index` has cut
it. Its new chunks are held against its old ones by the hash of all that determines a vector, and only those that
differ are embedded. A chunk counts (`indexed`) once its vector and its words are stored, so whatever interrupts a
build costs at most the portion at work; what has gone is hidden first, then deleted everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update

from core.documents import sparse
from core.documents.chunking import DEFAULT_CHUNK_TOKENS, DEFAULT_OVERLAP_TOKENS, Chunk
from core.documents.cutting import cut
from core.documents.languages import SAMPLE_CHARACTERS, SAMPLE_DOCUMENTS, default_dense_weight, main_language
from core.documents.locking import writing
from core.documents.reading import SourceDocument
from core.documents.storing import Cut, get_index, indexed_chunks, reconcile, record_cuts, remove, store, words_of
from core.documents.vectors import drop_vectors
from core.errors import UserError
from core.models.catalogue import BUNDLED_EMBEDDER
from core.models.embedding import Embedder, load_embedder
from core.store import tables
from core.store.database import session
from core.store.tables import Document, Index

# Chunks embedded and written in one go: many fill the encoder's batches with texts of one length and make storing
# cheap; a stop, or a kill, should not cost more than some seconds. Chroma takes up to 5,461.
CHUNKS_PER_STEP = 512
OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Changes:
    """What became of the documents that were handed over, by name."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


def create_index(
    name: str,
    documents: Iterable[SourceDocument],
    *,
    embedder: str = BUNDLED_EMBEDDER,
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS,
    overlap_tokens: int = DEFAULT_OVERLAP_TOKENS,
) -> Index:
    """Record an index and its documents; `build_index` fills it. Two documents of one name are refused."""
    given = _by_name(documents)
    if not given:
        raise UserError("There are no documents to index.", "Add documents first.")
    index = Index(name=name, embedder=embedder, chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
    with session() as db:
        db.add(index)
        db.flush()
        db.add_all(_row(index.id, document) for document in given.values())
    return index


def sync_documents(
    index_id: int, documents: Iterable[SourceDocument], *, remove_missing: bool, keep: Container[str] = ()
) -> Changes:
    """Bring the index's documents to this state; `build_index` does the rest. Those of the same content are left alone.

    With `remove_missing` documents that are neither among these nor named in `keep` are removed.
    """
    given = _by_name(documents)
    with writing(index_id):
        with session() as db:
            get_index(db, index_id)
            known = {
                name: (id, digest)
                for id, name, digest in db.execute(
                    select(Document.id, Document.name, Document.hash).where(Document.index_id == index_id)
                )
            }
            added = [name for name in given if name not in known]
            changed = [name for name in given if name in known and known[name][1] != given[name].hash]
            db.add_all(_row(index_id, given[name]) for name in added)
            for name in changed:
                new = given[name]
                row = db.get_one(Document, known[name][0])
                row.title, row.text, row.hash, row.chunk_count = new.title, new.text, new.hash, 0
                row.pages, row.meta = list(new.pages), dict(new.meta)
        removed = [name for name in known if remove_missing and name not in given and name not in keep]
        remove(index_id, [known[name][0] for name in removed])
    touched = {*added, *changed}
    unchanged = tuple(name for name in given if name not in touched)
    return Changes(tuple(added), tuple(changed), tuple(removed), unchanged)


def remove_documents(index_id: int, names: Sequence[str]) -> None:
    """Remove documents with their chunks, vectors and words; names that are not there are passed over."""
    with writing(index_id):
        with session(read_only=True) as db:
            wanted = select(Document.id).where(Document.index_id == index_id, Document.name.in_(names))
            ids = list(db.scalars(wanted))
        remove(index_id, ids)


def change_settings(
    index_id: int, *, embedder: str | None = None, chunk_tokens: int | None = None, overlap_tokens: int | None = None
) -> None:
    """Give the index other settings; when one differs its documents wait to be cut and embedded again."""
    with writing(index_id):
        with session(read_only=True) as db:
            index = get_index(db, index_id)
        wanted = {
            "embedder": embedder or index.embedder,
            "chunk_tokens": chunk_tokens or index.chunk_tokens,
            "overlap_tokens": index.overlap_tokens if overlap_tokens is None else overlap_tokens,
        }
        if wanted == {key: getattr(index, key) for key in wanted}:
            return
        if wanted["embedder"] != index.embedder:
            # A collection holds vectors of one length. Hidden first, so that nothing half-done is found after a kill.
            with session() as db:
                db.execute(update(tables.Chunk).where(tables.Chunk.index_id == index_id).values(indexed=False))
                db.execute(update(Document).where(Document.index_id == index_id).values(chunk_count=0))
            drop_vectors(index_id)
            wanted["dense_weight"] = default_dense_weight(str(wanted["embedder"]), index.language)
        with session() as db:
            db.execute(update(Index).where(Index.id == index_id).values(wanted))
            db.execute(update(Document).where(Document.index_id == index_id).values(chunk_count=0))


def delete_index(index_id: int) -> None:
    """Remove an index, its documents, its vectors and its words."""
    with writing(index_id):
        with session() as db:
            db.delete(get_index(db, index_id))
        drop_vectors(index_id)
        sparse.forget_words(index_id)


def preview_chunks(text: str, name: str, embedder: str, chunk_tokens: int, overlap_tokens: int) -> list[Chunk]:
    """How a document would be cut, without storing anything."""
    return [piece.chunk for piece in cut(name, "", text, load_embedder(embedder), chunk_tokens, overlap_tokens)]


def build_index(index_id: int, after_step: OnStep = lambda done, total: None) -> int:
    """Cut, embed and store what is not in the index yet; returns the number of chunks in the index.

    `after_step(done, total)` counts documents, and is called within long ones too; an exception it raises stops the
    work without losing what is done. Raises UserError when another process is filling the index.
    """
    with session(read_only=True) as db:
        wanted = get_index(db, index_id).embedder
    load_embedder(wanted)  # takes seconds, during which nobody should be kept waiting
    with writing(index_id):
        with session(read_only=True) as db:
            index = get_index(db, index_id)
            total = db.scalar(select(func.count()).where(Document.index_id == index_id)) or 0
        embedder = load_embedder(index.embedder)
        check_size(index.chunk_tokens, embedder)
        _note_language(index)
        words = words_of(index)
        reconcile(index_id)
        waiting = _waiting(index_id)
        done = total - len(waiting)
        after_step(done, total)
        for step in _steps(waiting, index, embedder):
            pieces = record_cuts(index_id, step, words)
            for first in range(0, len(pieces), CHUNKS_PER_STEP):
                after_step(done, total)
                store(index_id, embedder, words, pieces[first : first + CHUNKS_PER_STEP])
            with session() as db:
                for document, cuts in step:
                    db.execute(update(Document).where(Document.id == document.id).values(chunk_count=len(cuts)))
            done += len(step)
            after_step(done, total)
        with session(read_only=True) as db:
            return db.scalar(select(func.count()).where(indexed_chunks(index_id))) or 0


def check_size(chunk_tokens: int, embedder: Embedder) -> None:
    """Raises UserError for chunks that the embedder would not read to their end."""
    if chunk_tokens > embedder.max_tokens:
        raise UserError(
            f"Chunks of {chunk_tokens} tokens are too long: {embedder.id} reads {embedder.max_tokens}.",
            f"Choose chunks of {embedder.max_tokens} tokens or fewer.",
        )


def _by_name(documents: Iterable[SourceDocument]) -> dict[str, SourceDocument]:
    given = list(documents)
    # Without a chunk it would wait to be indexed for ever.
    for document in given:
        if not document.text.strip():
            raise UserError(f"{document.name} is empty.", "Remove it or fill it in.")
    for name, count in Counter(document.name for document in given).items():
        if count > 1:
            raise UserError(f"Two documents are called {name}.", "Rename one of them.")
    return {document.name: document for document in given}


def _row(index_id: int, document: SourceDocument) -> Document:
    return Document(
        index_id=index_id,
        name=document.name,
        title=document.title,
        hash=document.hash,
        text=document.text,
        pages=list(document.pages),
        meta=dict(document.meta),
    )


def _note_language(index: Index) -> None:
    """Find out the documents' language, and when it is first known, how far vectors are trusted beside words."""
    with session(read_only=True) as db:
        ids = list(db.scalars(select(Document.id).where(Document.index_id == index.id).order_by(Document.id)))
        sample = ids[:: max(1, len(ids) // SAMPLE_DOCUMENTS)]
        texts = select(func.substr(Document.text, 1, SAMPLE_CHARACTERS)).where(Document.id.in_(sample))
        language = main_language(db.scalars(texts))
    if language != index.language:
        if not index.language:
            index.dense_weight = default_dense_weight(index.embedder, language)
        index.language = language
        with session() as db:
            row = db.get_one(Index, index.id)
            row.language, row.dense_weight = index.language, index.dense_weight


def _waiting(index_id: int) -> list[int]:
    with session(read_only=True) as db:
        query = select(Document.id).where(Document.index_id == index_id, Document.chunk_count == 0)
        return list(db.scalars(query.order_by(Document.id)))


def _steps(waiting: Sequence[int], index: Index, embedder: Embedder) -> Iterator[list[Cut]]:
    """The waiting documents, cut, in groups of about CHUNKS_PER_STEP chunks."""
    step: list[Cut] = []
    for document_id in waiting:
        with session(read_only=True) as db:
            document = db.get_one(Document, document_id)
        pieces = cut(
            document.name,
            document.title,
            document.text,
            embedder,
            index.chunk_tokens,
            index.overlap_tokens,
            document.pages,
        )
        step.append((document, pieces))
        if sum(len(pieces) for _, pieces in step) >= CHUNKS_PER_STEP:
            yield step
            step = []
    if step:
        yield step

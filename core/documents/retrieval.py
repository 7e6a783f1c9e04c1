"""Finding the passages for a question: by meaning, by words, or by both ranks fused; each hit says why it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import select

from core.documents import sparse
from core.documents.reranking import rerank
from core.documents.storing import batches, get_index
from core.documents.vectors import nearest
from core.models.catalogue import embedding_entry
from core.models.embedding import load_embedder
from core.models.prompt import Passage
from core.store.database import session
from core.store.tables import Chunk, Document, Index

Mode = Literal["dense", "sparse", "hybrid"]
MODES: tuple[Mode, ...] = ("dense", "sparse", "hybrid")
# How deep each list goes before they are fused: a passage far down one list can still win by the other.
POOL = 100
# Cormack et al. 2009 take 60, for many lists. Of two, what one puts first should beat what both put far down.
RANK_CONSTANT = 5
# Passages that a cross-encoder reads for each question; it takes about as long for each as embedding it did.
RERANK_POOL = 30


@dataclass(frozen=True)
class Where:
    """Which documents to look in: all conditions must hold; empty ones hold for all.

    `sources` are document names, `prefix` is the beginning of a name, `meta` asks for values of the document's own
    header, compared as text.
    """

    sources: tuple[str, ...] = ()
    prefix: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def everywhere(self) -> bool:
        return not (self.sources or self.prefix or self.meta)


@dataclass(frozen=True)
class Hit:
    """A passage found for a question, and how: ranks count from 1, None where a list did not hold it.

    `score` is what the list shown is ordered by: cosine similarity (dense, -1 to 1), BM25 (sparse, 0 and above), the
    fused rank (hybrid, 0 to 1, which is first in both lists), or what a cross-encoder said.
    `matched` are the question's words that the passage has.
    """

    chunk_id: int
    source: str
    title: str
    text: str
    score: float
    section: str = ""
    page: int | None = None
    document_id: int = 0
    start: int = 0
    end: int = 0
    dense_rank: int | None = None
    dense_score: float | None = None
    sparse_rank: int | None = None
    sparse_score: float | None = None
    rerank_score: float | None = None
    matched: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"matched": list(self.matched)}

    @property
    def passage(self) -> Passage:
        """As a model is shown it."""
        return Passage(self.title, self.text)

    @property
    def why(self) -> str:
        """A plain sentence: its place in each list, and the words it shares with the question."""
        reasons = []
        if self.dense_rank is not None:
            reasons.append(f"number {self.dense_rank} by meaning (cosine similarity {self.dense_score:.2f})")
        if self.sparse_rank is not None:
            words = f": {', '.join(self.matched)}" if self.matched else ""
            reasons.append(f"number {self.sparse_rank} by words (BM25 {self.sparse_score:.1f}{words})")
        if self.rerank_score is not None:
            reasons.append(f"{self.rerank_score:.2f} from the reranker, which set the order")
        return f"Found as {' and '.join(reasons)}."


@dataclass(frozen=True)
class Lists:
    """What each list holds for one question: (chunk id, score), best first; empty if it was not asked."""

    dense: list[tuple[int, float]]
    sparse: list[tuple[int, float]]

    @property
    def dense_ids(self) -> list[int]:
        return [id for id, _ in self.dense]

    @property
    def sparse_ids(self) -> list[int]:
        return [id for id, _ in self.sparse]


def fuse(
    dense: Sequence[int], sparse: Sequence[int], dense_weight: float, k: int = RANK_CONSTANT
) -> list[tuple[int, float]]:
    """Reciprocal rank fusion of two lists of ids: (id, score), best first; the score is 1 for the first of both.

    Every id comes back, those of a list without weight last.

    >>> [id for id, _ in fuse([1, 2, 3], [3, 4], 0.5)]
    [3, 1, 2, 4]
    """
    scores: dict[int, float] = {}
    for ids, weight in ((dense, dense_weight), (sparse, 1 - dense_weight)):
        for rank, id in enumerate(ids, start=1):
            scores[id] = scores.get(id, 0.0) + weight * (k + 1) / (k + rank)
    # Ties keep the order of the dense list, then of the sparse one.
    return sorted(scores.items(), key=lambda found: -found[1])


def search(
    index_id: int,
    questions: Sequence[str],
    k: int,
    *,
    mode: Mode | None = None,
    where: Where = Where(),
    reranker: str | None = None,
    dense_weight: float | None = None,
) -> list[list[Hit]]:
    """The `k` best passages for each question, best first; how it searches is the index's own affair unless given.

    Questions are plain text: nothing in them is an operator. Raises UserError when the index or the reranker is gone.
    """
    with session(read_only=True) as db:
        index = get_index(db, index_id)
    chosen = mode or _mode(index)
    cross_encoder = index.reranker if reranker is None else reranker
    weight = index.dense_weight if dense_weight is None else dense_weight
    wanted = max(k, RERANK_POOL) if cross_encoder else k
    found = []
    for question, lists in zip(questions, _lists(index, questions, max(POOL, wanted), chosen, where), strict=True):
        order = _order(lists, chosen, weight)
        # Some of the first may have gone meanwhile: a few more are looked up.
        hits = _hits(order[: wanted + 10], lists)[:wanted]
        if cross_encoder:
            scores = rerank(cross_encoder, question, [hit.text for hit in hits])
            hits = [replace(hit, score=s, rerank_score=s) for hit, s in zip(hits, scores, strict=True)]
            hits.sort(key=lambda hit: -hit.score)
        words = [sparse.matched_words(question, f"{h.title} {h.section} {h.text}", index.language) for h in hits[:k]]
        found.append([replace(hit, matched=matched) for hit, matched in zip(hits[:k], words, strict=True)])
    return found


def rank_lists(index_id: int, questions: Sequence[str], depth: int = POOL, *, where: Where = Where()) -> list[Lists]:
    """Both lists for each question, `depth` deep, as a hybrid search fuses them."""
    with session(read_only=True) as db:
        index = get_index(db, index_id)
    return _lists(index, questions, depth, "hybrid", where)


def embed_questions(embedder: str, questions: Sequence[str]) -> Any:
    """Vectors of questions, float32 (questions, dimensions), with what the embedder wants before a question."""
    entry = embedding_entry(embedder)
    prefix = entry.question_prefix if entry else ""
    # Half characters, which a text field of a page can hold, are none that a tokenizer reads.
    whole = [question.encode(errors="replace").decode() for question in questions]
    return load_embedder(embedder).embed([f"{prefix}{question}" for question in whole])


def _mode(index: Index) -> Mode:
    return next(mode for mode in MODES if mode == index.mode)


def _lists(index: Index, questions: Sequence[str], depth: int, mode: Mode, where: Where) -> list[Lists]:
    documents = None if where.everywhere else _documents(index.id, where)
    dense: list[list[tuple[int, float]]] = [[] for _ in questions]
    if questions and mode != "sparse":
        dense = nearest(index.id, embed_questions(index.embedder, questions), depth, documents)
    if mode == "dense":
        return [Lists(row, []) for row in dense]
    words = sparse.open_words(index.id, index.language)
    return [
        Lists(row, words.search(question, depth, documents)) for row, question in zip(dense, questions, strict=True)
    ]


def _documents(index_id: int, where: Where) -> list[int]:
    query = select(Document.id, Document.meta).where(Document.index_id == index_id)
    if where.sources:
        query = query.where(Document.name.in_(where.sources))
    if where.prefix:
        query = query.where(Document.name.startswith(where.prefix, autoescape=True))
    with session(read_only=True) as db:
        return [
            id
            for id, meta in db.execute(query.order_by(Document.id))
            if all(str(meta.get(key)) == value for key, value in where.meta.items())
        ]


def _order(lists: Lists, mode: Mode, dense_weight: float) -> list[tuple[int, float]]:
    if mode == "dense":
        return lists.dense
    if mode == "sparse":
        return lists.sparse
    return fuse(lists.dense_ids, lists.sparse_ids, dense_weight)


def _hits(order: Sequence[tuple[int, float]], lists: Lists) -> list[Hit]:
    """The records behind these ids, in this order; those that are hidden or gone are left out."""
    dense = {id: (rank, score) for rank, (id, score) in enumerate(lists.dense, start=1)}
    by_words = {id: (rank, score) for rank, (id, score) in enumerate(lists.sparse, start=1)}
    rows: dict[int, tuple[Chunk, str, str]] = {}
    with session(read_only=True) as db:
        for ids in batches([id for id, _ in order]):
            query = select(Chunk, Document.name, Document.title).join(Document, Chunk.document_id == Document.id)
            for chunk, name, title in db.execute(query.where(Chunk.id.in_(ids), Chunk.indexed)):
                rows[chunk.id] = (chunk, name, title)
    hits = []
    for id, score in order:
        if id not in rows:
            continue
        chunk, name, title = rows[id]
        dense_rank, dense_score = dense.get(id, (None, None))
        sparse_rank, sparse_score = by_words.get(id, (None, None))
        hits.append(
            Hit(
                chunk_id=id,
                source=name,
                title=title,
                text=chunk.text,
                score=score,
                section=chunk.section,
                page=chunk.page,
                document_id=chunk.document_id,
                start=chunk.start,
                end=chunk.end,
                dense_rank=dense_rank,
                dense_score=dense_score,
                sparse_rank=sparse_rank,
                sparse_score=sparse_score,
            )
        )
    return hits

"""What each setting finds: from the index as it is, or from the same documents cut another way for the moment."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from core.documents.cutting import Piece, cut, heading
from core.documents.reranking import rerank
from core.documents.retrieval import POOL, RERANK_POOL, Lists, Mode, embed_questions, fuse, rank_lists
from core.documents.sparse import Entry, WordIndex
from core.evaluate.lab.measures import Place
from core.evaluate.lab.relevance import Question
from core.models.embedding import Embedder, load_embedder
from core.store.database import session
from core.store.tables import Chunk, Document, Index

if TYPE_CHECKING:
    import numpy as np

# Every size embeds the documents anew: about 4,000 chunks of 128 tokens, a minute on two cores. Of more, a sample.
MAX_CHARACTERS = 2_000_000
# Chunks embedded before progress is said and a stop is heard.
CHUNKS_PER_STEP = 128
WEIGHTS = (0.2, 0.4, 0.6)
OnProgress = Callable[[float, float, str], None]


@dataclass(frozen=True)
class Setting:
    """One way of searching an index; `dense_weight` counts in hybrid search only."""

    mode: Mode
    dense_weight: float
    chunk_tokens: int
    overlap_tokens: int
    reranker: str = ""

    @property
    def title(self) -> str:
        how = {"dense": "by meaning", "sparse": "by words", "hybrid": f"hybrid, {self.dense_weight:.0%} meaning"}
        reranked = ", reranked" if self.reranker else ""
        return f"{how[self.mode]}{reranked}, chunks of {self.chunk_tokens}"

    @property
    def cost(self) -> tuple[bool, int, int]:
        """Cheaper is smaller: a cross-encoder takes longest, then embedding; larger chunks make longer prompts."""
        return bool(self.reranker), ("sparse", "dense", "hybrid").index(self.mode), self.chunk_tokens


def present(index: Index) -> Setting:
    """The setting an index has now."""
    mode: Mode = next(mode for mode in ("dense", "sparse", "hybrid") if mode == index.mode)
    return Setting(mode, index.dense_weight, index.chunk_tokens, index.overlap_tokens, index.reranker)


def default_settings(
    index: Index, *, sizes: Sequence[int] = (), weights: Sequence[float] = WEIGHTS, reranker: str = ""
) -> list[Setting]:
    """The present setting first, then dense, sparse and hybrid, also for chunks of other `sizes`, and `reranker`.

    Other weights of the two lists are tried with the present chunks only: every further setting makes the rest
    harder to tell apart.
    """
    now = present(index)
    own = (index.chunk_tokens, index.overlap_tokens)
    found = [now, *(Setting(mode, index.dense_weight, *own) for mode in ("dense", "sparse", "hybrid"))]
    found += [Setting("hybrid", weight, *own) for weight in weights]
    if reranker:
        found.append(Setting("hybrid", index.dense_weight, *own, reranker))
    for size in sizes:
        share = index.overlap_tokens / index.chunk_tokens
        shape = (size, min(round(size * share), size - 1))
        found += [Setting(mode, index.dense_weight, *shape) for mode in ("dense", "sparse", "hybrid")]
    different: dict[tuple[object, ...], Setting] = {}
    for setting in found:
        different.setdefault(_same(setting), setting)
    return list(different.values())


def _same(setting: Setting) -> tuple[object, ...]:
    weight = setting.dense_weight if setting.mode == "hybrid" else None
    return setting.mode, weight, setting.chunk_tokens, setting.overlap_tokens, setting.reranker


@dataclass(frozen=True)
class Cut:
    """The documents cut one way: where each chunk lies, its text, and both lists for every question."""

    places: dict[int, Place]
    lists: list[Lists]
    text: Callable[[int], str]

    def rank(self, setting: Setting, questions: Sequence[Question]) -> list[list[int]]:
        """Chunk ids for each question, best first, as a search with this setting has them."""
        return [self._ranked(setting, one, lists) for one, lists in zip(questions, self.lists, strict=True)]

    def _ranked(self, setting: Setting, question: Question, lists: Lists) -> list[int]:
        match setting.mode:
            case "dense":
                order = lists.dense_ids
            case "sparse":
                order = lists.sparse_ids
            case "hybrid":
                order = [id for id, _ in fuse(lists.dense_ids, lists.sparse_ids, setting.dense_weight)]
        if not setting.reranker:
            return order
        head = order[:RERANK_POOL]
        scores = rerank(setting.reranker, question.text, [self.text(id) for id in head])
        return [id for _, id in sorted(zip(scores, head, strict=True), key=lambda found: -found[0])]


def as_it_is(index_id: int, questions: Sequence[Question]) -> Cut:
    """The index itself, searched as the product searches it."""
    with session(read_only=True) as db:
        rows = db.execute(
            select(Chunk.id, Chunk.document_id, Chunk.start, Chunk.end).where(Chunk.index_id == index_id, Chunk.indexed)
        )
        places = {id: Place(document, start, end) for id, document, start, end in rows}

    def text(chunk_id: int) -> str:
        with session(read_only=True) as db:
            return db.get_one(Chunk, chunk_id).text

    lists = rank_lists(index_id, [one.text for one in questions])
    # A chunk may have gone between the two.
    kept = [Lists([h for h in one.dense if h[0] in places], [h for h in one.sparse if h[0] in places]) for one in lists]
    return Cut(places, kept, text)


def sampled_documents(index_id: int, questions: Sequence[Question], seed: int) -> tuple[list[int], int]:
    """(ids of the documents to cut anew, how many the index has): all, or those with a target and others by chance."""
    with session(read_only=True) as db:
        rows = db.execute(select(Document.id, func.length(Document.text)).where(Document.index_id == index_id))
        length = {id: int(characters) for id, characters in rows}
    needed = {span.document_id for one in questions for target in one.targets for span in target}
    others = sorted(length.keys() - needed)
    random.Random(seed).shuffle(others)
    room = MAX_CHARACTERS - sum(length[id] for id in needed)
    chosen = set(needed)
    for id in others:
        room -= length[id]
        if room >= 0:
            chosen.add(id)
    return sorted(chosen), len(length)


def cut_anew(
    index: Index,
    document_ids: Sequence[int],
    questions: Sequence[Question],
    asked: np.ndarray,
    size: tuple[int, int],
    on_progress: OnProgress,
) -> Cut:
    """Cut, embed and search these documents with other chunks, leaving nothing behind.

    `size`: tokens of a chunk and of the overlap. `asked`: vectors of the questions. What `on_progress` raises stops it.
    """
    import numpy as np

    embedder = load_embedder(index.embedder)
    places: dict[int, Place] = {}
    texts: list[str] = []
    found: list[np.ndarray] = []
    words = WordIndex(None, index.language)
    for done, step in _steps(document_ids, size, embedder):
        on_progress(done, len(document_ids), f"Embedding chunks of {size[0]} tokens")
        found.append(embedder.embed([piece.embedded for _, piece in step]))
        entries = []
        for document, piece in step:
            chunk, id = piece.chunk, len(texts)
            texts.append(chunk.text)
            places[id] = Place(document.id, chunk.start, chunk.end)
            entries.append(Entry(id, document.id, f"{heading(document.title, chunk.section)}\n{chunk.text}"))
        words.write(entries)
    vectors = np.concatenate(found)
    lists = []
    for question, row in zip(questions, asked, strict=True):
        similar = vectors @ row
        best = np.argsort(-similar, kind="stable")[:POOL]
        lists.append(Lists([(int(id), float(similar[id])) for id in best], words.search(question.text, POOL)))
    return Cut(places, lists, texts.__getitem__)


def vectors_of(index: Index, questions: Sequence[Question]) -> np.ndarray:
    vectors: np.ndarray = embed_questions(index.embedder, [one.text for one in questions])
    return vectors


def _steps(
    document_ids: Sequence[int], size: tuple[int, int], embedder: Embedder
) -> Iterator[tuple[int, list[tuple[Document, Piece]]]]:
    """(documents cut before, pieces) in portions; a long document fills several."""
    step: list[tuple[Document, Piece]] = []
    for number, document_id in enumerate(document_ids):
        with session(read_only=True) as db:
            document = db.get_one(Document, document_id)
        pieces = cut(document.name, document.title, document.text, embedder, *size, document.pages)
        step += [(document, piece) for piece in pieces]
        while len(step) >= CHUNKS_PER_STEP:
            yield number, step[:CHUNKS_PER_STEP]
            step = step[CHUNKS_PER_STEP:]
    if step:
        yield len(document_ids), step

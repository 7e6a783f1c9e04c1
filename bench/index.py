"""Filling an index, mending it after one change, and asking it: the three promises about speed.

    python -m bench.index [--documents 1000] [--chunks 100000] [--queries 200]

Throughput: building an index of real documents against the encoder's own `encode()` of the very texts that are
embedded, before and afterwards. Re-indexing: one document of them changed, against the first time. Query: hybrid search
over so many chunks, the question's embedding included, against a plain dot product with all vectors in memory. The
many chunks are sentences of the same documents, mixed, each with the vector of a real chunk plus noise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import describe

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NOISE = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as home:
        os.environ["LOWEST_RUNG_HOME"] = home
        os.environ["HF_HUB_OFFLINE"] = "1"
        texts, vectors = _throughput_and_mending(options.documents)
        _query(texts, vectors, options.chunks, options.queries)


def _throughput_and_mending(count: int) -> tuple[list[str], np.ndarray]:
    from core.documents.cutting import cut
    from core.documents.index import build_index, create_index, sync_documents
    from core.documents.reading import SourceDocument
    from core.models.embedding import load_embedder

    documents = [SourceDocument(f"{n:04}.md", title, text) for n, (title, text) in enumerate(_real(count))]
    embedder = load_embedder()
    index = create_index("bench", documents)
    sizes = index.chunk_tokens, index.overlap_tokens
    texts = [piece.embedded for d in documents for piece in cut(d.name, d.title, d.text, embedder, *sizes)]
    # Its tables are made and its libraries loaded once per process, not per index.
    build_index(create_index("warm up", documents[:3]).id)
    vectors: list[np.ndarray] = []
    # Before and after, since a machine that slows down in the meantime would flatter one of the two.
    before = _seconds(lambda: vectors.append(embedder.embed(texts)))
    first = _seconds(lambda: build_index(index.id))
    after = _seconds(lambda: vectors.append(embedder.embed(texts)))
    alone = (before + after) / 2
    print(f"{len(documents):,} documents, {len(texts):,} chunks")
    rates = f"{len(texts) / before:.1f} before and {len(texts) / after:.1f} after"
    print(f"index: {len(texts) / first:.1f} chunks/s; encode() alone: {rates}")
    print(f"index / encode(): {alone / first:.2f} (0.90 wanted)")

    changed = documents[count // 2]
    new = SourceDocument(changed.name, changed.title, f"{changed.text}\n\nThe quay was closed at noon.")
    given = [new if document is changed else document for document in documents]

    def mend() -> None:
        sync_documents(index.id, given, remove_missing=True)
        build_index(index.id)

    again = _seconds(mend)
    print(f"first time {first:.1f} s, after one changed document {again:.2f} s: {first / again:.0f} times (50 wanted)")
    return texts, vectors[0]


def _query(texts: list[str], vectors: np.ndarray, count: int, queries: int) -> None:
    from core.documents import sparse
    from core.documents.retrieval import embed_questions, search
    from core.documents.storing import IDS_PER_STATEMENT, Open, store
    from core.models.catalogue import BUNDLED_EMBEDDER
    from core.store.database import session
    from core.store.tables import Chunk, Document, Index

    rng, numbers = random.Random(7), np.random.default_rng(7)
    sentences = [part for text in texts for part in text.split("\n", 1)[-1].split(". ") if len(part) > 20]
    with session() as db:
        index = Index(name="large", embedder=BUNDLED_EMBEDDER, chunk_tokens=128, overlap_tokens=16, language="en")
        db.add(index)
        db.flush()
        document = Document(index_id=index.id, name="d", title="", hash="", text="", chunk_count=count)
        db.add(document)
    many = np.empty((count, vectors.shape[1]), dtype=np.float32)
    words = sparse.open_words(index.id, "en")
    filled = time.perf_counter()
    for first in range(0, count, IDS_PER_STATEMENT):
        size = min(IDS_PER_STATEMENT, count - first)
        noise = numbers.normal(scale=NOISE / vectors.shape[1] ** 0.5, size=(size, vectors.shape[1]))
        mixed = vectors[numbers.integers(len(vectors), size=size)] + noise
        many[first : first + size] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        with session() as db:
            chunks = [
                Chunk(
                    index_id=index.id,
                    document_id=document.id,
                    position=first + n,
                    hash="",
                    text=". ".join(rng.choices(sentences, k=4)),
                    section="",
                    start=0,
                    end=0,
                )
                for n in range(size)
            ]
            db.add_all(chunks)
        ready: Any = _Ready(many[first : first + size])
        store(index.id, ready, words, [Open(chunk, "", "") for chunk in chunks])
    print(f"{count:,} chunks stored in {time.perf_counter() - filled:.0f} s, their embedding not included")

    questions = _questions(queries + 5)
    for question in questions[:5]:
        search(index.id, [question], 5)
    ours = [_seconds(lambda q=question: search(index.id, [q], 5)) for question in questions[5:]]  # type: ignore[misc]
    peer = []
    for question in questions[5:]:
        peer.append(_seconds(lambda q=question: np.argsort(-(many @ embed_questions(BUNDLED_EMBEDDER, [q])[0]))[:5]))  # type: ignore[misc]
    asked = embed_questions(BUNDLED_EMBEDDER, questions[5:])
    found = [[hit.dense_score for hit in search(index.id, [q], 10, mode="dense")[0]] for q in questions[5:]]
    best = [np.sort(many @ row)[-10:] for row in asked]
    recall = np.mean([np.mean(np.array(got) >= top[0] - 1e-5) for got, top in zip(found, best, strict=True)])
    middle = statistics.median(ours) * 1000
    print(
        f"query over {count:,} chunks: median {middle:.1f} ms (50 wanted), "
        f"95th percentile {statistics.quantiles(ours, n=20)[-1] * 1000:.1f} ms"
    )
    print(f"dot product with all vectors: median {statistics.median(peer) * 1000:.1f} ms, by meaning alone")
    print(f"query / dot product: {statistics.median(ours) / statistics.median(peer):.2f}")
    print(f"of the ten nearest by dot product, the graph finds {recall:.1%}")


class _Ready:
    """In place of an embedder, for vectors that are there already."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return self._vectors


def _real(count: int) -> list[tuple[str, str]]:
    """(title, text) of real documents: first the short ones, help articles and encyclopedia paragraphs."""
    found = list(_articles())
    if len(found) < count:
        raise SystemExit(f"Only {len(found)} documents in {DATA}.")
    return found[:count]


def _articles() -> Iterator[tuple[str, str]]:
    for name in ("xquad-en/xquad.en.json", "xquad-vi/xquad.vi.json"):
        for article in json.loads((DATA / name).read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                yield article["title"].replace("_", " "), paragraph["context"]
    for page in json.loads((DATA / "anthropic-docs-rag" / "anthropic_docs.json").read_text(encoding="utf-8")):
        yield page["chunk_heading"], page["text"]
    for path in sorted((DATA / "streamlit-docs").rglob("*.md"), key=lambda path: path.stat().st_size):
        yield path.stem, path.read_text(encoding="utf-8")


def _questions(count: int) -> list[str]:
    data = json.loads((DATA / "xquad-en" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    asked = [qa["question"] for article in data for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    return random.Random(7).sample(asked, count)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

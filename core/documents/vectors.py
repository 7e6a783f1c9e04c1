"""Chroma: inside this process, stored in the home folder, or a server at LOWEST_RUNG_CHROMA_URL."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.settings import get_settings

if TYPE_CHECKING:
    import numpy as np

# Candidates that the graph keeps while it looks for the nearest. Chroma's 100 is as many as a search asks for, and
# misses some of the last of them; twice that costs a millisecond.
EF_SEARCH = 200
# SQLite, in which Chroma looks them up, takes 32,766 variables in one statement.
DOCUMENTS_PER_QUERY = 5000

Stamp = tuple[int, int]


@dataclass
class _Opened:
    folder: Path
    stamp: Stamp
    client: Any


_lock = threading.RLock()
_opened: _Opened | None = None


@contextmanager
def vector_store() -> Iterator[Any]:
    """A Chroma client for one operation.

    Chroma inside a process keeps its search graph in memory and does not notice what another process has written: a
    page would go on finding nothing in an index that a job has filled since. So the client is opened anew (20 ms)
    whenever the file has changed hands, and one thread uses it at a time.
    """
    url = get_settings().chroma_url
    if url:
        yield _server(url)
        return
    global _opened
    folder = get_settings().home / "chroma"
    with _lock:
        if _opened is None or _opened.folder != folder or _opened.stamp != _stamp(folder):
            if _opened is not None:
                _opened.client.close()
            _opened = _Opened(folder, (0, 0), _embedded(folder))
        try:
            yield _opened.client
        finally:
            _opened.stamp = _stamp(folder)


@contextmanager
def vectors(index_id: int) -> Iterator[Any]:
    """The vectors of an index, made if need be: under each chunk's id, with its `document`.

    Vectors have length 1, so cosine distances are exact. Texts stay in the records, and Chroma need not index them.
    """
    with vector_store() as client:
        # No embedding function: Chroma's own would download a model at its first use.
        yield client.get_or_create_collection(
            _name(index_id),
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine", "ef_search": EF_SEARCH}},
        )


def drop_vectors(index_id: int) -> None:
    with vector_store() as client:
        if _name(index_id) in [collection.name for collection in client.list_collections()]:
            client.delete_collection(_name(index_id))


def stored_count(index_id: int) -> int:
    with vectors(index_id) as collection:
        return int(collection.count())


def stored_ids(index_id: int) -> set[str]:
    with vectors(index_id) as collection:
        return set(collection.get(include=[])["ids"])


def nearest(
    index_id: int, asked: np.ndarray, k: int, documents: Sequence[int] | None = None
) -> list[list[tuple[int, float]]]:
    """The `k` nearest (chunk id, cosine similarity) to each row of `asked`, best first; among `documents` if given."""
    if documents is None:
        return _query(index_id, asked, k, None)
    portions = [documents[i : i + DOCUMENTS_PER_QUERY] for i in range(0, len(documents), DOCUMENTS_PER_QUERY)]
    found = [_query(index_id, asked, k, {"document": {"$in": list(portion)}}) for portion in portions]
    return [heapq.nlargest(k, chain.from_iterable(rows), key=itemgetter(1)) for rows in zip(*found, strict=True)] or [
        [] for _ in asked
    ]


def _query(index_id: int, asked: np.ndarray, k: int, where: dict[str, Any] | None) -> list[list[tuple[int, float]]]:
    with vectors(index_id) as collection:
        found = collection.query(query_embeddings=asked, n_results=k, where=where, include=["distances"])
    return [
        [(int(id), 1 - float(distance)) for id, distance in zip(*row, strict=True) if id.isdecimal()]
        for row in zip(found["ids"], found["distances"], strict=True)
    ]


def _name(index_id: int) -> str:
    return f"index-{index_id}"


def _stamp(folder: Path) -> Stamp:
    try:
        found = (folder / "chroma.sqlite3").stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _embedded(folder: Path) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(path=str(folder), settings=Settings(anonymized_telemetry=False))


def _server(url: str) -> Any:
    import chromadb
    from chromadb.config import Settings

    parts = urlsplit(url)
    secure = parts.scheme == "https"
    return chromadb.HttpClient(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or (443 if secure else 8000),
        ssl=secure,
        settings=Settings(anonymized_telemetry=False),
    )

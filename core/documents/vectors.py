"""Chroma: inside this process, stored in the home folder, or a server at LOWEST_RUNG_CHROMA_URL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.settings import get_settings

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
def vectors(collection: str) -> Iterator[Any]:
    """The collection of this name, made if need be. Vectors have length 1, so cosine distances are exact."""
    with vector_store() as client:
        # No embedding function: Chroma's own would download a model at its first use.
        yield client.get_or_create_collection(
            collection, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )


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

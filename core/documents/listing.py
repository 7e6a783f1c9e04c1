"""What an index holds, without its texts: the lists and choices that screens draw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import func, or_, select

from core.documents.index import Changes
from core.documents.reading import SourceDocument
from core.errors import UserError
from core.store.database import session
from core.store.tables import Document

# A field of front matter with more values than this is no category, and too long to choose from.
MOST_VALUES = 50


@dataclass(frozen=True)
class Listed:
    """One document; `chunks` is 0 while it waits to be embedded."""

    id: int
    name: str
    title: str
    characters: int
    pages: int
    chunks: int
    warning: str = ""

    @property
    def kind(self) -> str:
        return PurePosixPath(self.name).suffix.removeprefix(".").lower()


@dataclass(frozen=True)
class Facets:
    """What a search can be narrowed to: names, folders as prefixes of names, and values by field of front matter."""

    names: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    meta: dict[str, list[str]] = field(default_factory=dict)


def listed(index_id: int, search: str = "", limit: int | None = None, offset: int = 0) -> tuple[int, list[Listed]]:
    """(how many fit, these of them by name): documents whose name or title contains `search`, in any case."""
    where: list[Any] = [Document.index_id == index_id]
    if search:
        where.append(or_(*(c.icontains(search, autoescape=True) for c in (Document.name, Document.title))))
    columns = (
        Document.id,
        Document.name,
        Document.title,
        func.length(Document.text),
        func.json_array_length(Document.pages),
        Document.chunk_count,
        Document.meta,
    )
    with session(read_only=True) as db:
        count = db.scalar(select(func.count()).where(*where)) or 0
        rows = db.execute(select(*columns).where(*where).order_by(Document.name).limit(limit).offset(offset))
        return count, [
            Listed(id, name, title, characters, pages, chunks, str(meta.get("warning", "")))
            for id, name, title, characters, pages, chunks, meta in rows
        ]


def facets(index_id: int) -> Facets:
    """What its documents can be told apart by."""
    values: dict[str, set[str]] = defaultdict(set)
    with session(read_only=True) as db:
        rows = db.execute(select(Document.name, Document.meta).where(Document.index_id == index_id))
        names = []
        for name, meta in rows:
            names.append(name)
            for key, value in meta.items():
                if key != "warning":
                    values[key].add(str(value))
    folders = {f"{parent.as_posix()}/" for name in names for parent in PurePosixPath(name).parents if parent.name}
    meta = {key: sorted(found) for key, found in sorted(values.items()) if len(found) <= MOST_VALUES}
    return Facets(sorted(names), sorted(folders), meta)


def document(document_id: int) -> Document:
    """A document with its text. Raises UserError when it is gone."""
    with session(read_only=True) as db:
        found = db.get(Document, document_id)
    if found is None:
        raise UserError("This document is not in the index any more.", "Ask again, or measure again, to see what is.")
    return found


def would_change(index_id: int, documents: Iterable[SourceDocument], keep: Container[str] = ()) -> Changes:
    """What `sync_documents` would do with these, removing those of the index that are neither among them nor kept."""
    given = {document.name: document.hash for document in documents}
    with session(read_only=True) as db:
        rows = db.execute(select(Document.name, Document.hash).where(Document.index_id == index_id))
        known = dict(rows.tuples().all())
    return Changes(
        tuple(name for name in given if name not in known),
        tuple(name for name, digest in given.items() if name in known and known[name] != digest),
        tuple(name for name in known if name not in given and name not in keep),
        tuple(name for name, digest in given.items() if known.get(name) == digest),
    )

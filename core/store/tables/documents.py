"""Knowledge in."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.store.tables.base import NEVER_REUSE_IDS, Base


class Index(Base):
    """A searchable collection of documents, cut and embedded one way."""

    __tablename__ = "indexes"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    embedder: Mapped[str]
    chunk_tokens: Mapped[int]
    overlap_tokens: Mapped[int]
    created_at: Mapped[float] = mapped_column(default=time.time)
    language: Mapped[str] = mapped_column(default="")
    """ISO 639-1 code of most of its documents; empty when nobody could tell."""
    mode: Mapped[str] = mapped_column(default="hybrid")
    """How it is searched unless a search says otherwise: `dense`, `sparse` or `hybrid`."""
    dense_weight: Mapped[float] = mapped_column(default=0.5)
    """Share of the dense list in the hybrid ranking, from 0 to 1."""
    reranker: Mapped[str] = mapped_column(default="")
    """Id of the cross-encoder that orders what was found anew; empty for none."""


class Document(Base):
    """One file of an index; `chunk_count` is 0 until it has been indexed."""

    __tablename__ = "documents"
    __table_args__ = (UniqueConstraint("index_id", "name"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    index_id: Mapped[int] = mapped_column(ForeignKey("indexes.id", ondelete="CASCADE"))
    name: Mapped[str]
    title: Mapped[str]
    hash: Mapped[str]
    text: Mapped[str]
    """The whole document as Markdown or plain text."""
    pages: Mapped[list[int]] = mapped_column(default=list)
    """Where each page begins in `text`, for documents that have pages; the first page is number 1."""
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the document says about itself, such as its front matter: texts and numbers by name."""
    chunk_count: Mapped[int] = mapped_column(default=0)


class Chunk(Base):
    """A passage of a document: what is embedded, searched and cited."""

    __tablename__ = "chunks"
    __table_args__ = (
        sa.Index(None, "document_id", "position"),
        sa.Index(None, "index_id", "indexed"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    """Also its id among the vectors and in the word index."""
    index_id: Mapped[int] = mapped_column(ForeignKey("indexes.id", ondelete="CASCADE"))
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    position: Mapped[int]
    """From 0 within the document."""
    hash: Mapped[str]
    """Of everything that determines its vector: embedder, heading and text."""
    text: Mapped[str]
    section: Mapped[str]
    """Path of the headings above it, joined by " > "; empty without headings."""
    page: Mapped[int | None]
    """The page it begins on, where the document has pages."""
    start: Mapped[int]
    """The characters of the document's text that it covers: from `start` ..."""
    end: Mapped[int]
    """... up to, not including, `end`."""
    indexed: Mapped[bool] = mapped_column(default=False)
    """Whether its vector and words are stored; one that is not is embedded (again)."""

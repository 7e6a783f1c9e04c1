"""Examples in."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from core.store.tables.base import NEVER_REUSE_IDS, Base


class Dataset(Base):
    """Validated examples under one content hash."""

    __tablename__ = "datasets"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    hash: Mapped[str]
    seed: Mapped[int]
    created_at: Mapped[float] = mapped_column(default=time.time)
    source: Mapped[str] = mapped_column(default="")
    """Names of the files it was read from."""
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    importing_at: Mapped[float | None]
    """Last sign of life of the import that fills it; empty once it is complete, and only then is it shown."""


class Example(Base):
    """One record of a dataset: prompt turns and the answer expected of them."""

    __tablename__ = "examples"
    __table_args__ = (
        sa.Index(None, "dataset_id", "split", "position"),
        sa.Index(None, "dataset_id", "label"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    position: Mapped[int]
    split: Mapped[str]
    """`train`, `validation` or `test`; `removed` for one that a person took out and can put back."""
    messages: Mapped[list[dict[str, Any]]]
    """The prompt turns, without the answer."""
    reference: Mapped[str]
    group: Mapped[str]
    label: Mapped[str | None]
    context: Mapped[str | None]
    tools: Mapped[list[dict[str, Any]] | None] = mapped_column(sa.JSON(none_as_null=True))
    """Functions the answer may call, as OpenAI's chat format defines them."""
    calls: Mapped[list[dict[str, Any]] | None] = mapped_column(sa.JSON(none_as_null=True))
    """The answer's tool calls, where it is one; `reference` is then their text."""
    folded: Mapped[str] = mapped_column(default="")
    """All its texts in folded case, which is what a search looks through."""
    note: Mapped[str] = mapped_column(default="")
    """What a person wrote beside it; not part of the content."""
    original: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """The columns as imported, once a person has changed any of them."""

"""What the clients of the server see."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.store.tables.base import NEVER_REUSE_IDS, Base


class ApiKey(Base):
    """Who may use the server: of the key itself only a hash is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("hash"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    hash: Mapped[str]
    """SHA-256 of the key, in hexadecimal."""
    beginning: Mapped[str]
    """Its first characters, by which a person knows it again."""
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    last_used_at: Mapped[float | None]
    requests_per_minute: Mapped[int | None]
    """Empty for no limit."""
    tokens_per_minute: Mapped[int | None]
    """Of prompts and answers together; empty for no limit."""


class ApiFile(Base):
    """A file sent to the server, or written by it; its bytes lie in the home folder under its public id."""

    __tablename__ = "api_files"
    __table_args__ = (UniqueConstraint("public_id"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str]
    """`file-` and what nobody can guess."""
    name: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int]
    hash: Mapped[str]
    """SHA-256 of its content, in hexadecimal."""
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float | None]


class FineTune(Base):
    """A training job as the server's clients see it; what happens to it is its job's record."""

    __tablename__ = "fine_tunes"
    __table_args__ = (UniqueConstraint("public_id"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str]
    """`ftjob-` and what nobody can guess."""
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    """The job that checks its files, then the one that trains."""
    created_at: Mapped[float] = mapped_column(default=time.time)
    model: Mapped[str]
    """As it was asked for."""
    training_file: Mapped[str]
    """Public id of the file."""
    validation_file: Mapped[str | None]
    result_file: Mapped[str | None]
    suffix: Mapped[str | None]
    seed: Mapped[int]
    request: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What was asked for besides: hyperparameters, method, metadata."""
    error: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """Why it never became a training: `code`, `message`, `param`."""
    fine_tuned_model: Mapped[str | None]
    """The model's public name, once it has one: it outlives the job's record."""
    trained_tokens: Mapped[int | None]
    finished_at: Mapped[float | None]


class Withheld(Base):
    """A model that the server does not offer, by its public name; all others are offered."""

    __tablename__ = "withheld"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)

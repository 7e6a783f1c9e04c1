"""Long work, and what it measured."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from core.store.tables.base import NEVER_REUSE_IDS, Base


class Job(Base):
    """Long work in its own process. What a job does is its handler's affair; this is what all may see."""

    __tablename__ = "jobs"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    title: Mapped[str] = mapped_column(default="")
    spec: Mapped[dict[str, Any]] = mapped_column(default=dict)
    device: Mapped[str] = mapped_column(default="cpu")
    status: Mapped[str] = mapped_column(default="queued", index=True)
    """`queued`, `running`, `done`, `stopped`, `failed` or `interrupted`."""
    turn: Mapped[float] = mapped_column(default=time.time)
    """Waiting jobs of a device start in this order; the moment they were queued, unless a person moved them."""
    after: Mapped[list[int]] = mapped_column(default=list)
    """Jobs that must be done first."""
    expected_s: Mapped[float | None]

    created_at: Mapped[float] = mapped_column(default=time.time)
    started_at: Mapped[float | None]
    """When the present attempt began."""
    finished_at: Mapped[float | None]
    pid: Mapped[int | None]
    """Of a running job: its process. Of a queued one: the foreground process that will run it itself."""
    process_started: Mapped[float | None]
    """Start time of that process: with the pid it names one process for good, as pids are used again."""
    heartbeat_at: Mapped[float | None]
    """Empty until the job's process has taken over."""
    stop_requested_at: Mapped[float | None]
    stop_then: Mapped[str] = mapped_column(default="")
    """What becomes of it once stopped: empty to resume it later, `keep` or `discard` what it made so far."""

    done: Mapped[float] = mapped_column(default=0.0)
    total: Mapped[float] = mapped_column(default=0.0)
    progress_at: Mapped[float | None]
    """When `done` was reported."""
    attempt_done: Mapped[float] = mapped_column(default=0.0)
    """`done` when this attempt (or its present phase) first reported: the speed is measured from there."""
    attempt_since: Mapped[float | None]
    """When that was."""
    message: Mapped[str] = mapped_column(default="")
    error: Mapped[str] = mapped_column(default="")
    remedy: Mapped[str] = mapped_column(default="")
    traceback: Mapped[str] = mapped_column(default="")
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the handler found along the way, by name, for its screen; kept over all attempts."""
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Metric(Base):
    """One measured value of a job. A value that was not a number is stored as NULL."""

    __tablename__ = "metrics"
    __table_args__ = (
        sa.Index(None, "job_id", "id"),
        sa.Index(None, "job_id", "name", "step"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    step: Mapped[int]
    name: Mapped[str]
    value: Mapped[float | None]
    time: Mapped[float]

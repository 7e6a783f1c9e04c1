"""Experiments: what was asked, answered, scored and chosen."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.store.tables.base import NEVER_REUSE_IDS, Base


class Experiment(Base):
    """A set of rungs on one test split under one metric. Its dataset cannot be deleted before it."""

    __tablename__ = "experiments"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=time.time)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    index_id: Mapped[int | None] = mapped_column(ForeignKey("indexes.id", ondelete="SET NULL"))
    adapter_id: Mapped[int | None] = mapped_column(ForeignKey("adapters.id", ondelete="SET NULL"))
    train_job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    model: Mapped[str]
    metric: Mapped[str]
    """The identity of the metric that decides."""
    metrics: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """All metrics, the deciding one first: `name` and `settings`."""
    target: Mapped[float | None]
    delta: Mapped[float]
    seed: Mapped[int]
    spec: Mapped[dict[str, Any]] = mapped_column(default=dict)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    report: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    rerun_of: Mapped[int | None]
    """The experiment that this one repeats, which may be gone by now."""


class Prediction(Base):
    """A rung's answer to one example, stored as it comes: what is here is never asked again."""

    __tablename__ = "predictions"
    __table_args__ = (UniqueConstraint("experiment_id", "rung", "example_id", "sample"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"))
    rung: Mapped[str]
    example_id: Mapped[int] = mapped_column(ForeignKey("examples.id"), index=True)
    sample: Mapped[int] = mapped_column(default=0)
    """Which of the repeated answers to the same question, from 0."""
    key: Mapped[str] = mapped_column(default="", index=True)
    """Hash of everything that determines the answer; empty for those of before it was noted."""
    reused: Mapped[bool] = mapped_column(default=False)
    """Taken over from an earlier experiment, so neither asked nor paid for again."""
    output: Mapped[str]
    error: Mapped[str | None]
    finish_reason: Mapped[str | None]
    input_tokens: Mapped[int] = mapped_column(default=0)
    output_tokens: Mapped[int] = mapped_column(default=0)
    latency_s: Mapped[float] = mapped_column(default=0.0)
    cost_usd: Mapped[float] = mapped_column(default=0.0)
    retrieved: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """Chunks used: `chunk_id`, `source`, `title`, `text`, `score`."""


class Score(Base):
    """One metric's value for one prediction; NULL where the metric does not apply to its rung."""

    __tablename__ = "scores"
    __table_args__ = (UniqueConstraint("prediction_id", "metric"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    prediction_id: Mapped[int] = mapped_column(ForeignKey("predictions.id", ondelete="CASCADE"))
    metric: Mapped[str]
    """The metric's identity: its name, and a hash of its settings where it has any."""
    value: Mapped[float | None]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Why: what failed, what a judge said, which keys were right."""


class Vote(Base):
    """One person's blind choice between two rungs' answers to one example."""

    __tablename__ = "votes"
    __table_args__ = (
        UniqueConstraint("experiment_id", "example_id", "rung_a", "rung_b", "voter"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"))
    example_id: Mapped[int] = mapped_column(ForeignKey("examples.id"), index=True)
    rung_a: Mapped[str]
    """The lower of the two."""
    rung_b: Mapped[str]
    choice: Mapped[str]
    """`a`, `b` or `tie`."""
    swapped: Mapped[bool]
    """Whether the answer of `rung_b` was shown first."""
    voter: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=time.time)


class Judgement(Base):
    """A judge model's choice between two rungs' answers to one example, shown in one order."""

    __tablename__ = "judgements"
    __table_args__ = (
        UniqueConstraint("experiment_id", "example_id", "rung_a", "rung_b", "swapped", "judge"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"))
    example_id: Mapped[int] = mapped_column(ForeignKey("examples.id"), index=True)
    rung_a: Mapped[str]
    """The lower of the two."""
    rung_b: Mapped[str]
    swapped: Mapped[bool]
    """Whether the answer of `rung_b` was shown first."""
    judge: Mapped[str]
    """The judging model and a hash of how it was asked."""
    key: Mapped[str] = mapped_column(default="", index=True)
    """Hash of the question and of both answers in the order shown; empty for those of before it was noted."""
    choice: Mapped[str]
    """`a`, `b`, `tie` or `unreadable`."""
    reason: Mapped[str] = mapped_column(default="")
    cost_usd: Mapped[float] = mapped_column(default=0.0)

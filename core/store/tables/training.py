"""What trainings leave."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.store.tables.base import NEVER_REUSE_IDS, Base


class Sample(Base):
    """What a model in training answers to one fixed question, at one step."""

    __tablename__ = "samples"
    __table_args__ = (UniqueConstraint("job_id", "step", "position"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    step: Mapped[int]
    """0 before the first step: the base model's answer."""
    position: Mapped[int]
    """Which of the fixed questions, from 0."""
    prompt: Mapped[str]
    """The last turn of the question."""
    reference: Mapped[str]
    output: Mapped[str]


class Adapter(Base):
    """The weights a training run produced: LoRA matrices, or with the method `full` a whole model."""

    __tablename__ = "adapters"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"))
    base_model: Mapped[str]
    method: Mapped[str]
    recipe: Mapped[dict[str, Any]] = mapped_column(default=dict)
    path: Mapped[str]
    """Relative to the home folder."""
    eval_loss: Mapped[float | None]
    created_at: Mapped[float] = mapped_column(default=time.time)
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Figures of the run and what was found since: `step`, `data_hash`, `forgetting` and the like."""
    deleted_at: Mapped[float | None]
    """When a person deleted it; it can be brought back until its files are cleared away."""

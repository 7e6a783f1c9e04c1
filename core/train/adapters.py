"""Adapters after their run: made of a checkpoint, deleted, brought back, and cleared away for good."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence

from sqlalchemy import select, update

from core.errors import UserError
from core.jobs import queue
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter, Experiment, Job
from core.train.checkpoints import best_checkpoint

KEPT_S = 7 * 86_400.0


def delete(adapter_id: int) -> None:
    """Take an adapter off every list; `restore` brings it back. Those deleted a week ago are cleared away now."""
    with session() as db:
        _row(db.get(Adapter, adapter_id), adapter_id).deleted_at = time.time()
    clear_away()


def restore(adapter_id: int) -> None:
    """Undo `delete`. Raises UserError when its files have been cleared away."""
    with session() as db:
        _row(db.get(Adapter, adapter_id), adapter_id).deleted_at = None


def rename(adapter_id: int, name: str) -> None:
    """Call it something else. Raises UserError for a name without letters."""
    if not name.strip():
        raise UserError("An adapter needs a name.", "Type one.")
    with session() as db:
        _row(db.get(Adapter, adapter_id), adapter_id).name = name.strip()


def deleted() -> list[Adapter]:
    """The adapters that can still be brought back, last deleted first."""
    with session(read_only=True) as db:
        query = select(Adapter).where(Adapter.deleted_at.is_not(None))
        return list(db.scalars(query.order_by(Adapter.deleted_at.desc(), Adapter.id.desc())))


def clear_away(older_than_s: float = KEPT_S) -> list[int]:
    """Remove record and files of the adapters deleted so long ago; returns their ids.

    One that a comparison without a report still needs stays, deleted as it is, until that is finished or deleted.
    """
    with session() as db:
        open_ones = db.scalars(select(Experiment).where(Experiment.report.is_(None))).all()
        gone = [
            adapter
            for adapter in db.scalars(select(Adapter).where(Adapter.deleted_at <= time.time() - older_than_s))
            if not _is_needed(adapter, open_ones)
        ]
        for adapter in gone:
            db.delete(adapter)
    for adapter in gone:
        shutil.rmtree(get_settings().home / adapter.path, ignore_errors=True)
    return [adapter.id for adapter in gone]


def keep_checkpoint(job_id: int) -> Adapter:
    """Make an adapter of what a training that ended early had learned: its best whole checkpoint.

    The best by evaluation loss, else the newest. The run can still be resumed; its record names the adapter. Raises
    UserError when the run has not ended early, or has saved no checkpoint.
    """
    job = queue.get(job_id)
    if job.kind != "train" or job.status not in queue.RESUMABLE:
        raise UserError(
            f"Job {job_id} ({job.kind}) is {job.status}.", "Only a training that ended early has checkpoints to keep."
        )
    checkpoint = best_checkpoint(queue.folder(job_id))
    if checkpoint is None:
        raise UserError(
            f"Job {job_id} saved no whole checkpoint before it ended.", "Resume it: it starts from the beginning."
        )
    # Imported only now, since the trainer's modules come with it.
    from core.train.job import figures, store_adapter

    adapter = store_adapter(job_id, job.spec, checkpoint, figures(job.notes, int(job.done)))
    with session() as db:
        db.execute(update(Job).where(Job.id == job_id).values(result={"adapter_id": adapter.id}))
    return adapter


def _row(adapter: Adapter | None, adapter_id: int) -> Adapter:
    if adapter is None:
        raise UserError(f"There is no adapter {adapter_id}.", "It has been cleared away; train it again.")
    return adapter


def _is_needed(adapter: Adapter, experiments: Sequence[Experiment]) -> bool:
    """Whether one of these comparisons names it, or the run that made it."""
    return any(
        adapter.id in (experiment.adapter_id, experiment.spec.get("rag_adapter_id"))
        or (experiment.adapter_id is None and adapter.job_id is not None and experiment.train_job_id == adapter.job_id)
        for experiment in experiments
    )

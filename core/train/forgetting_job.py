"""The job that checks what an adapter forgot, and writes it beside the adapter."""

from __future__ import annotations

from typing import Any

from core.errors import UserError
from core.jobs.context import JobContext
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter
from core.train.card import write_card
from core.train.forgetting import check
from core.train.job import adapter_of_job


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `adapter_id`, or `train_job_id` for the adapter of a training that comes first."""
    adapter = _adapter(context.spec)

    def progress(done: float, total: float, message: str) -> None:
        context.check_stop()
        context.progress(done, total, message)

    found = check(adapter.base_model, get_settings().home / adapter.path, adapter.method, progress).as_dict()
    with session() as db:
        row = db.get(Adapter, adapter.id)
        if row is None:
            raise UserError("The adapter was deleted while it was checked.", "Choose another one.")
        row.notes = row.notes | {"forgetting": found}
    write_card(row)
    return {"adapter_id": adapter.id, "text": found["text"]}


def _adapter(spec: dict[str, Any]) -> Adapter:
    if "train_job_id" in spec:
        found = adapter_of_job(spec["train_job_id"])
    else:
        with session(read_only=True) as db:
            found = db.get(Adapter, spec["adapter_id"])
    if found is None or found.deleted_at is not None:
        raise UserError("There is no such adapter any more.", "Choose another one, or bring it back from the deleted.")
    return found

"""The job that fills an index."""

from __future__ import annotations

from typing import Any

from core.documents.index import build_index
from core.jobs.context import JobContext


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `index_id`. Goes on after a stop or a kill with the documents that are not done."""

    def after_step(done: int, total: int) -> None:
        context.progress(done, total, "Reading and embedding documents")
        context.check_stop()

    return {"chunks": build_index(context.spec["index_id"], after_step)}

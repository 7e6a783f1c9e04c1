"""What can be a job: one line per kind. A record can only ever name a kind, never a piece of code to run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.jobs.context import JobContext

Handler = Callable[["JobContext"], dict[str, Any] | None]

HANDLERS: dict[str, str] = {
    "import": "core.data.importing_job:run",
    "index": "core.documents.job:run",
    "preflight": "core.train.preflight_job:run",
    "train": "core.train.job:run",
    "forgetting": "core.train.forgetting_job:run",
    "compare": "core.evaluate.job:run",
    "lab": "core.evaluate.lab_job:run",
    "validate": "core.api.validate_job:run",
    "serve": "core.api.serve_job:run",
    "export": "core.publish.job:run",
    "managed": "core.managed.job:run",
}


def load(kind: str) -> Handler:
    """The function behind a kind, imported only now, in the process that runs it."""
    module, _, name = HANDLERS[kind].partition(":")
    handler: Handler = getattr(importlib.import_module(module), name)
    return handler

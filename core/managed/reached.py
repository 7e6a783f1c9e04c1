"""How far a managed fine-tune has come, kept so that no kill can lose it."""

from __future__ import annotations

import json
from typing import Any

from core.jobs.context import JobContext


class Reached:
    """What has been reached there: in a file before the next step is taken, and in the job's notes for its screen."""

    FIELDS = ("file_id", "validation_file_id", "jobs_before", "perhaps_created", "remote_job_id", "remote_status")

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._path = context.folder / "reached.json"
        known = json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}
        self._fields: dict[str, Any] = dict.fromkeys(self.FIELDS) | known
        self._show()

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    @property
    def steps(self) -> tuple[float, float]:
        """(done, total) as last seen there."""
        return self._context.notes.get("steps", 0), self._context.notes.get("total_steps", 0)

    def note(self, **fields: Any) -> None:
        if all(self._fields.get(name) == value for name, value in fields.items()):
            return
        self._fields |= fields
        scratch = self._path.with_suffix(".writing")
        scratch.write_text(json.dumps(self._fields), encoding="utf-8")
        scratch.replace(self._path)
        self._show()

    def _show(self) -> None:
        self._context.note(**{name: value for name, value in self._fields.items() if name != "jobs_before"})

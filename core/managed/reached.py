"""How far a managed fine-tune has come, kept so that neither a kill nor a deleted record can lose it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from core.settings import get_settings


class Reached:
    """What has been reached there, in a file before the next step is taken; `show` is told it, for a screen.

    The file belongs to the content, by its `key`, and not to a job: whichever job of ours sends the same goes on from
    it, even where the one before was discarded or deleted.
    """

    FIELDS = ("file_id", "validation_file_id", "jobs_before", "perhaps_created", "remote_job_id", "remote_status")

    def __init__(self, key: str, show: Callable[..., None]) -> None:
        self._show_fields = show
        self._path = get_settings().home / "managed" / f"{key}.json"
        known = json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}
        self._fields: dict[str, Any] = dict.fromkeys(self.FIELDS) | known
        self._show()

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def note(self, **fields: Any) -> None:
        if all(self._fields.get(name) == value for name, value in fields.items()):
            return
        self._fields |= fields
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        scratch = self._path.with_suffix(".writing")
        scratch.write_text(json.dumps(self._fields), encoding="utf-8")
        scratch.replace(self._path)
        self._show()

    def _show(self) -> None:
        self._show_fields(**{name: value for name, value in self._fields.items() if name != "jobs_before"})

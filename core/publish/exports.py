"""What was exported: a folder for each, with the files to take away and a record beside them.

The record stays out of the files: it holds answers to test examples, and the files travel.
"""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError
from core.jobs import queue
from core.jobs.background import job_device
from core.models.package import MOST_BYTES
from core.settings import get_settings
from core.store.tables import Adapter

What = Literal["merged", "gguf"]
RECORD, FILES = "export.json", "files"


@dataclass(frozen=True)
class Export:
    """`id` is that of the job that made it. `check` is a Check as plain data; None where it could not be checked.

    `identity` tells the weights it was made of; `live` are the live adapter's answers to the questions of the check.
    """

    id: int
    adapter_id: int
    adapter_name: str
    base: str
    what: What
    check: dict[str, Any] | None
    identity: str
    live: list[str]
    notes: dict[str, Any] = field(default_factory=dict)
    made_at: float = field(default_factory=time.time)

    @property
    def folder(self) -> Path:
        """The files to take away."""
        return _root() / str(self.id) / FILES

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def submit(adapter: Adapter, what: What, **more: Any) -> int:
    """Queue the job that makes an export; its id, which will be the export's. `more` joins the spec."""
    title = {"merged": "merged", "gguf": "GGUF"}[what]
    spec = {"adapter_id": adapter.id, "what": what} | more
    return queue.submit("export", spec, title=f"Export: {adapter.name}, {title}", device=job_device())


def exports(adapter_id: int | None = None) -> list[Export]:
    """All exports, or those of one adapter, newest first."""
    # One that was killed while it was moved has a folder of another name.
    found = [_read(path) for path in _root().glob(f"*/{RECORD}") if path.parent.name.isdigit()]
    listed = [one for one in found if adapter_id is None or one.adapter_id == adapter_id]
    return sorted(listed, key=lambda one: one.id, reverse=True)


def export(export_id: int) -> Export:
    """Raises UserError when it was deleted."""
    path = _root() / str(export_id) / RECORD
    if not path.is_file():
        raise UserError(f"There is no export {export_id}.", "It was deleted; make it again on the Serve page.")
    return _read(path)


def made(export_id: int) -> bool:
    return (_root() / str(export_id) / RECORD).is_file()


def delete(export_id: int) -> None:
    """Remove its files and its record. It can be made again from the adapter."""
    shutil.rmtree(_root() / str(export_id), ignore_errors=True)


def keep(made_of: Export, files: Path) -> None:
    """Store an export whose `files` are complete; they are moved. It appears whole or not at all."""
    target = _root() / str(made_of.id)
    scratch = target.with_name(f"{made_of.id}.making")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    files.rename(scratch / FILES)
    (scratch / RECORD).write_text(json.dumps(asdict(made_of)), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)


def too_large(made_of: Export) -> bool:
    """Whether it is too large to go through a browser in one piece."""
    return made_of.bytes > MOST_BYTES


def zipped(made_of: Export) -> bytes:
    """All its files in one archive, in a folder of the name of what it is. Raises UserError when it is too large."""
    if too_large(made_of):
        raise UserError(
            f"The export holds {made_of.bytes / 1e9:.1f} GB, too much to send through a browser.",
            "Copy its folder instead.",
        )
    out = io.BytesIO()
    # Weights do not shrink; storing them is quick.
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(made_of.folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{made_of.what}/{path.relative_to(made_of.folder).as_posix()}")
    return out.getvalue()


def need_room(size: float) -> None:
    """Raise UserError unless the disk has so many bytes free."""
    free = shutil.disk_usage(get_settings().home).free
    if free < size:
        raise UserError(
            f"The export needs about {size / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB are free.",
            "Delete exports or adapters no longer needed, or free the disk of the home folder.",
        )


def _root() -> Path:
    return get_settings().home / "exports"


def _read(path: Path) -> Export:
    return Export(**json.loads(path.read_text(encoding="utf-8")))

"""What all commands share: a console that never reads names as markup, and jobs run in the foreground with progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from core.errors import UserError
from core.jobs.run import run_foreground
from core.models.loading import compute_device

# No markup: names and messages may hold brackets, which are texts like any other.
console = Console(highlight=False, markup=False, soft_wrap=True)
errors = Console(highlight=False, markup=False, soft_wrap=True, stderr=True)
if not console.is_terminal:
    console.width = 120  # a file or a pipe has no width of its own, and tables need this much
# Where nothing can be redrawn (a file, a pipe), a line now and then is all the progress one wants.
LINE_EVERY_S = 10.0


def in_foreground(
    kind: str, spec: dict[str, Any], title: str, after: Sequence[int] = (), expected_s: float | None = None
) -> int:
    """Run a job in this process with its progress on screen; its id. Raises UserError unless it ends done."""
    with _progress(title) as report:
        job = run_foreground(
            kind, spec, title=title, device=compute_device(), after=after, expected_s=expected_s, on_progress=report
        )
    if job.status == "done":
        return job.id
    if job.error:
        raise UserError(job.error, job.remedy)
    raise UserError(f"{title} was {job.status}.", f"Resume it as job {job.id} on the Jobs page.")


def prepare_folder(out: Path) -> None:
    """Make the folder for the results now: minutes later, it would be a pity to find that it cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {out} cannot be made: {error.strerror}.", "Give another with --out.") from error


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error


@contextmanager
def _progress(title: str) -> Iterator[Callable[[float, float, str], None]]:
    started = time.monotonic()
    if not console.is_terminal:
        said = 0.0

        def line(done: float, total: float, message: str) -> None:
            nonlocal said
            if time.monotonic() - said >= LINE_EVERY_S:
                said = time.monotonic()
                share = f"{done / total:4.0%} " if total else ""
                console.print(f"{title}: {share}{message}")

        yield line
    else:
        columns = (
            TextColumn("{task.fields[title]}", markup=False),
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=None, title=title)

            def move(done: float, total: float, message: str) -> None:
                bar.update(task, completed=done, total=total or None, description=message)

            yield move
    console.print(f"{title}: {time.monotonic() - started:.0f} s")

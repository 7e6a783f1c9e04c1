"""Handlers that do little, for tests of everything around them."""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.jobs import kinds
from core.jobs.context import JobContext, Stopped
from core.settings import get_settings


def register() -> None:
    """Make these handlers known to this process, as kinds beside the product's own."""
    for handler in (count, learn, stubborn, fail, locked, loud):
        kinds.HANDLERS[handler.__name__] = f"{__name__}:{handler.__name__}"


def count(ctx: JobContext) -> dict[str, Any]:
    """Count to `steps`, `pause` seconds each, with a checkpoint per step; resumes where it was."""
    checkpoint = ctx.folder / "counted"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    steps = ctx.spec["steps"]
    ctx.progress(first, steps, "Counting")
    for step in range(first, steps):
        ctx.check_stop()
        time.sleep(ctx.spec["pause"])
        # Replaced in one go: a kill in the middle of a write would leave an empty checkpoint.
        written = ctx.folder / "counted.new"
        written.write_text(str(step + 1))
        written.replace(checkpoint)
        ctx.metric(step, value=float(step), pid=os.getpid())
        ctx.progress(step + 1, steps, "Counting")
    return {"first": first, "steps": steps}


def learn(ctx: JobContext) -> dict[str, Any]:
    """Count like a training: a checkpoint as it stops, and what it has is its result when that is to be kept."""
    checkpoint = ctx.folder / "checkpoint" / "step"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    ctx.note(begun=[*ctx.notes.get("begun", []), first], last=math.nan)
    for step in range(first, ctx.spec["steps"]):
        if ctx.stop_requested():
            if ctx.stop_then == "keep":
                return {"kept": step}
            checkpoint.parent.mkdir(exist_ok=True)
            checkpoint.write_text(str(step))
            raise Stopped
        time.sleep(0.02)
        ctx.metric(step, value=float(step))
        ctx.progress(step + 1, ctx.spec["steps"])
    return {"kept": ctx.spec["steps"]}


def stubborn(ctx: JobContext) -> None:
    """Never looks whether it should stop, and has started a process of its own."""
    helper = subprocess.Popen(["sleep", "60"])
    (ctx.folder / "saved").write_text("much")
    ctx.metric(0, helper=helper.pid)
    while True:
        time.sleep(0.1)


def fail(ctx: JobContext) -> None:
    """Fail in the way `how` says, as far as possible by really doing it."""
    match ctx.spec["how"]:
        case "user":
            raise UserError("Line 17 has no answer.", "Add it.")
        case "disk":
            try:
                Path("/dev/full").write_text("x" * 10_000)
            except OSError as error:
                raise RuntimeError("Error while serializing") from error
        case "memory":
            bytearray(1 << 60)
        case "result":
            ctx.spec["unserialisable"] = object()
            raise TypeError("bug in line one\nand two")
        case "import":
            kinds.HANDLERS["missing"] = "tests.jobs.nothing_here:run"
            kinds.load("missing")


def locked(ctx: JobContext) -> None:
    """Hold the database's write lock for `hold` seconds while reporting, as a bad neighbour would."""
    ctx.metric(0, loss=2.0)
    neighbour = sqlite3.connect(get_settings().home / "lowest-rung.db", isolation_level=None)
    neighbour.execute("BEGIN IMMEDIATE")
    ctx.metric(1, loss=1.0)
    time.sleep(ctx.spec["hold"])
    neighbour.execute("ROLLBACK")
    neighbour.close()
    ctx.metric(2, loss=math.nan)


def loud(ctx: JobContext) -> None:
    """Speak through every channel."""
    print("printed")
    ctx.log("logged")

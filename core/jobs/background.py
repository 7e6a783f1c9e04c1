"""Submitting from a screen: which device a job will need, told without importing torch, which takes seconds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.jobs import queue
from core.settings import get_settings


def job_device() -> str:
    """The device that jobs queue for: as set, else "cuda:0" where NVIDIA's driver is, else "cpu".

    Only the place in the queue hangs on it; the job itself asks torch.
    """
    wanted = get_settings().device
    if wanted != "auto":
        return wanted
    return "cuda:0" if Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") else "cpu"


def in_background(kind: str, spec: dict[str, Any], title: str, after: Sequence[int], expected_s: float) -> int:
    """`core.ladder.Submit` by way of the queue: the job runs in a process of its own."""
    return queue.submit(kind, spec, title=title, device=job_device(), after=after, expected_s=expected_s)

"""What the figures were measured on."""

from __future__ import annotations

import datetime
import os
import platform


def describe() -> str:
    """One line: date, processor, cores, memory, torch and its threads."""
    import psutil
    import torch

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{datetime.date.today()}: {platform.machine()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {accelerator}, Python {platform.python_version()}, "
        f"torch {torch.__version__} on {torch.get_num_threads()} threads"
    )

"""What this machine computes on: how much memory it has, how much of it is free, and how fast it multiplies."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.models.estimate import Device, Kind
from core.models.loading import compute_device

# Dense 16-bit operations with 32-bit sums that one multiprocessor does per cycle, by compute capability. Times
# multiprocessors and clock they give what the data sheets print: T4 65, A100 312, RTX 4090 165, H100 989 TFLOP/s.
OPERATIONS_PER_CYCLE = {(7, 0): 1024, (7, 5): 1024, (8, 0): 2048, (9, 0): 4096, (10, 0): 8192}
# Cards for desktops and all others: 8.6, 8.9, 12.0.
OTHERS_PER_CYCLE = 512
# What the system and other programs need of a computer's memory; of a GPU's, the driver's share.
LEFT_FREE = {"cpu": 0.1, "cuda": 0.04}
# Side of the matrices whose product measures a CPU: large enough to reach its speed, a few hundredths of a second.
SIDE = 1024


@dataclass(frozen=True)
class ThisDevice(Device):
    """The device a training here would run on. `memory_gb` is all it has, `free_gb` what nobody uses at the moment.

    On a CPU `bf16_tflops` is the measured speed of products in 32 bits, which is what a CPU computes in.
    """

    kind: Kind
    free_gb: float

    @property
    def usable_gb(self) -> float:
        """The memory a run may count on once it is alone."""
        return self.memory_gb * (1 - LEFT_FREE[self.kind])


def this_device() -> ThisDevice:
    """The device that jobs use here (LOWEST_RUNG_DEVICE, or the GPU where there is one)."""
    name = compute_device()
    return _cpu() if name == "cpu" else _gpu(name)


def _cpu() -> ThisDevice:
    import psutil

    memory = psutil.virtual_memory()
    limit = _container_limit()
    total = min(memory.total, limit) / 1e9
    title = f"this computer's processor ({os.cpu_count()} cores)"
    # The bandwidth is a laptop's: training hardly depends on it.
    return ThisDevice(title, total, cpu_tflops(), 20, "cpu", min(memory.available / 1e9, total))


def _gpu(name: str) -> ThisDevice:
    import torch

    free, total = torch.cuda.mem_get_info(name)
    found = torch.cuda.get_device_properties(name)
    per_cycle = OPERATIONS_PER_CYCLE.get((found.major, found.minor), OTHERS_PER_CYCLE)
    tflops = found.multi_processor_count * found.clock_rate * 1e3 * per_cycle / 1e12
    bandwidth = 2 * found.memory_clock_rate * 1e3 * found.memory_bus_width / 8 / 1e9
    return ThisDevice(found.name, total / 1e9, tflops, bandwidth, "cuda", free / 1e9)


def _container_limit() -> float:
    """Bytes of memory that the container may use; infinite without one."""
    file = Path("/sys/fs/cgroup/memory.max")
    text = file.read_text(encoding="ascii").strip() if file.is_file() else "max"
    return float("inf") if text == "max" else float(text)


@cache
def cpu_tflops() -> float:
    """10^12 operations a second of 32-bit matrix products here: the best of twenty tries, as others run too."""
    import numpy as np

    a = np.ones((SIDE, SIDE), dtype=np.float32)
    fastest = min(_seconds(a) for _ in range(20))
    return 2 * SIDE**3 / fastest / 1e12


def _seconds(a: object) -> float:
    started = time.perf_counter()
    a @ a  # type: ignore[operator]
    return time.perf_counter() - started

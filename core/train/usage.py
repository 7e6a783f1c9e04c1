"""What the machine has in use while training: memory in GB of 10^9 bytes, shares in percent."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

from core.models.loading import compute_device

# Often enough to see the logits of one batch come and go.
LOOK_S = 0.02


def _on_gpu() -> bool:
    return compute_device().startswith("cuda")


def memory_gb() -> float:
    """The GPU's peak since it was last reset where it computes, else this process's resident memory."""
    import torch

    if _on_gpu():
        return torch.cuda.max_memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9


class Usage:
    """Values beside each step: `cpu_percent` (100 per core) and, with a GPU, its use and its memory."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # measures from one call to the next

    def values(self) -> dict[str, float]:
        import torch

        found = {"memory_gb": memory_gb(), "cpu_percent": self._process.cpu_percent()}
        if _on_gpu():
            found["gpu_percent"] = float(torch.cuda.utilization())
            found["gpu_memory_gb"] = torch.cuda.memory_reserved() / 1e9
        return found


class Peak:
    """The most memory in use within a `with` block, in `gb`: the GPU's own count, or many looks at the process."""

    def __init__(self) -> None:
        self.gb = 0.0
        self._done = threading.Event()

    def __enter__(self) -> Peak:
        import torch

        if _on_gpu():
            torch.cuda.reset_peak_memory_stats()
        else:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self.gb = max(self.gb, memory_gb())

    def _watch(self) -> None:
        while not self._done.wait(LOOK_S):
            self.gb = max(self.gb, memory_gb())

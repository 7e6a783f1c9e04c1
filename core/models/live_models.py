"""What a live engine answers with: its base, LoRA matrices on it, and one whole tuned model beside it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from core.models.loading import LoadedModel
from core.models.networks import Networks, is_whole_model
from core.models.slots import bytes_per_token

# LoRA adapters in memory; those in use stay, and those used last.
MOST_ADAPTERS = 16

# Rows with the same group share a pass: all that mix; else those of one adapter.
Group = Path | None


class LiveModels:
    """`wake` is called when a model has been opened beside the work, `gone` with one that made room for another."""

    def __init__(self, loaded: LoadedModel, wake: Callable[[], None], gone: Callable[[Path], None]) -> None:
        self._device, self._wake, self._gone = loaded.device, wake, gone
        self._networks = Networks(loaded)
        self._bytes_per_token: dict[Group, int | None] = {None: bytes_per_token(loaded.model, loaded.device)}
        # The adapters that are on the base, those used last at the end, and whom they share passes with.
        self._groups: OrderedDict[Path, Group] = OrderedDict()
        self._opener = ThreadPoolExecutor(1, "open-model")
        self._opening: tuple[Path, Future[Any]] | None = None

    @property
    def adapters(self) -> int:
        """LoRA adapters on the base."""
        return len(self._groups)

    @property
    def opening(self) -> bool:
        """Whether a whole model is on its way."""
        return self._opening is not None

    def open(self, adapter: Path, used: Collection[Path | None]) -> bool:
        """Whether rows may answer with it. Raises UserError.

        False while a whole model is on its way, or while adapters that are `used` leave no room for another.
        """
        return self._open_whole(adapter, used) if is_whole_model(adapter) else self._put_on(adapter, used)

    def group(self, adapter: Path | None) -> Group:
        return self._groups.get(adapter, adapter) if adapter else None

    def bytes_per_token(self, group: Group) -> int | None:
        """See `slots.bytes_per_token`."""
        return self._bytes_per_token.get(group, self._bytes_per_token[None])

    def network(self, group: Group, adapters: Sequence[Path | None]) -> Any:
        """The network for a pass of that group whose rows have these adapters."""
        return self._networks.switched_to(group) if group else self._networks.mixed(adapters)

    def close(self) -> None:
        self._opener.shutdown(wait=False, cancel_futures=True)

    def _put_on(self, adapter: Path, used: Collection[Path | None]) -> bool:
        if adapter in self._groups:
            self._groups.move_to_end(adapter)
            return True
        if len(self._groups) >= MOST_ADAPTERS:
            oldest = next((each for each in self._groups if each not in used), None)
            if oldest is None:
                return False
            self._networks.take_off(oldest)
            del self._groups[oldest]
            self._gone(oldest)
        self._networks.put_on(adapter)
        self._groups[adapter] = None if self._networks.mixes(adapter) else adapter
        return True

    def _open_whole(self, folder: Path, used: Collection[Path | None]) -> bool:
        """One whole tuned model is in memory at a time, and opened beside the work, since that takes its time."""
        if self._opening and self._opening[1].done():
            opened, future = self._opening
            self._opening = None
            if opened == folder:
                self._bytes_per_token[folder] = bytes_per_token(future.result(), self._device)
        if folder in self._bytes_per_token:
            return True
        others = [group for group in self._bytes_per_token if group]
        if self._opening or any(other in used for other in others):
            return False
        for other in others:
            del self._bytes_per_token[other]
            self._gone(other)
        self._opening = folder, self._opener.submit(self._networks.switched_to, folder)
        self._opening[1].add_done_callback(lambda _: self._wake())
        return False

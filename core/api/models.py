"""The models behind the server: found by name, opened when first asked for; one base stays in memory when idle."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.api import names
from core.api.errors import ApiError, model_not_available
from core.api.names import Offered as Offered
from core.api.names import base_of as base_of
from core.api.names import checkpoint_name as checkpoint_name
from core.api.names import offer as offer
from core.api.names import offered as offered
from core.api.names import public_name as public_name
from core.api.names import withhold as withhold
from core.errors import UserError

if TYPE_CHECKING:
    from core.models.live import Engine

# Between being handed an engine and asking it, a request takes moments; after so long it is idle for certain.
HANDED_OUT_S = 10.0
# Beside its weights a model needs room for what it reads and writes.
ROOM = 1.3


@dataclass
class _Held:
    engine: Engine
    asked_at: float


class Models:
    """What the server answers with. `more_bases` are offered besides those on the machine. Any thread may ask."""

    def __init__(self, more_bases: Sequence[str] = ()) -> None:
        self._more = tuple(more_bases)
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def offered(self) -> list[Offered]:
        """All that clients may use."""
        return [found for found in offered(self._more) if not found.withheld]

    def named(self, name: str) -> Offered:
        """The model of this name. Raises ApiError 404 for one that there is not, or that is withheld."""
        found = names.find(name, self._more)
        if found.withheld:
            raise names.not_found(name)
        return found

    def engine_for(self, name: str) -> tuple[Engine, Path | None, Offered]:
        """(engine, adapter's folder, model) for a name; blocks while a base is opened.

        Raises ApiError 404 for an unknown model, 503 while there is no memory for it beside those in use.
        """
        found = self.named(name)
        return self._in_memory(found) or self._open(found.base), found.folder, found

    def in_memory(self, name: str) -> tuple[Engine, Path | None] | None:
        """(engine, adapter's folder) for a name; None while its base is not open. Raises ApiError 404."""
        found = self.named(name)
        engine = self._in_memory(found)
        return None if engine is None else (engine, found.folder)

    def running_and_waiting(self) -> tuple[int, int]:
        """Answers under way, and those that wait for their turn."""
        with self._lock:
            figures = [held.engine.figures() for held in self._held.values()]
        return sum(figure.running for figure in figures), sum(figure.waiting for figure in figures)

    def close(self) -> None:
        """End all engines; what they are writing is cancelled."""
        with self._lock:
            gone, self._held = list(self._held.values()), {}
        for held in gone:
            held.engine.close()

    def _in_memory(self, found: Offered) -> Engine | None:
        with self._lock:
            held = self._held.get(found.base)
            if held is None:
                return None
            held.asked_at = time.monotonic()
            return held.engine

    def _open(self, base: str) -> Engine:
        from core.models.live import Engine
        from core.models.loading import load_model

        # One at a time, while those in memory go on answering.
        with self._loading:
            with self._lock:
                if base in self._held:
                    return self._held[base].engine
            self._let_idle_go()
            if self._held and not _fits(base):
                raise ApiError(
                    503,
                    "The server is answering with another model and has no memory for this one beside it. "
                    "Please try again in a moment.",
                    type="server_error",
                    code="server_overloaded",
                    headers={"Retry-After": "5"},
                )
            try:
                engine = Engine(load_model(base))
            except UserError as error:
                raise model_not_available(base, error) from error
            with self._lock:
                self._held[base] = _Held(engine, time.monotonic())
            return engine

    def _let_idle_go(self) -> None:
        now = time.monotonic()
        with self._lock:
            idle = [base for base, held in self._held.items() if _is_idle(held, now)]
            gone = [self._held.pop(base) for base in idle]
        for held in gone:
            held.engine.close()


def _is_idle(held: _Held, now: float) -> bool:
    figures = held.engine.figures()
    return now - held.asked_at > HANDED_OUT_S and figures.running + figures.waiting == 0


def _fits(base: str) -> bool:
    """Whether there is memory for it at the moment; a model of unknown size is tried."""
    from core.models.access import inspect
    from core.models.devices import this_device

    size = inspect(base).weight_bytes
    return size is None or this_device().free_gb * 1e9 > size * ROOM

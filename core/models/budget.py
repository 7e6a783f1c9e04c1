"""A hard cap on what paid models may cost: money is set aside before a request is sent, at its worst case."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.errors import UserError


class CapReached(UserError):
    """The next request could pass the cap, so it was not sent."""


class Budget:
    """What a piece of work may spend in US dollars, shared by all its threads; `cap_usd` None for no limit.

    `spent_usd` begins with what the work has cost before, as after a stop.
    """

    def __init__(self, cap_usd: float | None = None, spent_usd: float = 0.0) -> None:
        self.cap_usd = cap_usd
        self.spent_usd = spent_usd
        self._reserved = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def keep(self) -> Iterator[Budget]:
        """Within the block, models opened without a budget of their own are held to this one: a judge's, for one."""
        token = _IN_FORCE.set(self)
        try:
            yield self
        finally:
            _IN_FORCE.reset(token)

    def reserve(self, worst_usd: float) -> float:
        """Set `worst_usd` aside and return it. While others' requests are under way, waits for what they leave over.

        Raises CapReached when even without them it would be too much.
        """
        with self._changed:
            while self.cap_usd is not None and self.spent_usd + self._reserved + worst_usd > self.cap_usd:
                if not self._reserved:
                    raise CapReached(
                        f"The spending cap of ${self.cap_usd:.2f} is reached: ${self.spent_usd:.4f} is spent, and the "
                        f"next answer could cost up to ${worst_usd:.4f}.",
                        "Raise the cap and resume: the answers there are will not be asked or paid for again.",
                    )
                self._changed.wait()
            self._reserved += worst_usd
            return worst_usd

    def settle(self, reserved_usd: float, actual_usd: float) -> None:
        """A request that was reserved for has ended and cost `actual_usd`."""
        with self._changed:
            # Sums of many small differences end near nought, not at it.
            self._reserved = max(0.0, self._reserved - reserved_usd)
            if self._reserved < 1e-9:
                self._reserved = 0.0
            self.spent_usd += actual_usd
            self._changed.notify_all()


_IN_FORCE: ContextVar[Budget | None] = ContextVar("budget", default=None)


def in_force() -> Budget:
    """The budget that holds here; one without a limit where nobody set any."""
    return _IN_FORCE.get() or Budget()

"""Metrics: each in a file of its own, registered by a decorator, scoring one prediction against one reference.

Adding one is adding a file to this folder.
"""

from __future__ import annotations

import importlib
import pkgutil

from core.errors import UserError
from core.evaluate.metrics.registry import REGISTERED, Metric

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def metrics() -> list[Metric]:
    """All metrics, by name."""
    return [REGISTERED[name] for name in sorted(REGISTERED)]


def metric_named(name: str) -> Metric:
    """The metric called `name`. Raises UserError naming the ones there are."""
    if name not in REGISTERED:
        raise UserError(f"There is no metric called {name}.", f"Choose from {', '.join(sorted(REGISTERED))}.")
    return REGISTERED[name]

"""Metrics: each in a file of its own, registered by a decorator, scoring one answer at a time or many at once.

Adding one is adding a file to this folder, or to the folder `metrics` in the home folder.
"""

from __future__ import annotations

import importlib
import pkgutil

from core.errors import UserError
from core.evaluate.metrics.registry import REGISTERED, Metric

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

from core.evaluate.metrics.own import own_metrics, own_problems  # noqa: E402 - it borrows the registry that is filled above


def metrics() -> list[Metric]:
    """All metrics, by name; one's own behind those that come with the product."""
    own = own_metrics()
    return [REGISTERED[name] for name in sorted(REGISTERED)] + [own[name] for name in sorted(own)]


def metric_named(name: str) -> Metric:
    """The metric called `name`. Raises UserError naming the ones there are, and what is wrong with own files."""
    found = REGISTERED.get(name) or own_metrics().get(name)
    if found is not None:
        return found
    known = ", ".join([*sorted(REGISTERED), *sorted(own_metrics())])
    unread = "".join(f" {problem.what}" for problem in own_problems())
    raise UserError(f"There is no metric called {name}.{unread}", f"Choose from {known}.")

"""The repairs a person can choose, and what each would change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.data.files import File
from core.data.mending import DROP_BROKEN, FIXES, Fix
from core.data.reading import Change, Reading, read

SHOWN_CHARACTERS = 2_000

__all__ = ["DROP_BROKEN", "FIXES", "Change", "Fix", "preview"]


def preview(file: File, reading: Reading, fixes: Sequence[str], limit: int = 20) -> list[Change]:
    """The first changes that the fixes would make, `limit` at most. Nothing is written."""
    changes: list[Change] = []
    for _ in read(file, replace(reading, fixes=tuple(fixes)), lambda change: changes.append(_shortened(change))):
        if len(changes) >= limit:
            break
    return changes[:limit]


def _shortened(change: Change) -> Change:
    """The change around its first difference: a text may have megabytes."""
    before, after = change.before, change.after
    if max(len(before), len(after)) <= SHOWN_CHARACTERS:
        return change
    pairs = enumerate(zip(before, after, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(before), len(after)))
    start = max(0, same - SHOWN_CHARACTERS // 2)
    window = slice(start, start + SHOWN_CHARACTERS)
    return replace(change, before=before[window], after=after[window])

"""Seeded splits that never part a group."""

from __future__ import annotations

import random
from collections.abc import Sequence

from core.data.example import Example

# One test set per experiment decides everything, so it gets the larger share of what is held back.
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Positions (kept, held out): whole groups in seeded order until `share` of the examples is held out.

    At least one group stays on the kept side; with a single group nothing can be held out.
    """
    groups: dict[str, list[int]] = {}
    for position, example in enumerate(examples):
        groups.setdefault(example.group, []).append(position)
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    wanted = round(share * len(examples))
    held: list[int] = []
    for name in names[:-1]:
        if len(held) >= wanted:
            break
        held += groups[name]
    chosen = set(held)
    return [i for i in range(len(examples)) if i not in chosen], sorted(chosen)

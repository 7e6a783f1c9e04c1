"""What a test can show: the smallest true difference it is likely to find, and what more examples would buy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import select

from core.evaluate.statistics import design_effect, detectable_effect, needed_examples
from core.store.database import session
from core.store.tables import Example

# Test sizes that are told of beside the present one: doubling shows what an example is worth.
DOUBLINGS = 4
# A gain of so much is what most people would like to see.
WANTED = 0.05
# Beyond so many examples the exact arithmetic takes seconds, and the root of the size tells the same.
EXACT = 2_000


@dataclass(frozen=True)
class Detectable:
    """`smallest` is the true difference (0 to 1) between two rungs that `tests` examples show 4 times out of 5; inf if
    none. `more` holds the same for larger tests, and `for_wanted` how many examples show WANTED.

    `design`: by how much examples that share a group count for less (Kish). `comparisons`: pairs of rungs, all of them
    judged by Holm's rule at its strictest.
    """

    tests: int
    kind: str
    design: float
    comparisons: int
    smallest: float
    more: tuple[tuple[int, float], ...]
    for_wanted: int

    @property
    def words(self) -> str:
        said = detectable_in_words(self.tests, self.kind, self.smallest)
        if math.isinf(self.smallest):
            return said
        reasons = []
        if self.comparisons > 1:
            reasons.append(f"all {self.comparisons} pairs of rungs are compared")
        if self.design > 1:
            effective = self.tests / self.design
            reasons.append(f"examples share groups, which makes {self.tests} of them worth about {effective:.0f}")
        return said if not reasons else f"{said} Reckoned with: {' and '.join(reasons)}."


def detectable(dataset_id: int, kind: str, rungs: int) -> Detectable:
    """Of a comparison of so many rungs on this dataset's test examples. `kind` is the metric's."""
    with session(read_only=True) as db:
        mine = Example.dataset_id == dataset_id, Example.split == "test"
        groups = list(db.scalars(select(Example.group).where(*mine)))
    return _detectable(len(groups), kind, round(design_effect(groups), 6), max(1, rungs * (rungs - 1) // 2))


def detectable_in_words(tests: int, kind: str, smallest: float | None = None) -> str:
    """What a test of this size can show, as a sentence. `smallest` is that of a single comparison unless given."""
    if smallest is None:
        smallest = _detectable(tests, kind, 1.0, 1).smallest
    if math.isinf(smallest):
        return f"With {tests} test examples no difference can be shown, however large: collect at least 20."
    return (
        f"With {tests} test examples, a true difference of about {100 * smallest:.0f} points or more between two "
        "rungs is found 4 times out of 5. Smaller ones may stay open."
    )


@lru_cache(maxsize=256)
def _detectable(tests: int, kind: str, design: float, comparisons: int) -> Detectable:
    def smallest(n: int) -> float:
        counted = min(n, EXACT)
        effect = detectable_effect(counted, kind, design_effect=design, comparisons=comparisons)
        return effect if counted == n else effect * math.sqrt(counted / n)

    sizes = [max(tests, 10) * 2**doubling for doubling in range(1, DOUBLINGS + 1)]
    return Detectable(
        tests=tests,
        kind=kind,
        design=design,
        comparisons=comparisons,
        smallest=smallest(tests),
        more=tuple((n, smallest(n)) for n in sizes),
        for_wanted=needed_examples(WANTED, kind, design_effect=design, comparisons=comparisons),
    )

"""What a test asks that training has already shown: the same prompt, the same but for its looks, or nearly the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.data.duplicates import NearDuplicates, normalised, prompt_text, text_hash
from core.data.example import Example
from core.data.near import Spool

# Enough to see what went wrong; the counts are of all.
MOST_LISTED = 200
# Characters of a prompt shown for a leak.
SHOWN = 300


@dataclass(frozen=True)
class Leak:
    """A test example and the first training example, both by position from 0, that gives it away."""

    kind: Literal["exact", "normalised", "near"]
    train_position: int
    test_position: int
    similarity: float
    train_text: str
    test_text: str


@dataclass(frozen=True)
class LeakReport:
    """`counts` of leaking test examples by kind, each in the strictest kind that fits, and the first 200 of them.

    `compared` is false when the files hold too many prompts for near duplicates to be sought among all.
    """

    train: int
    test: int
    counts: dict[str, int]
    leaks: list[Leak]
    compared: bool

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total": self.total}


def leaks(train: Iterable[Example], test: Iterable[Example]) -> LeakReport:
    """Compare the prompts, without instructions, of two sides that ought to share none. Both are read once."""
    near = NearDuplicates()
    tests: list[str] = []
    for example in test:
        tests.append(prompt_text(example))
        near.add(tests[-1])
    wanted_exact = {text_hash(text) for text in tests}
    wanted_plain = {text_hash(normalised(text)) for text in tests}
    exact: dict[int, int] = {}
    plain: dict[int, int] = {}
    shown = Spool()
    for position, example in enumerate(train):
        text = prompt_text(example)
        near.add(text)
        shown.append(text[:SHOWN], position)
        for seen, wanted, key in ((exact, wanted_exact, text), (plain, wanted_plain, normalised(text))):
            if text_hash(key) in wanted:
                seen.setdefault(text_hash(key), position)
    likest = near.likest(len(tests))

    counts: Counter[str] = Counter()
    found: list[Leak] = []
    for position, text in enumerate(tests):
        kind: Literal["exact", "normalised", "near"]
        similarity = 1.0
        if (match := exact.get(text_hash(text))) is not None:
            kind = "exact"
        elif (match := plain.get(text_hash(normalised(text)))) is not None:
            kind = "normalised"
        elif pair := likest.get(position):
            kind, match, similarity = "near", pair.second - len(tests), pair.similarity
        else:
            continue
        counts[kind] += 1
        if len(found) < MOST_LISTED:
            found.append(Leak(kind, match, position, similarity, shown[match], text[:SHOWN]))
    return LeakReport(len(shown), len(tests), dict(counts), found, near.compared_all)

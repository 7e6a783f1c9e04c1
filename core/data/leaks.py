"""What a test asks that training has already shown: the same prompt, the same but for its looks, or nearly the same."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.data.duplicates import NearDuplicates, prompt_text, text_hash
from core.data.example import Example
from core.data.near import Spool
from core.data.seen import Seen

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


def leaks(train: Iterable[Example], test: Iterable[Example], tick: Callable[[], None] = lambda: None) -> LeakReport:
    """Compare the prompts, without instructions, of two sides that ought to share none. Both are read once.

    `tick` is called every second or so while they are compared; it may raise, to stop.
    """
    near, exact, shown = NearDuplicates(), Seen(), Spool()

    def add(example: Example) -> tuple[int, int]:
        """Take the next prompt; which was the first with its very words, and which the first that looks alike."""
        text, position = prompt_text(example), near.added
        shown.append(text[:SHOWN], position)
        return exact.first(text_hash(text), position + 1) - 1, near.add(text)

    for example in train:
        add(example)
    learnt = near.added
    copies = [array("q"), array("q")]
    for example in test:
        for column, first in zip(copies, add(example), strict=True):
            column.append(first)
    likest = near.likest(learnt, tick)

    counts: Counter[str] = Counter()
    found: list[Leak] = []
    for position, (same, alike) in enumerate(zip(*copies, strict=True)):
        kind: Literal["exact", "normalised", "near"]
        similarity = 1.0
        if same < learnt:
            kind, match = "exact", same
        elif alike < learnt:
            kind, match = "normalised", alike
        elif pair := likest.get(learnt + position):
            kind, match, similarity = "near", pair.first, pair.similarity
        else:
            continue
        counts[kind] += 1
        if len(found) < MOST_LISTED:
            found.append(Leak(kind, match, position, similarity, shown[match], shown[learnt + position]))
    return LeakReport(learnt, len(shown) - learnt, dict(counts), found, near.compared_all)

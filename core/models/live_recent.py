"""What was read lately, so that a conversation that goes on, or a question after the same instructions, need not be
read from its beginning again."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from pathlib import Path

from core.models.attention import Segment

# Fewer tokens in common than this are as quickly read as copied.
WORTH = 16


class Recent:
    """Keys and values of texts that were read, `most_bytes` of them; those that were of no use for longest go first."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._entries: OrderedDict[tuple[Path | None, bytes], tuple[array[int], Segment]] = OrderedDict()
        self.bytes = 0

    def keep(self, adapter: Path | None, tokens: array[int], segment: Segment) -> None:
        """Remember that `adapter` read `tokens`; the beginnings of them that were known are forgotten."""
        if _bytes(segment) > self.most_bytes:
            return
        for key, (known, _) in list(self._entries.items()):
            if key[0] == adapter and known == tokens[: len(known)]:
                self._drop(key)
        self._entries[adapter, tokens.tobytes()] = (tokens, segment)
        self.bytes += _bytes(segment)
        while self.bytes > self.most_bytes:
            self._drop(next(iter(self._entries)))

    def longest(self, adapter: Path | None, tokens: array[int]) -> tuple[int, Segment | None]:
        """How many tokens what was read and `tokens` have in common at most, with what was read of them."""
        mine = [(key, known) for key, (known, _) in self._entries.items() if key[0] == adapter]
        best = max(mine, key=lambda each: common(each[1], tokens), default=None)
        if best is None or (shared := common(best[1], tokens)) < WORTH:
            return 0, None
        self._entries.move_to_end(best[0])
        return shared, _beginning(self._entries[best[0]][1], shared)

    def forget(self, adapter: Path | None) -> None:
        """Drop what `adapter` read."""
        for key in [key for key in self._entries if key[0] == adapter]:
            self._drop(key)

    def _drop(self, key: tuple[Path | None, bytes]) -> None:
        self.bytes -= _bytes(self._entries.pop(key)[1])


def common(first: array[int], second: array[int]) -> int:
    """How many tokens both begin with. Halving, since comparing slices is far quicker than comparing numbers."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _bytes(segment: Segment) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in segment.layers)


def _beginning(segment: Segment, tokens: int) -> Segment:
    return Segment(0, [(keys[:, :tokens], values[:, :tokens]) for keys, values in segment.layers])

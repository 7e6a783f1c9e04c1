"""Which key was seen first where, for millions of keys."""

from __future__ import annotations

from array import array

_MASK = 2**64 - 1


class Seen:
    """The first line of every 64-bit key: 12 bytes a place, at most two thirds of them taken.

    A dict would need ten times the memory. Among a million keys, two different ones that look the same are to be
    expected once in forty million files.
    """

    def __init__(self) -> None:
        self._keys, self._lines, self._count = array("Q", bytes(8 * 1024)), array("I", bytes(4 * 1024)), 0

    def __len__(self) -> int:
        """How many different keys there are."""
        return self._count

    def first(self, key: int, line: int) -> int:
        """The line at which `key` was first given, which is `line` itself for a new one. Lines count from 1."""
        place = self._place(key & _MASK)
        found = self._lines[place]
        if found:
            return found
        self._keys[place], self._lines[place] = key & _MASK, line
        self._count += 1
        if 3 * self._count > 2 * len(self._keys):
            self._grow()
        return line

    def _place(self, key: int) -> int:
        """Where the key is, or the free place where it belongs: line 0 marks a free one."""
        keys, lines, last = self._keys, self._lines, len(self._keys) - 1
        place = key & last
        while lines[place] and keys[place] != key:
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        keys, lines = self._keys, self._lines
        self._keys, self._lines = array("Q", bytes(16 * len(keys))), array("I", bytes(8 * len(keys)))
        for key, line in zip(keys, lines, strict=True):
            if line:
                place = self._place(key)
                self._keys[place], self._lines[place] = key, line

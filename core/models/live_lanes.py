"""Rows that share a pass: side by side in slots, or, where a network's memory cannot be cut up, one by one.

A lane has slots of one width, so that one long conversation does not make room and attention as wide as itself for
everybody. A row that outgrows its lane moves to a wider one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import DynamicCache

from core.models.attention import Segment
from core.models.live_rows import Row
from core.models.slots import Slots

# The network for rows with these adapters.
Network = Callable[[Sequence[Path | None]], Any]
# Rows that a token was computed for, and their logits (rows, vocabulary).
Written = tuple[list[Row], Any]
# Rows with a cache each of its own; a pass for each of them is what makes them wait.
MOST_ALONE = 8


class Lane(Protocol):
    """`rows` are being read or written."""

    rows: list[Row]

    @property
    def bytes(self) -> int:
        """The memory taken for them."""
        ...

    def grow(self, free_bytes: int) -> bool:
        """Make room for one row more, or some, with `free_bytes` at most; whether there is."""
        ...

    def trim(self) -> None:
        """Give back what no row needs."""
        ...

    def add(self, row: Row) -> None:
        """Take a row of which nothing has been read; there must be room."""
        ...

    def begin(self, row: Row, beginning: Segment) -> None:
        """Give a row what was read of it elsewhere."""
        ...

    def remove(self, row: Row) -> None: ...

    def holds(self, row: Row, tokens: int) -> Segment:
        """A copy of the first `tokens` that were read of a row."""
        ...

    def has_outgrown(self, row: Row) -> bool:
        """Whether there is no place for its next token."""
        ...

    def neighbours(self, row: Row, piece: int) -> list[Row]:
        """The rows to read with `row` in a pass of `piece` tokens at most, padding included; itself if it is long."""
        ...

    def read(self, rows: Sequence[Row], piece: int) -> Written:
        """Read `piece` tokens at most of each of these neighbours; of a row by itself, the last too if it fits."""
        ...

    def write(self) -> Written:
        """A pass for the next token of the rows that have been read."""
        ...


class SlotLane:
    """Rows in slots of `columns` tokens; the last column is not used by any."""

    def __init__(self, network: Network, slots: Slots, columns: int, bytes_per_token: int) -> None:
        self.rows: list[Row] = []
        self._network = network
        self._slots = slots
        self._columns = columns
        self._bytes_per_slot = columns * bytes_per_token
        self._slots.resize(0, columns, 0)

    @property
    def bytes(self) -> int:
        return self._slots.rows * self._bytes_per_slot

    def grow(self, free_bytes: int) -> bool:
        if len(self.rows) == self._slots.rows:
            more = min(max(1, len(self.rows)), free_bytes // self._bytes_per_slot)
            if more:
                self._slots.resize(len(self.rows) + more, self._columns, len(self.rows))
        return len(self.rows) < self._slots.rows

    def trim(self) -> None:
        if len(self.rows) < self._slots.rows:
            self._slots.resize(len(self.rows), self._columns, len(self.rows))

    def add(self, row: Row) -> None:
        # Nothing of the row that had the slot before.
        self._slots.fill(len(self.rows), [])
        self.rows.append(row)

    def begin(self, row: Row, beginning: Segment) -> None:
        self._slots.fill(self.rows.index(row), [beginning])

    def remove(self, row: Row) -> None:
        slot = self.rows.index(row)
        last = self.rows.pop()
        if last is not row:
            self._slots.move(len(self.rows), slot, last.read)
            self.rows[slot] = last

    def holds(self, row: Row, tokens: int) -> Segment:
        return self._slots.kept(self.rows.index(row), 0, tokens)

    def has_outgrown(self, row: Row) -> bool:
        return row.read >= self._columns - 1

    def neighbours(self, row: Row, piece: int) -> list[Row]:
        first = self.rows.index(row)
        longest, end = row.to_read, first + 1
        while end < len(self.rows) and self.rows[end].to_read:
            longest = max(longest, self.rows[end].to_read)
            if longest * (end + 1 - first) > piece:
                break
            end += 1
        return self.rows[first:end]

    def read(self, rows: Sequence[Row], piece: int) -> Written:
        if len(rows) == 1 and rows[0].to_read < piece:
            return list(rows), self._pass(rows, [rows[0].tokens[rows[0].read :]])
        self._pass(rows, [row.tokens[row.read : min(row.read + piece, len(row.tokens) - 1)] for row in rows])
        return [], None

    def write(self) -> Written:
        """Rows that are still being read rest in between: a pass takes neighbours."""
        ready = [slot for slot, row in enumerate(self.rows) if not row.to_read]
        if not ready:
            return [], None
        rows = self.rows[ready[0] : ready[-1] + 1]
        logits = self._pass(rows, [row.tokens[:0] if row.to_read else row.tokens[-1:] for row in rows])
        if len(ready) < len(rows):
            logits = logits[[slot - ready[0] for slot in ready]]
        return [self.rows[slot] for slot in ready], logits

    def _pass(self, rows: Sequence[Row], tokens: Sequence[Sequence[int]]) -> Any:
        network = self._network([row.asked.adapter for row in rows])
        starts = [row.read if own else 0 for row, own in zip(rows, tokens, strict=True)]
        logits = self._slots.run(network, self.rows.index(rows[0]), tokens, starts)
        for row, own in zip(rows, tokens, strict=True):
            row.read += len(own)
        return logits


class AloneLane:
    """Rows with a cache of transformers' own each. Their prompts are read whole: some states cannot go on in pieces."""

    bytes = 0

    def __init__(self, network: Network, device: torch.device) -> None:
        self.rows: list[Row] = []
        self._network = network
        self._device = device

    def grow(self, free_bytes: int) -> bool:
        return len(self.rows) < MOST_ALONE

    def trim(self) -> None:
        pass

    def add(self, row: Row) -> None:
        row.cache = DynamicCache(config=self._network([row.asked.adapter]).config)
        self.rows.append(row)

    def begin(self, row: Row, beginning: Segment) -> None:
        raise NotImplementedError

    def remove(self, row: Row) -> None:
        self.rows.remove(row)
        row.cache = None

    def holds(self, row: Row, tokens: int) -> Segment:
        raise NotImplementedError

    def has_outgrown(self, row: Row) -> bool:
        return False

    def neighbours(self, row: Row, piece: int) -> list[Row]:
        return [row]

    def read(self, rows: Sequence[Row], piece: int) -> Written:
        return list(rows), torch.cat([self._pass(row, row.tokens) for row in rows])

    def write(self) -> Written:
        ready = [row for row in self.rows if not row.to_read]
        return ready, torch.cat([self._pass(row, row.tokens[-1:]) for row in ready]) if ready else None

    def _pass(self, row: Row, tokens: Sequence[int]) -> torch.Tensor:
        logits: torch.Tensor = self._network([row.asked.adapter])(
            input_ids=torch.tensor([list(tokens)], device=self._device),
            past_key_values=row.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        row.read += len(tokens)
        return logits

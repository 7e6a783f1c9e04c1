"""Many prompts through one network, as few passes as possible, and the same answers as one by one.

- What prompts begin with alike is read once (prefixes.py), and copied to the rows that go on from there (slots.py), or
  held for them where they are many (attention.py).
- Rows of all rungs are written side by side. One that ends makes room for the next instead of waiting for the
  slowest of its batch.
- Memory is given out by tokens: long prompts get fewer slots, and as only short ones are left, slots become more.

The last token of a prompt is read by the first step that writes, so reading a prompt needs no logits.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice
from typing import TYPE_CHECKING

from core.models.attention import Segment, joined, sharing_attention
from core.models.prefixes import Prefix, shared_prefixes
from core.models.rows import BEAT_S, Pool, Row, Stopped, choose
from core.models.slots import Slots
from core.models.workers import Library, portions, side_by_side

if TYPE_CHECKING:
    import torch

# Rows written side by side, memory permitting: where a pass costs as much as its tokens, rather than its weights.
MOST_ROWS = {"cpu": 64, "cuda": 128}
# Tokens of prompts read in one pass: enough to keep the processor busy, few enough that padding is little.
PIECE = {"cpu": 512, "cuda": 8192}
# A pass for a shared prefix costs about as much as reading so many tokens in a pass that is made anyway.
WORTH = {"cpu": 32, "cuda": 512}
# So few tokens that their pass costs about the same with more padding.
FEW = 64
# Keys and values of the rows on a CPU: with the libraries, the prefixes that are held and what a pass computes, the
# process stays within a gigabyte above the weights.
CPU_BYTES = 384 * 2**20
# A GPU's free memory is shared with the same.
GPU_SHARE = 0.5


def answered(pool: Pool, bytes_per_token: int, *, hold: bool = False) -> Iterator[list[Row]]:
    """The pool's rows as they are done, longest first; fewer than all when it is stopped.

    `hold` takes a network that can share (`slots.can_share`).
    """
    parts = portions(pool, WORTH[pool.device.type])
    tokens = _memory(pool.device) // bytes_per_token // len(parts)
    library = Library()
    with sharing_attention(pool.network) if hold else nullcontext():
        yield from side_by_side(pool, parts, lambda part: _Batching(part, tokens, library, hold).run())


@dataclass(frozen=True)
class _Known:
    """What has been read of a prompt: the beginning that is held for it, and the segments that follow."""

    held: Segment | None = None
    segments: tuple[Segment, ...] = ()

    @property
    def end(self) -> int:
        return self.segments[-1].end if self.segments else self.held.end if self.held else 0


class _Batching:
    def __init__(self, pool: Pool, tokens_of_memory: int, library: Library, hold: bool) -> None:
        self.pool = pool
        kind = pool.device.type
        self.most_rows, self.piece = MOST_ROWS[kind], PIECE[kind]
        self.tokens_of_memory = tokens_of_memory
        self.library = library
        self.slots = Slots(pool.network, pool.device)
        self.rows: list[Row] = []
        # Without the last token, which is left for the first step.
        tree = shared_prefixes([row.prompt[:-1] for row in pool.rows], WORTH[kind], hold=hold)
        # What any row from here on needs at most.
        rooms = [
            len(pool.rows[item].prompt) - above.held + pool.sampling.max_new_tokens
            for item, above, _ in self._in_order(tree)
            if isinstance(item, int)
        ]
        self.rooms = list(accumulate(reversed(rooms), max))
        self.waiting = self._read_prefixes(tree)

    def run(self) -> Iterator[list[Row]]:
        done: list[Row] = []
        handed_over = time.perf_counter()
        try:
            while self.rows or self.rooms:
                joining = self.rooms and len(self.rows) <= self.slots.rows * 3 // 4
                if done and (joining or time.perf_counter() - handed_over >= BEAT_S):
                    yield done
                    done, handed_over = [], time.perf_counter()
                if joining:
                    self._join()
                self._write()
                done += self._leave()
        except Stopped:
            pass
        finally:
            # Not left to the garbage collector: the next pool needs the memory.
            self.waiting.close()
            self.slots.free()
        if done:
            yield done

    def _join(self) -> None:
        """Fill the free slots with rows that wait, their prompts read but for the last token.

        They come with what their prefixes hold; the rest is read by neighbours together.
        """
        self._fit()
        first = len(self.rows)
        stored: list[int] = []
        for row, known in islice(self.waiting, self.slots.rows - first):
            self.slots.fill(len(self.rows), known.segments, known.held)
            self.rows.append(row)
            stored.append(known.end)
        del self.rooms[len(self.rooms) - len(stored) :]
        beginnings = [self.slots.beginning(slot) for slot in range(first, len(self.rows))]
        joining = list(zip(self.rows[first:], stored, beginnings, strict=True))
        for group in _alike(joining, self.piece):
            tokens = [row.prompt[start:-1] for row, start, _ in group]
            seconds = self._read(self.slots, first, tokens, [start for _, start, _ in group])
            for (row, _, _), own in zip(group, tokens, strict=True):
                row.seconds += seconds * len(own)
            first += len(group)

    def _fit(self) -> None:
        """Give the slots the length of the longest row that is left, when that makes a difference."""
        most_new = self.pool.sampling.max_new_tokens
        rooms = [len(row.prompt) - self.slots.held(slot) + most_new for slot, row in enumerate(self.rows)]
        columns = 1 + max([self.rooms[-1], *rooms])
        if self.slots.columns == 0 or columns <= self.slots.columns // 2:
            fitting = min(self.most_rows, len(self.rows) + len(self.rooms), self.tokens_of_memory // columns)
            self.slots.resize(max(1, fitting, len(self.rows)), columns, len(self.rows))

    def _read_prefixes(self, tree: Prefix) -> Generator[tuple[Row, _Known], None, None]:
        """The rows in order, each with what has been read of its prompt; prefixes are read when first needed."""
        path: list[tuple[_Known, float]] = [(_Known(), 0.0)]
        for item, _, depth in self._in_order(tree):
            del path[depth + 1 :]
            known = path[-1][0]
            if isinstance(item, int):
                row = self.pool.rows[item]
                row.seconds += sum(seconds for _, seconds in path)
                yield row, known
            else:
                prompt = self.pool.rows[item.example].prompt[: item.end]
                reading = partial(self._read_prefix, known, prompt, item.start)
                segment, took = self.library.segment(prompt, item.start, reading)
                seconds, read = took / item.count, (*known.segments, segment)
                if item.held == item.end:
                    beginning = joined([known.held, *read] if known.held else read)
                    path.append((_Known(held=beginning), seconds))
                else:
                    path.append((_Known(known.held, read), seconds))

    def _read_prefix(self, known: _Known, prompt: Sequence[int], start: int) -> tuple[Segment, float]:
        """`prompt` from `start` on, up to where it is known; and the seconds that took."""
        # In a slot of its own: what is to be held may be longer than the rows' slots.
        desk = Slots(self.pool.network, self.pool.device)
        desk.resize(1, len(prompt) + 1, 0)
        desk.fill(0, known.segments, known.held)
        tokens = prompt[start:]
        seconds = self._read(desk, 0, [tokens], [start]) * len(tokens)
        return desk.kept(0, start, len(prompt)), seconds

    def _in_order(self, tree: Prefix) -> Iterator[tuple[Prefix | int, Prefix, int]]:
        """Prefixes and prompts, with the prefix above and how many there are, depth first: few are kept at once.

        Beginning with the longest, so that the slots can become shorter and more.
        """
        stack: list[tuple[Prefix | int, Prefix, int]] = [(tree, tree, 0)]
        while stack:
            item, above, depth = stack.pop()
            if isinstance(item, Prefix):
                if item is not tree:
                    yield item, above, depth
                    depth += 1
                below: list[tuple[int, Prefix | int]] = [(self.pool.rows[i].read - item.held, i) for i in item.prompts]
                below += [(branch.longest, branch) for branch in item.branches]
                stack += [(each, item, depth) for _, each in sorted(below, key=lambda pair: pair[0])]
            else:
                yield item, above, depth

    def _read(self, slots: Slots, first: int, tokens: Sequence[Sequence[int]], starts: Sequence[int]) -> float:
        """Read prompts, in pieces if they are long. Returns seconds per token."""
        longest = max(map(len, tokens))
        width = max(1, self.piece // len(tokens))
        began = time.perf_counter()
        for offset in range(0, longest, width):
            piece = [row[offset : offset + width] for row in tokens]
            self.pool.check_stop()
            slots.read(self.pool.network, first, piece, [start + offset for start in starts])
        self._wait()
        return (time.perf_counter() - began) / max(1, sum(map(len, tokens)))

    def _write(self) -> None:
        """One more token for every row."""
        began = time.perf_counter()
        self.pool.check_stop()
        tokens, starts = [[row.last] for row in self.rows], [row.read for row in self.rows]
        logits = self.slots.run(self.pool.network, 0, tokens, starts)
        self._wait()
        for row, token in zip(self.rows, choose(logits, self.rows, self.pool.sampling), strict=True):
            row.new.append(token)
        seconds = (time.perf_counter() - began) / len(self.rows)
        for row in self.rows:
            row.seconds += seconds

    def _leave(self) -> list[Row]:
        """The rows that are done; the last ones move into their slots."""
        done = [row for row in self.rows if self.pool.done(row)]
        slot = 0
        while slot < len(self.rows):
            if not self.pool.done(self.rows[slot]):
                slot += 1
                continue
            last = self.rows.pop()
            if slot < len(self.rows) and not self.pool.done(last):
                self.slots.move(len(self.rows), slot, last.read)
                self.rows[slot] = last
        return done

    def _wait(self) -> None:
        """Until a GPU has done what was asked of it, or its time would be counted for whoever comes next."""
        import torch

        if self.pool.device.type == "cuda":
            torch.cuda.synchronize(self.pool.device)


def _alike(
    joining: Sequence[tuple[Row, int, Segment | None]], piece: int
) -> Iterator[list[tuple[Row, int, Segment | None]]]:
    """Neighbours that share a pass, given where each goes on and what is held for it: the same for all of them.

    At most `piece` tokens, of which a quarter may be padding, unless they are few.
    """
    group: list[tuple[Row, int, Segment | None]] = []
    for row, start, held in joining:
        left = [each.read - begin for each, begin, _ in [*group, (row, start, held)]]
        padded = max(left) * len(left)
        if group and (held is not group[-1][2] or padded > piece or (padded > FEW and sum(left) < 0.75 * padded)):
            yield group
            group = []
        group.append((row, start, held))
    yield group


def _memory(device: torch.device) -> int:
    import torch

    return int(torch.cuda.mem_get_info(device)[0] * GPU_SHARE) if device.type == "cuda" else CPU_BYTES

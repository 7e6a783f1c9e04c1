"""Many prompts through one network, as few passes as possible, and the same answers as one by one.

- What prompts begin with alike is read once (prefixes.py), and copied to the rows that go on from there (slots.py), or
  held for them where they are many (attention.py).
- Rows of all rungs are answered side by side. One that ends makes room for the next instead of waiting for the slowest
  of its batch, and the next one's prompt is read in the passes that write the others' answers.
- Memory is given out by tokens: long prompts get fewer slots, and as shorter ones are left, slots become more.
- On a processor two such batches run beside each other (workers.py).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice
from typing import TYPE_CHECKING

from core.models.attention import Segment, joined, packing_attention
from core.models.prefixes import Prefix, shared_prefixes
from core.models.rows import BEAT_S, Pool, Row, Stopped, choose
from core.models.slots import Slots
from core.models.workers import Library, portions, side_by_side

if TYPE_CHECKING:
    import torch

# Rows written side by side, memory permitting: where a pass costs as much as its tokens, rather than its weights.
MOST_ROWS = {"cpu": 64, "cuda": 128}
# Tokens of a pass: enough to keep the processor busy, few enough that what it computes in between takes little room.
PIECE = {"cpu": 128, "cuda": 8192}
# A pass for a shared prefix costs about as much as reading so many tokens in a pass that is made anyway.
WORTH = {"cpu": 32, "cuda": 512}
# Keys and values of the rows on a CPU: with the libraries, the prefixes that are held and what a pass computes, the
# process stays within a gigabyte above the weights.
CPU_BYTES = 224 * 2**20
# A GPU's free memory is shared with the same.
GPU_SHARE = 0.5
# Slots are made shorter when so many more fit.
MORE = 1.25


def answered(pool: Pool, bytes_per_token: int) -> Iterator[list[Row]]:
    """The pool's rows as they are done, longest first; fewer than all when it is stopped.

    For networks that can pack (`slots.can_pack`).
    """
    tokens = _memory(pool.device) // bytes_per_token
    parts = portions(pool, WORTH[pool.device.type], tokens)
    library = Library()
    with packing_attention(pool.network):
        yield from side_by_side(pool, parts, lambda part: _Batching(part, tokens // len(parts), library).run())


@dataclass(frozen=True)
class _Known:
    """What has been read of a prompt: the beginning that is held for it, and the segments that follow."""

    held: Segment | None = None
    segments: tuple[Segment, ...] = ()

    @property
    def end(self) -> int:
        return self.segments[-1].end if self.segments else self.held.end if self.held else 0


class _Batching:
    def __init__(self, pool: Pool, tokens_of_memory: int, library: Library) -> None:
        self.pool = pool
        kind = pool.device.type
        self.most_rows, self.piece = MOST_ROWS[kind], PIECE[kind]
        self.tokens_of_memory = tokens_of_memory
        self.library = library
        self.slots = Slots(pool.network, pool.device)
        # Rows by slot, and how many of its tokens each slot has. Rows whose prompts are not read whole are the last.
        self.rows: list[Row] = []
        self.known: list[int] = []
        # Without the last token, after which the answer begins.
        tree = shared_prefixes([row.prompt[:-1] for row in pool.rows], WORTH[kind])
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
                if done and time.perf_counter() - handed_over >= BEAT_S:
                    yield done
                    done, handed_over = [], time.perf_counter()
                self._join()
                done += self._leave(self._pass())
        except Stopped:
            pass
        finally:
            # Not left to the garbage collector: the next pool needs the memory.
            self.waiting.close()
            self.slots.free()
        if done:
            yield done

    def _join(self) -> None:
        """Fill the free slots with rows that wait, and with what their prefixes hold."""
        if not self.rooms:
            return
        self._fit()
        for row, known in islice(self.waiting, self.slots.rows - len(self.rows)):
            self.slots.fill(len(self.rows), known.segments, known.held)
            self.rows.append(row)
            self.known.append(known.end)
            self.rooms.pop()

    def _fit(self) -> None:
        """Give the slots the length of the longest row that is left, when that makes a difference."""
        most_new = self.pool.sampling.max_new_tokens
        rooms = [len(row.prompt) - self.slots.held(slot) + most_new for slot, row in enumerate(self.rows)]
        columns = max([self.rooms[-1], *rooms])
        fitting = min(self.most_rows, len(self.rows) + len(self.rooms), self.tokens_of_memory // columns)
        if self.slots.rows == 0 or fitting >= MORE * self.slots.rows:
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
        began = time.perf_counter()
        try:
            desk.resize(1, len(prompt), 0)
            desk.fill(0, known.segments, known.held)
            for at in range(start, len(prompt), self.piece):
                self.pool.check_stop()
                desk.packed(self.pool.network, [prompt[at : at + self.piece]], [at], 0)
            self._wait()
            return desk.kept(0, start, len(prompt)), time.perf_counter() - began
        finally:
            desk.free()

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

    def _pass(self) -> int:
        """One more token for the rows whose prompts are read, and some of the others' prompts.

        Returns how many rows, the first ones, have been given a token.
        """
        began = time.perf_counter()
        self.pool.check_stop()
        tokens: list[Sequence[int]] = []
        room, wanted = self.piece, 0
        for row, known in zip(self.rows, self.known, strict=True):
            if row.new:
                tokens.append([row.last])
            elif room > 0:
                tokens.append(row.prompt[known : known + room])
            else:
                break
            room -= len(tokens[-1])
            wanted += known + len(tokens[-1]) > row.read
        logits = self.slots.packed(self.pool.network, tokens, self.known[: len(tokens)], wanted)
        chosen = choose(logits, self.rows[:wanted], self.pool.sampling) if wanted else []
        self._wait()
        seconds = (time.perf_counter() - began) / sum(map(len, tokens))
        for slot, own in enumerate(tokens):
            self.known[slot] += len(own)
            self.rows[slot].seconds += seconds * len(own)
        for row, token in zip(self.rows, chosen, strict=False):
            row.new.append(token)
        return wanted

    def _leave(self, written: int) -> list[Row]:
        """The rows that are done, of those that have been `written`; others move into their slots."""
        done = []
        for slot in reversed(range(written)):
            if self.pool.done(self.rows[slot]):
                done.append(self.rows[slot])
                written -= 1
                self._move(written, slot)
                self._move(len(self.rows) - 1, written)
                self.rows.pop()
                self.known.pop()
        return done

    def _move(self, source: int, target: int) -> None:
        if source != target:
            self.slots.move(source, target, self.known[source])
            self.rows[target], self.known[target] = self.rows[source], self.known[source]

    def _wait(self) -> None:
        """Until a GPU has done what was asked of it, or its time would be counted for whoever comes next."""
        import torch

        if self.pool.device.type == "cuda":
            torch.cuda.synchronize(self.pool.device)


def _memory(device: torch.device) -> int:
    import torch

    if device.type == "cpu":
        return CPU_BYTES
    # What torch keeps of the last pool's memory is free as well.
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int((torch.cuda.mem_get_info(device)[0] + kept) * GPU_SHARE)

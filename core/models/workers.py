"""Two batches beside each other on a processor, each with half of its threads.

A small model's passes keep several threads busy only part of the time: between two operations all of them wait for
Python, and many operations are too small to be split. Two batches fill each other's gaps.
"""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import Any

from core.models.attention import Segment
from core.models.prefixes import Prefix, shared_prefixes
from core.models.rows import BEAT_S, Pool, Row, Stopped

BESIDE = 2
# Rows of a batch below which a second one would only take threads from the first.
LEAST_ROWS = 16
# Rows that a batch must have memory for, or it would rather have all of it.
LEAST_ROOM = 4
# A share of all work that may stay in one piece: small enough that the batches end at about the same time.
PIECE = 1 / 16


def portions(pool: Pool, worth: int, tokens: int) -> list[Pool]:
    """The pool in parts of about the same work, one for each batch; what shares a beginning mostly stays together.

    `worth` is that of `shared_prefixes`, `tokens` what the memory of all batches holds. The same pool is always divided
    alike.
    """
    import torch

    if pool.device.type != "cpu" or torch.get_num_threads() < BESIDE or len(pool.rows) < BESIDE * LEAST_ROWS:
        return [pool]
    longest = max(len(row.prompt) for row in pool.rows) + pool.sampling.max_new_tokens
    if tokens < BESIDE * LEAST_ROOM * longest or _changes_itself(pool.network):
        return [pool]
    tree = shared_prefixes([row.prompt[:-1] for row in pool.rows], worth)
    loads, parts = [0] * BESIDE, [list[Row]() for _ in range(BESIDE)]
    for work, prompts in sorted(_pieces(tree, pool), reverse=True):
        least = loads.index(min(loads))
        loads[least] += work
        parts[least] += [pool.rows[i] for i in prompts]
    return [replace(pool, rows=rows) for rows in parts if rows]


def side_by_side(
    pool: Pool, parts: Sequence[Pool], answered: Callable[[Pool], Iterator[list[Row]]]
) -> Iterator[list[Row]]:
    """What `answered` hands over of each part, as it comes; fewer than all rows when the pool is stopped."""
    import torch

    if len(parts) == 1:
        yield from answered(pool)
        return
    done: SimpleQueue[list[Row] | None] = SimpleQueue()
    stopping = Event()

    def work(part: Pool) -> None:
        try:
            for rows in answered(replace(part, stop=stopping.is_set, beat_s=0.0)):
                done.put(rows)
        except BaseException:
            stopping.set()
            raise
        finally:
            done.put(None)

    threads = torch.get_num_threads()
    torch.set_num_threads(threads // len(parts))
    try:
        with ThreadPoolExecutor(len(parts), thread_name_prefix="batch") as executor:
            try:
                futures = [executor.submit(work, part) for part in parts]
                at_work = len(parts)
                while at_work:
                    # The question is asked here alone: it may look into a database, which belongs to one thread.
                    try:
                        pool.check_stop()
                    except Stopped:
                        stopping.set()
                    try:
                        rows = done.get(timeout=BEAT_S)
                    except Empty:
                        continue
                    if rows is None:
                        at_work -= 1
                        continue
                    for row in rows:
                        # Time that passed in both batches at once.
                        row.seconds /= len(parts)
                    yield rows
                for future in futures:
                    future.result()
            finally:
                stopping.set()
    finally:
        torch.set_num_threads(threads)


class Library:
    """Beginnings that batches beside each other have in common: whoever comes first reads, the other waits for it."""

    def __init__(self) -> None:
        self._segments: weakref.WeakValueDictionary[tuple[int, bytes], Segment] = weakref.WeakValueDictionary()
        self._locks: dict[tuple[int, bytes], Lock] = {}

    def segment(
        self, prompt: array[int], start: int, read: Callable[[], tuple[Segment, float]]
    ) -> tuple[Segment, float]:
        """The keys and values of `prompt` from `start` on, and the seconds that reading them took just now."""
        key = (start, prompt.tobytes())
        with self._locks.setdefault(key, Lock()):
            found = self._segments.get(key)
            if found is not None:
                return found, 0.0
            found, seconds = read()
            self._segments[key] = found
            return found, seconds


def _changes_itself(network: Any) -> bool:
    """Whether passes at the same time would disturb each other: PEFT puts such matrices on and off in every pass."""
    from peft.tuners.lora.layer import ParamWrapper

    return any(isinstance(module, ParamWrapper) for module in network.modules())


def _pieces(tree: Prefix, pool: Pool) -> Iterator[tuple[int, list[int]]]:
    """(tokens to read and to write, prompts): branches that are small enough, and prompts by themselves."""

    def work(prompts: Sequence[int], known: int) -> int:
        return sum(len(pool.rows[i].prompt) - known + pool.sampling.max_new_tokens for i in prompts)

    most = PIECE * sum(work(prefix.prompts, prefix.end) for prefix in tree.all)
    stack = [tree]
    while stack:
        prefix = stack.pop()
        inside = [i for each in prefix.all for i in each.prompts]
        if prefix is not tree and work(inside, prefix.end) <= most:
            yield work(inside, prefix.end), inside
        else:
            stack += prefix.branches
            yield from ((work([i], prefix.end), [i]) for i in prefix.prompts)

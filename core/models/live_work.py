"""What the live engine does in a turn: who comes in, who is read, who is written, who leaves.

Everything here happens in the engine's one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from core.errors import UserError
from core.models.live_answer import FAILED
from core.models.live_lanes import AloneLane, Lane, SlotLane
from core.models.live_models import Group, LiveModels
from core.models.live_recent import WORTH, Recent, common
from core.models.live_rows import Describe, Row, next_tokens
from core.models.loading import LoadedModel
from core.models.slots import Slots

log = logging.getLogger(__name__)

# Rows under way: as many as a pass takes without costing much more than for one.
MOST_ROWS = {"cpu": 64, "cuda": 256}
# Tokens of prompts read in a turn while others write, who wait for that; and while nobody does.
PIECE = {"cpu": 128, "cuda": 1024}
PIECE_ALONE = {"cpu": 512, "cuda": 8192}
# Widths of slots, in tokens. Rows of each width have a pass of their own, so there are few.
COLUMNS = (512, 2048, 8192, 32_768)
# Keys and values of all rows, and of what was read lately.
CPU_BYTES, CPU_RECENT_BYTES = 2**30, 2**28
# Shares of a GPU's free memory for the same; passes need some too.
GPU_SHARE, GPU_RECENT_SHARE = 0.6, 0.1
# A row that finds no room lets so many younger ones pass, and then none.
MOST_OVERTAKEN = 32


class Work:
    """The rows under way and those that `waiting` for room, oldest first. `wake` is called when a model is opened."""

    def __init__(self, loaded: LoadedModel, ends: frozenset[int], describe: Describe, wake: Callable[[], None]) -> None:
        kind = loaded.device.type
        self.waiting: list[Row] = []
        self._loaded, self._ends, self._describe = loaded, ends, describe
        self._models = LiveModels(loaded, wake, self._forget)
        self._most_rows, self._piece, self._piece_alone = MOST_ROWS[kind], PIECE[kind], PIECE_ALONE[kind]
        self._most_bytes, recent_bytes = _memory(loaded.device)
        self._recent = Recent(recent_bytes)
        self._lanes: dict[tuple[Group, int], Lane] = {}
        self._shortest_first = True

    @property
    def longest(self) -> int:
        """The most tokens of a prompt and its answer."""
        per_token = self._models.bytes_per_token(None)
        return (
            self._loaded.context if per_token is None else min(self._loaded.context, self._most_bytes // per_token - 1)
        )

    @property
    def rows(self) -> list[Row]:
        """Those under way."""
        return [row for lane in self._lanes.values() for row in lane.rows]

    @property
    def running(self) -> int:
        return sum(len(lane.rows) for lane in list(self._lanes.values()))

    @property
    def adapters(self) -> int:
        return self._models.adapters

    @property
    def bytes(self) -> int:
        return self._recent.bytes + sum(lane.bytes for lane in list(self._lanes.values()))

    def turn(self) -> int | None:
        """Returns how many tokens were written; None when there was nothing to do."""
        self._leave_cancelled()
        self._let_in()
        if not self._lanes or not self.rows:
            return None
        return self._read() + self._write()

    def open(self, adapter: Path) -> bool:
        """Whether rows may answer with it now; see `LiveModels.open`. Raises UserError."""
        return self._models.open(adapter, {row.asked.adapter for row in self.rows})

    def end_all(self, error: str) -> None:
        """End all answers with this error, and begin anew with empty slots."""
        for row in [*self.rows, *self.waiting]:
            row.give_up("error", error)
        self._lanes.clear()
        self.waiting.clear()

    def close(self, error: str) -> None:
        self.end_all(error)
        self._models.close()

    def _forget(self, adapter: Path) -> None:
        """Let go of what was kept for a model that is no longer open."""
        self._recent.forget(adapter)
        self._lanes = {key: lane for key, lane in self._lanes.items() if key[0] != adapter}

    @torch.inference_mode()
    def _leave_cancelled(self) -> None:
        for row in [row for row in self.waiting if row.answer.cancelled]:
            self.waiting.remove(row)
            row.give_up("cancelled")
        for lane in self._lanes.values():
            for row in [row for row in lane.rows if row.answer.cancelled]:
                self._leave(lane, row)
                row.give_up("cancelled")

    def _leave(self, lane: Lane, row: Row) -> None:
        """What was read of it is kept, since the next question may go on from here."""
        per_token = self._per_token(row)
        if per_token:
            tokens = min(row.read, self._recent.most_bytes // 2 // per_token)
            if tokens >= WORTH:
                self._recent.keep(row.asked.adapter, row.tokens[:tokens], lane.holds(row, tokens))
        lane.remove(row)

    def _let_in(self) -> None:
        """Oldest first; one that finds no room is overtaken by others that do, but not for ever."""
        passed: list[Row] = []
        for row in self.waiting[: self._most_rows]:
            if len(self.rows) == self._most_rows:
                break
            try:
                placed = self._place(row)
            except Exception as error:
                if not isinstance(error, UserError):
                    log.exception("A request could not be begun.")
                self.waiting.remove(row)
                row.give_up("error", _said(error))
                continue
            if placed:
                self.waiting.remove(row)
                for each in passed:
                    each.overtaken += 1
            elif row.overtaken >= MOST_OVERTAKEN and not self._models.opening:
                break
            else:
                passed.append(row)
        if self.waiting and not self.rows and not self._models.opening:
            self.waiting.pop(0).give_up(
                "error", "There is not enough memory for this request. Ask for a shorter answer."
            )

    def _place(self, row: Row) -> bool:
        adapter = row.asked.adapter
        if adapter is not None and not self.open(adapter):
            return False
        lane = self._lane(row)
        if not self._room(lane):
            return False
        lane.add(row)
        return True

    def _group(self, row: Row) -> Group:
        return self._models.group(row.asked.adapter)

    def _per_token(self, row: Row) -> int | None:
        return self._models.bytes_per_token(self._group(row))

    def _lane(self, row: Row) -> Lane:
        group = self._group(row)
        per_token = self._per_token(row)
        widths = [width for width in COLUMNS if width < self.longest] if per_token else []
        columns = next((width for width in widths if row.expected < width), self.longest + 1)
        key = group, columns
        if key not in self._lanes:
            network, device = partial(self._models.network, group), self._loaded.device
            if per_token is None:
                self._lanes[key] = AloneLane(network, device)
            else:
                slots = Slots(network([]), device)
                self._lanes[key] = SlotLane(network, slots, columns, per_token)
        return self._lanes[key]

    def _room(self, lane: Lane) -> bool:
        """Whether there is room for one row more, for which all lanes give back what they do not need."""
        if lane.grow(self._most_bytes - sum(each.bytes for each in self._lanes.values())):
            return True
        for each in self._lanes.values():
            each.trim()
        return lane.grow(self._most_bytes - sum(each.bytes for each in self._lanes.values()))

    @torch.inference_mode()
    def _read(self) -> int:
        """A piece: of the prompt with the least to read and of the oldest in turns, so that neither waits for long."""
        reading = [(lane, row) for lane in self._lanes.values() for row in lane.rows if row.to_read]
        if not reading:
            return 0
        lane, row = min(reading, key=_least if self._shortest_first else _oldest)
        self._shortest_first = not self._shortest_first
        piece = self._piece_alone if len(reading) == len(self.rows) else self._piece
        with self._guarded(lane):
            for each in lane.neighbours(row, piece):
                if each.read == 0 and self._per_token(each):
                    self._reuse(lane, each)
            if row.to_read:
                return self._take(lane, *lane.read(lane.neighbours(row, piece), piece))
        return 0

    def _reuse(self, lane: Lane, row: Row) -> None:
        """Take over what was read of the same beginning: lately, or for a row that is under way."""
        adapter, prompt = row.asked.adapter, row.tokens[:-1]
        shared, beginning = self._recent.longest(adapter, prompt)
        for other_lane in self._lanes.values():
            for other in other_lane.rows:
                if other is not row and other.asked.adapter == adapter and other.read > max(shared, WORTH):
                    length = common(other.tokens[: other.read], prompt)
                    if length > max(shared, WORTH):
                        shared, beginning = length, other_lane.holds(other, length)
        if beginning:
            lane.begin(row, beginning)
            row.answer.reused_tokens = row.read = shared

    @torch.inference_mode()
    def _write(self) -> int:
        written = 0
        for lane in list(self._lanes.values()):
            with self._guarded(lane):
                self._move_outgrown(lane)
                written += self._take(lane, *lane.write())
        return written

    def _take(self, lane: Lane, rows: Sequence[Row], logits: Any) -> int:
        """Choose a token for each row, and let those go that are done. Returns how many got one."""
        written = 0
        for row, chosen in zip(rows, next_tokens(logits, rows, self._describe), strict=True):
            if isinstance(chosen, UserError):
                lane.remove(row)
                row.give_up("error", str(chosen))
                continue
            written += 1
            token, details = chosen
            if last := row.add(token, details, self._ends):
                self._leave(lane, row)
                row.answer.tell(last)
        return written

    def _move_outgrown(self, lane: Lane) -> None:
        """To wider slots; where there is no room for them a row waits again, to be read anew."""
        for row in [row for row in lane.rows if lane.has_outgrown(row)]:
            so_far = lane.holds(row, row.read)
            lane.remove(row)
            # It waits before room is looked for: should that fail, it is not lost.
            self.waiting.insert(0, row)
            read, row.read = row.read, 0
            wider = self._lane(row)
            if self._room(wider):
                self.waiting.remove(row)
                wider.add(row)
                wider.begin(row, so_far)
                row.read = read

    @contextmanager
    def _guarded(self, lane: Lane) -> Iterator[None]:
        """A pass that fails ends the answers of its lane; the others go on."""
        try:
            yield
        except Exception as error:
            log.exception("A pass failed.")
            self._lanes = {key: each for key, each in self._lanes.items() if each is not lane}
            for row in lane.rows:
                row.give_up("error", _said(error))


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else FAILED


def _least(each: tuple[Lane, Row]) -> float:
    return each[1].to_read


def _oldest(each: tuple[Lane, Row]) -> float:
    return each[1].born


def _memory(device: torch.device) -> tuple[int, int]:
    """Bytes for the rows under way, and for what was read lately."""
    if device.type == "cpu":
        return CPU_BYTES, CPU_RECENT_BYTES
    free = torch.cuda.mem_get_info(device)[0]
    return int(free * GPU_SHARE), int(free * GPU_RECENT_SHARE)

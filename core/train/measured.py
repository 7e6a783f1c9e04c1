"""What a run has measured so far, as columns of numbers: read in increments, quick for a million steps.

Rows come in the order in which they were measured. A step taken again after a resume replaces what the abandoned
attempt had measured from there on: those weights are gone, and so are their measurements.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from core.store.database import session
from core.store.tables import Metric

Numbers = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]
By = Literal["step", "epoch", "tokens", "time"]
# A NULL, which stands for a value that was not a number, becomes NaN.
ROW = np.dtype([("id", np.int64), ("step", np.int64), ("name", object), ("value", np.float64)])


class Column:
    """Steps and values of one name, steps rising; grows by doubling, so that appending costs little at any length."""

    def __init__(self) -> None:
        self.size = 0
        self._steps: Steps = np.empty(64, np.int64)
        self._values: Numbers = np.empty(64, np.float64)

    @property
    def steps(self) -> Steps:
        return self._steps[: self.size]

    @property
    def values(self) -> Numbers:
        return self._values[: self.size]

    def append(self, steps: Steps, values: Numbers) -> None:
        """`steps` rise and lie behind the last one."""
        size = self.size + len(steps)
        if size > len(self._steps):
            self._steps = np.resize(self._steps, 2 * size)
            self._values = np.resize(self._values, 2 * size)
        self._steps[self.size : size] = steps
        self._values[self.size : size] = values
        self.size = size

    def cut(self, step: int) -> None:
        """Forget this step and all behind it; in new arrays, since a chart may still be reading the old ones."""
        size = int(np.searchsorted(self.steps, step))
        if size < self.size:
            self.size = size
            self._steps, self._values = self._steps.copy(), self._values.copy()


class Measured:
    """Everything measured by one run. `last` is the newest row's id: the same `last` means the same numbers.

    Safe to share between threads.
    """

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        self.first = self.last = 0
        self._columns: dict[str, Column] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._columns)

    def update(self) -> None:
        """Read what is new."""
        with self._lock:
            first = _first_id(self.job_id)
            if self._columns and first != self.first:
                # The run was begun anew, and its old measurements were deleted.
                self._columns, self.last = {}, 0
            self.first = first
            rows = _new_rows(self.job_id, self.last)
            if len(rows):
                self._take(rows["step"], list(rows["name"]), rows["value"])
                self.last = int(rows["id"][-1])

    def points(self, name: str, by: By = "step") -> tuple[npt.NDArray[np.generic], Numbers]:
        """Where each value of `name` stands on the axis `by`, and the values; both empty when there are none."""
        with self._lock:
            column = self._columns.get(name)
            steps, values = (column.steps, column.values) if column else (np.empty(0, np.int64), np.empty(0))
        return self.places(steps, by), values

    def places(self, steps: npt.NDArray[np.generic], by: By) -> npt.NDArray[np.generic]:
        """These steps on another axis: epochs, tokens learned from so far, or minutes of training so far.

        Minutes are those of the steps themselves: evaluations, and the time between two attempts, do not count.
        """
        if by == "step" or not len(steps):
            return steps
        with self._lock:
            known, at = self._scale(by)
        if not len(known):
            return np.full(len(steps), np.nan)
        return np.interp(np.asarray(steps, np.float64), known, at)

    def axes(self) -> list[By]:
        """The axes that this run can be drawn on."""
        needed: dict[By, set[str]] = {
            "step": set(),
            "epoch": {"epoch"},
            "tokens": {"tokens"},
            "time": {"tokens", "tokens_per_s"},
        }
        return [by for by, names in needed.items() if names <= self.names]

    def _scale(self, by: By) -> tuple[Steps, Numbers]:
        name = "epoch" if by == "epoch" else "tokens"
        column = self._columns.get(name, Column())
        steps, values = column.steps, column.values
        if by == "time":
            speed = self._columns.get("tokens_per_s", Column())
            values = values / speed.values / 60 if speed.size == column.size else np.full(column.size, np.nan)
        return steps, values if by == "epoch" else np.cumsum(np.nan_to_num(values))

    def _take(self, steps: Steps, names: list[str], values: Numbers) -> None:
        """Append rows; where one goes back to a step that its column has, the run went on from an earlier one."""
        codes = {name: code for code, name in enumerate(dict.fromkeys(names))}
        coded = np.fromiter(map(codes.__getitem__, names), np.int16, len(names))
        rows = {name: np.flatnonzero(coded == code) for name, code in codes.items()}
        backward = []
        for name, at in rows.items():
            known = self._columns.setdefault(name, Column())
            before = np.concatenate(([known.steps[-1] if known.size else np.iinfo(np.int64).min], steps[at][:-1]))
            backward += [(int(row), name) for row in at[steps[at] <= before]]
        begin = 0
        for row, name in [*sorted(backward), (len(names), "")]:
            for other, at in rows.items():
                part = at[np.searchsorted(at, begin) : np.searchsorted(at, row)]
                self._columns[other].append(steps[part], values[part])
            if name:
                step = int(steps[row])
                self._columns[name].cut(step)
                for column in self._columns.values():
                    column.cut(step + 1)
            begin = row


def _first_id(job_id: int) -> int:
    with session(read_only=True) as opened:
        return opened.scalar(sa.select(sa.func.min(Metric.id)).where(Metric.job_id == job_id)) or 0


def _new_rows(job_id: int, after_id: int) -> npt.NDArray[np.void]:
    query = (
        sa.select(Metric.id, Metric.step, Metric.name, Metric.value)
        .where(Metric.job_id == job_id, Metric.id > after_id)
        .order_by(Metric.id)
    )
    with session(read_only=True) as opened:
        # The driver's own rows, straight into the array: rows of SQLAlchemy and lists between take twice the time.
        cursor = cast("Iterator[tuple[Any, ...]]", opened.connection().execute(query).cursor)
        return np.fromiter(cursor, ROW)

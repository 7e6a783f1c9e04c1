"""Writes what a job reports, from a thread of its own, and listens for the request to stop.

Every write names the process as well as the job. Should the record say that the job is no longer this
process's (someone concluded that it was dead, and resumed it), nothing is written and the handler is asked to
stop: two attempts never write over each other.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from core.jobs.context import JobContext
from core.jobs.launcher import start_time
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Job, Metric

LISTEN_S = 0.5
WRITE_S = 1.0
# A database that is locked or full may recover while the job ends; its result is worth this much waiting.
LAST_WRITE_S = 60.0


class Recorder(threading.Thread):
    """Lives from `start()` to `finish()`; `lost` is true once the job is no longer this process's."""

    def __init__(self, context: JobContext) -> None:
        super().__init__(name="recorder", daemon=True)
        self.lost = False
        self._context = context
        self._heartbeat_s = get_settings().heartbeat_s
        self._written_at = time.monotonic()
        self._finishing = threading.Event()
        self._trouble = False

    def run(self) -> None:
        while not self._finishing.wait(LISTEN_S) and not self.lost:
            try:
                self._listen()
                self._write_if_due()
            except SQLAlchemyError as error:
                self._say_trouble(error)
            else:
                self._say_recovery()

    def finish(self, **columns: Any) -> None:
        """Write everything not yet written together with the job's last columns.

        Tries for a minute; then raises the database's error, and the record will read `interrupted`.
        """
        self._finishing.set()
        self.join()
        deadline = time.monotonic() + LAST_WRITE_S
        while True:
            try:
                self._write(**columns)
                return
            except SQLAlchemyError as error:
                self._say_trouble(error)
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def _listen(self) -> None:
        with session(read_only=True) as opened:
            requested = opened.execute(sa.select(Job.stop_requested_at).where(*self._mine())).one_or_none()
        if requested is None:
            self._lose()
        elif requested[0] is not None:
            self._context.request_stop()

    def _write_if_due(self) -> None:
        waited = time.monotonic() - self._written_at
        if waited >= self._heartbeat_s or (waited >= WRITE_S and self._context.has_news()):
            self._write()

    def _write(self, **columns: Any) -> None:
        rows, progress = self._context.collected()
        life = {"heartbeat_at": time.time(), "process_started": start_time(os.getpid())}
        try:
            with session() as opened:
                mine = sa.update(Job).where(*self._mine()).values(life | progress | columns)
                changed: Any = opened.execute(mine)
                if changed.rowcount == 0:
                    self._lose()
                elif rows:
                    opened.execute(sa.insert(Metric), rows)
        except SQLAlchemyError:
            self._context.give_back(rows, progress)
            raise
        self._written_at = time.monotonic()

    def _mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        return Job.id == self._context.job_id, Job.pid == os.getpid(), Job.status == "running"

    def _lose(self) -> None:
        if self.lost:
            return
        self.lost = True
        self._context.log("This job is no longer this process's, by the records: it stops here.")
        self._context.request_stop()

    def _say_trouble(self, error: SQLAlchemyError) -> None:
        """Once per outage. To the log and, in case the log's disk is the problem, to the terminal."""
        if self._trouble:
            return
        self._trouble = True
        reason = str(error.__cause__ or error)
        text = f"The records cannot be written ({reason}). Nothing is lost yet; it is tried again."
        self._context.log(text)
        with suppress(OSError):
            sys.stderr.write(text + "\n")

    def _say_recovery(self) -> None:
        if self._trouble:
            self._trouble = False
            self._context.log("The records are written again.")

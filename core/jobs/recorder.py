"""Writes what a job reports, from a thread of its own, and listens for the request to stop.

Every write names the process as well as the job. Should the record say that the job is no longer this
process's (someone concluded that it was dead, and resumed it), nothing is written and the handler is asked to
stop: two attempts never write over each other.

A look at the news costs nothing, so it happens four times a second, and only what is new is written: a chart is as
fresh as that, and a slow job writes no oftener than it reports. Each write brings the request to stop back with it.
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

LOOK_S = 0.25
# While there is nothing to write.
LISTEN_S = 0.5
# A database that is locked or full may recover while the job ends; its result is worth this much waiting.
LAST_WRITE_S = 60.0
REQUEST = (Job.stop_requested_at, Job.stop_then)


class Recorder(threading.Thread):
    """Lives from `start()` to `finish()`; `lost` is true once the job is no longer this process's."""

    def __init__(self, context: JobContext) -> None:
        super().__init__(name="recorder", daemon=True)
        self.lost = False
        self._context = context
        self._heartbeat_s = get_settings().heartbeat_s
        self._written_at = self._heard_at = time.monotonic()
        self._finishing = threading.Event()
        self._trouble = False

    def run(self) -> None:
        while not self._finishing.wait(LOOK_S) and not self.lost:
            try:
                self._look()
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

    def _look(self) -> None:
        now = time.monotonic()
        if self._context.has_news() or now - self._written_at >= self._heartbeat_s:
            self._write()
        elif now - self._heard_at >= LISTEN_S:
            with session(read_only=True) as opened:
                self._hear(opened.execute(sa.select(*REQUEST).where(*self._mine())).one_or_none())

    def _write(self, **columns: Any) -> None:
        rows, news = self._context.collected()
        # The start of the process too: it is counted from the boot, which moves when the clock is set.
        life = {"heartbeat_at": time.time(), "process_started": start_time(os.getpid())}
        try:
            with session() as opened:
                # Past the session, which would look for objects to keep in step and take nearly twice the time.
                connection = opened.connection()
                mine = sa.update(Job).where(*self._mine()).values(life | news | columns).returning(*REQUEST)
                request = connection.execute(mine).one_or_none()
                if request is not None and rows:
                    connection.execute(sa.insert(Metric), rows)
        except SQLAlchemyError:
            self._context.give_back(rows, news)
            raise
        self._written_at = time.monotonic()
        self._hear(request)

    def _hear(self, request: sa.Row[float | None, str] | None) -> None:
        """What the record says about stopping; None when it is no longer this process's."""
        self._heard_at = time.monotonic()
        if request is None:
            self._lose()
        elif request.stop_requested_at is not None:
            self._context.request_stop(request.stop_then)

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

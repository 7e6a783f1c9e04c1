"""One writer at a time for each index, whatever thread, process or machine it is in."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from filelock import FileLock, Timeout

from core.errors import UserError
from core.settings import get_settings
from core.store.database import POSTGRES_LOCK, engine

# Long enough for any change but the filling of an index, which a person would rather be told of than wait for.
WAIT_S = 10.0
POLL_S = 0.1


@contextmanager
def writing(index_id: int) -> Iterator[None]:
    """Hold the right to write to an index. Raises UserError, saying who is at work, if it is not free in WAIT_S.

    A killed holder loses it at once: the operating system lets go of its file, PostgreSQL of its connection.
    """
    folder = get_settings().home / "locks"
    folder.mkdir(exist_ok=True)
    holder = folder / f"index-{index_id}.json"
    try:
        with FileLock(folder / f"index-{index_id}.lock", timeout=WAIT_S), _on_the_server(index_id):
            holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}))
            try:
                yield
            finally:
                holder.unlink(missing_ok=True)
    except Timeout:
        raise UserError(
            f"Index {index_id} is being written by {_who(holder)}.",
            "Wait until it is done, or stop its job on the Jobs page, then try again.",
        ) from None


@contextmanager
def _on_the_server(index_id: int) -> Iterator[None]:
    """The same lock for every machine that shares one PostgreSQL; nothing on SQLite."""
    if engine().dialect.name != "postgresql":
        yield
        return
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        asked = sa.select(sa.func.pg_try_advisory_lock(POSTGRES_LOCK, index_id))
        until = time.monotonic() + WAIT_S
        while not connection.scalar(asked):
            if time.monotonic() > until:
                raise Timeout(f"index-{index_id}")
            time.sleep(POLL_S)
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(POSTGRES_LOCK, index_id)))


def _who(holder: Path) -> str:
    with suppress(OSError, ValueError):
        found = json.loads(holder.read_text())
        since = time.strftime("%H:%M:%S", time.localtime(found["since"]))
        return f"process {found['pid']} on {found['host']}, at work since {since}"
    return "another process"

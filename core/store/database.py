"""Connections to the records.

`session()` is the way in: it brings the database to the newest migration once per process, then gives a
transaction. On SQLite a writing transaction takes the write lock as it begins (BEGIN IMMEDIATE): one that
read first and wrote later would otherwise fail when another process wrote in between, however long it was
ready to wait. A transaction that only reads says so and waits for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock
from sqlalchemy.orm import Session

from core.errors import UserError
from core.settings import get_settings

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 30_000
# Any number, the same in every process: names the lock that PostgreSQL gives to one transaction at a time.
POSTGRES_LOCK = 5_210_917

_READ_ONLY = "lowest_rung_read_only"
_upgraded: set[str] = set()
_upgrading = threading.Lock()


def engine() -> sa.Engine:
    """The engine of the configured database, one per URL and process."""
    return _engine(get_settings().records_url)


@lru_cache
def _engine(url: str) -> sa.Engine:
    made = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if made.dialect.name == "sqlite":
        sa.event.listen(made, "connect", _prepare_sqlite)
        sa.event.listen(made, "begin", _begin_sqlite)
    return made


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction control begins late and never IMMEDIATE; `_begin_sqlite` does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    # In WAL mode NORMAL survives a crash of any process; a power cut may cost the last moments, no more.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def session(*, read_only: bool = False) -> Iterator[Session]:
    """A transaction: committed at the end, rolled back on an error. Rows stay readable afterwards.

    Keep a writing one short: on SQLite nobody else writes meanwhile, running jobs included. With `read_only`
    it sees one consistent state, blocks nobody, and refuses to write (RuntimeError).
    """
    upgrade()
    bind = engine().execution_options(**{_READ_ONLY: True}) if read_only else engine()
    with Session(bind, expire_on_commit=False) as opened, opened.begin():
        if read_only:
            sa.event.listen(opened, "before_flush", _refuse_to_write)
        yield opened


def _refuse_to_write(*_: Any) -> None:
    raise RuntimeError("A read-only session was asked to write: use session() without read_only.")


def lock(opened: Session | sa.Connection) -> None:
    """From here to the end of this transaction, no other transaction that calls this runs.

    SQLite's BEGIN IMMEDIATE has done that already; PostgreSQL needs to be asked.
    """
    bind = opened.get_bind() if isinstance(opened, Session) else opened
    if bind.dialect.name == "postgresql":
        opened.execute(sa.select(sa.func.pg_advisory_xact_lock(POSTGRES_LOCK)))


def upgrade() -> None:
    """Bring the database to the newest migration; once per process and URL, safe when several start at once.

    Raises UserError when the database was written by a newer version of the product.
    """
    settings = get_settings()
    url = settings.records_url
    if url in _upgraded:
        return
    # The file lock is for what a transaction cannot hold: switching a new SQLite file to WAL fails outright,
    # without waiting, when two processes try it together.
    with _upgrading, FileLock(settings.home / "migration.lock"):
        if url not in _upgraded:
            _migrate()
            _upgraded.add(url)


def _migrate() -> None:
    # Only here is Alembic needed, once per process.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    if engine().dialect.name == "sqlite":
        with closing(engine().raw_connection()) as raw:
            raw.cursor().execute("PRAGMA journal_mode=WAL")
    config = Config()
    # A percent sign in the path would be read as a reference to another option.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with engine().begin() as connection:
            lock(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise UserError(
            f"The records were written by a newer version of Lowest Rung ({error}).",
            "Update the program, or set LOWEST_RUNG_HOME to another folder.",
        ) from error


def forget(url: str) -> None:
    """Close every connection to this database and forget that it was upgraded, as if the process were new."""
    _engine(url).dispose()
    _engine.cache_clear()
    _upgraded.discard(url)

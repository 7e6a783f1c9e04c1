"""Run by Alembic: applies the migrations on the connection and in the transaction of `upgrade()`."""

from __future__ import annotations

from alembic import context

from core.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite changes a column by copying its table; harmless elsewhere.
    render_as_batch=True,
)
context.run_migrations()

"""Training, watched: the order of the queue, what becomes of a stopped job, sample answers, adapters that come back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("turn", sa.Double(), nullable=False, server_default="0"))
    op.execute("UPDATE jobs SET turn = created_at")
    op.add_column("jobs", sa.Column("stop_then", sa.Text(), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("notes", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("adapters", sa.Column("notes", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("adapters", sa.Column("deleted_at", sa.Double(), nullable=True))
    op.create_table(
        "samples",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_samples_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_samples")),
        sa.UniqueConstraint("job_id", "step", "position", name=op.f("uq_samples_job_id_step_position")),
        sqlite_autoincrement=True,
    )

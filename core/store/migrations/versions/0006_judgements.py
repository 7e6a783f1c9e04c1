"""What a judge was shown, so that the same is not asked again in a later experiment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("judgements", sa.Column("key", sa.Text(), nullable=False, server_default=""))
    op.create_index(op.f("ix_judgements_key"), "judgements", ["key"])

"""Comparisons that repeat nothing: answers known by what determines them, scores, votes and judgements as records."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("experiments", sa.Column("metrics", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("experiments", sa.Column("rerun_of", sa.Integer(), nullable=True))
    # SQLite cannot change a constraint: the table is made anew. Nothing refers to it yet.
    with op.batch_alter_table("predictions", table_kwargs={"sqlite_autoincrement": True}) as table:
        table.add_column(sa.Column("sample", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("key", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("reused", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.drop_constraint("uq_predictions_experiment_id_rung_example_id", type_="unique")
        table.create_unique_constraint(
            op.f("uq_predictions_experiment_id_rung_example_id_sample"),
            ["experiment_id", "rung", "example_id", "sample"],
        )
    op.create_index(op.f("ix_predictions_key"), "predictions", ["key"])
    op.create_table(
        "scores",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prediction_id", sa.Integer(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["predictions.id"], name=op.f("fk_scores_prediction_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scores")),
        sa.UniqueConstraint("prediction_id", "metric", name=op.f("uq_scores_prediction_id_metric")),
        sqlite_autoincrement=True,
    )
    _chosen("votes", ["voter"], sa.Column("voter", sa.Text(), nullable=False), _moment())
    _chosen(
        "judgements",
        ["swapped", "judge"],
        sa.Column("judge", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=False),
    )


def _moment() -> sa.Column[float]:
    return sa.Column("created_at", sa.Double(), nullable=False)


def _chosen(name: str, also_unique: list[str], *more: sa.Column[Any]) -> None:
    """A table of choices between two rungs' answers to one example."""
    key = ["experiment_id", "example_id", "rung_a", "rung_b", *also_unique]
    op.create_table(
        name,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("rung_a", sa.Text(), nullable=False),
        sa.Column("rung_b", sa.Text(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("swapped", sa.Boolean(), nullable=False),
        *more,
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name=op.f(f"fk_{name}_experiment_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["example_id"], ["examples.id"], name=op.f(f"fk_{name}_example_id")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
        sa.UniqueConstraint(*key, name=op.f(f"uq_{name}_{'_'.join(key)}")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f(f"ix_{name}_example_id"), name, ["example_id"])

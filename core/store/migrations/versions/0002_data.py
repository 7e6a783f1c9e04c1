"""What examples and documents carry beyond their text: tool calls, notes, edits, pages, and chunks as records."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("datasets", sa.Column("importing_at", sa.Double(), nullable=True))
    for column in (
        sa.Column("tools", sa.JSON(), nullable=True),
        sa.Column("calls", sa.JSON(), nullable=True),
        sa.Column("folded", sa.Text(), nullable=False, server_default=""),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("original", sa.JSON(), nullable=True),
    ):
        op.add_column("examples", column)
    op.drop_index("ix_examples_dataset_id", "examples")
    op.create_index(op.f("ix_examples_dataset_id_split_position"), "examples", ["dataset_id", "split", "position"])
    op.create_index(op.f("ix_examples_dataset_id_label"), "examples", ["dataset_id", "label"])
    # Deleting an example looks for predictions of it: without this, through all there are, each time.
    op.create_index(op.f("ix_predictions_example_id"), "predictions", ["example_id"])
    _fold()
    for column in (
        sa.Column("language", sa.Text(), nullable=False, server_default=""),
        sa.Column("mode", sa.Text(), nullable=False, server_default="hybrid"),
        sa.Column("dense_weight", sa.Double(), nullable=False, server_default="0.5"),
        sa.Column("reranker", sa.Text(), nullable=False, server_default=""),
    ):
        op.add_column("indexes", column)
    op.add_column("documents", sa.Column("pages", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("documents", sa.Column("meta", sa.JSON(), nullable=False, server_default="{}"))
    op.create_table(
        "chunks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("index_id", sa.Integer(), nullable=False),
        sa.Column("document_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("section", sa.Text(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=True),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("indexed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_chunks_index_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name=op.f("fk_chunks_document_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chunks")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_chunks_document_id_position"), "chunks", ["document_id", "position"])
    op.create_index(op.f("ix_chunks_index_id_indexed"), "chunks", ["index_id", "indexed"])
    # Until now chunks were known to Chroma alone, under other ids: the next build cuts and embeds them afresh.
    op.execute("UPDATE documents SET chunk_count = 0")


def _fold() -> None:
    """Give the examples there are the text that searches look through; done here, as SQL folds ASCII alone."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, messages, reference, label FROM examples")).all()
    folded = [
        {
            "id": row.id,
            "folded": "\n".join(
                [*(turn["content"] for turn in _decoded(row.messages)), row.reference, row.label or ""]
            ).casefold(),
        }
        for row in rows
    ]
    if folded:
        connection.execute(sa.text("UPDATE examples SET folded = :folded WHERE id = :id"), folded)


def _decoded(messages: str | list[dict[str, str]]) -> list[dict[str, str]]:
    """PostgreSQL's driver decodes JSON itself, SQLite's does not."""
    found: list[dict[str, str]] = json.loads(messages) if isinstance(messages, str) else messages
    return found

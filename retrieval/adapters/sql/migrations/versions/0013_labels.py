"""Labels of documents, and those that every document of a source has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "document_labels",
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=8), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name=op.f("fk_document_labels_document_id_documents")
        ),
        sa.PrimaryKeyConstraint("document_id", "origin", "label", name=op.f("pk_document_labels")),
    )
    op.create_index("ix_document_labels_label", "document_labels", ["label"])
    op.create_table(
        "source_labels",
        sa.Column("source_id", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name=op.f("fk_source_labels_source_id_sources")
        ),
        sa.PrimaryKeyConstraint("source_id", "label", name=op.f("pk_source_labels")),
    )

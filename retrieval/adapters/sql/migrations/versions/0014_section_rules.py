"""Section rules of documents, and the full heading paths of passages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("documents", sa.Column("section_rules", sa.JSON(), nullable=True))
    op.add_column("chunks", sa.Column("section_paths", sa.JSON(), nullable=True))
    has_rules = sa.text("section_rules IS NOT NULL")
    op.create_index(
        "ix_documents_section_rules",
        "documents",
        ["source_id"],
        sqlite_where=has_rules,
        postgresql_where=has_rules,
    )

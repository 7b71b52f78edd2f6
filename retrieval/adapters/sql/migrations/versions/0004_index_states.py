"""States of indexes: one that answers, at most one that is being built, at most one to go back to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change. Records of indexes that no longer answered named nothing that still exists."""
    op.execute(sa.text("DELETE FROM indexes WHERE NOT active"))
    with op.batch_alter_table("indexes") as batch_op:
        batch_op.add_column(sa.Column("state", sa.String(length=16), nullable=False, server_default="active"))
        batch_op.add_column(sa.Column("activated_at", sa.DateTime(), nullable=True))
        batch_op.drop_column("active")
        batch_op.create_unique_constraint("uq_indexes_state", ["state"])
    op.execute(sa.text("UPDATE indexes SET activated_at = created_at"))

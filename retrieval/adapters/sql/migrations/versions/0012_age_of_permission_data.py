"""How old the permission data of a source are, how old they may be, and when they are refreshed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change. A source that is there has no bound: nothing is closed by an upgrade."""
    with op.batch_alter_table("sources") as batch_op:
        batch_op.add_column(sa.Column("acl_every_s", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("acl_max_age_s", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("acl_confirmed_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("acl_valid_until", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("next_acl_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("acl_error_code", sa.Text(), server_default="", nullable=False))
    op.create_index("ix_sources_acl_valid_until", "sources", ["acl_valid_until"])
    op.execute("update sources set acl_confirmed_at = synced_at")

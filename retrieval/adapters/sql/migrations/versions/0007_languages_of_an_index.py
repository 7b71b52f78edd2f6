"""The languages that an index's queries are stemmed for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("indexes") as batch_op:
        batch_op.add_column(sa.Column("languages", sa.JSON(), nullable=False, server_default='["en"]'))

"""Groups as rows of their own, links between users and their other ids, and what provisioning keeps of users."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_ADDED = ("login", "login_key", "source", "details", "updated_at")


def upgrade() -> None:
    """Apply the change. Every group that has members gets a row; users keep their id as their login."""
    op.create_table(
        "groups",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("incomplete_since", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
    )
    op.create_index("ix_groups_source", "groups", ["source"])
    op.create_table(
        "identities",
        sa.Column("issuer", sa.String(length=100), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("known_as", sa.String(length=255), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("linked_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_identities")),
    )
    op.create_index("ix_identities_user_id", "identities", ["user_id"])
    op.create_index("ix_identities_known_as", "identities", ["known_as"], unique=True)
    with op.batch_alter_table("users") as batch_op:
        batch_op.add_column(sa.Column("login", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("login_key", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("external_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("source", sa.String(length=100), nullable=True))
        batch_op.add_column(sa.Column("details", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("updated_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("deleted_at", sa.DateTime(), nullable=True))
    _fill_users()
    _fill_groups()
    with op.batch_alter_table("users") as batch_op:
        for name in _ADDED:
            batch_op.alter_column(name, nullable=False)
    op.create_index("ix_users_login_key", "users", ["login_key"])
    op.create_index("ix_users_external_id", "users", ["external_id"])


def _fill_users() -> None:
    op.execute(
        "update users set login = id, login_key = lower(id), source = '', details = '{}', updated_at = created_at"
    )


def _fill_groups() -> None:
    connection = op.get_bind()
    groups = sa.table(
        "groups",
        *(sa.column(name, sa.String()) for name in ("id", "name", "source")),
        *(sa.column(name, sa.DateTime()) for name in ("created_at", "updated_at")),
    )
    members = sa.table("memberships", sa.column("group_id", sa.String()))
    now = datetime.now(UTC).replace(tzinfo=None)
    for (group_id,) in connection.execute(sa.select(members.c.group_id).distinct()).all():
        name = group_id.removeprefix("group:")
        qualifier, slash, _ = name.partition("/")
        values = {"id": group_id, "name": name, "source": qualifier if slash else ""}
        connection.execute(groups.insert().values(**values, created_at=now, updated_at=now))

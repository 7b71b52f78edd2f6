"""Migrations lead to exactly the tables that the models describe."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.models import Table


def test_migrations_match_the_models(catalogue_url: str) -> None:
    """A changed table without a migration fails here; migrating twice changes nothing."""
    database = Database(catalogue_url)
    database.migrate()
    database.migrate()
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    database.close()

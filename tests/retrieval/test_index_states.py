"""A catalogue from before indexes had states keeps the index that answers."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.indexes import IndexState
from retrieval.wiring import utc_now


def test_the_index_that_answers_goes_on_answering(tmp_path: Path) -> None:
    """Records of indexes that answered no more go; the active one is active, since it was made."""
    database = Database(f"sqlite:///{tmp_path / 'catalogue.db'}")
    config = Config()
    config.set_main_option("script_location", str(files("retrieval.adapters.sql") / "migrations"))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for name, active in (("index-1", False), ("index-2", True), ("index-0", False)):
            connection.execute(
                text(
                    "INSERT INTO indexes VALUES (:name, 'a|b|c', 80.0, :active, '2026-11-23 12:00:00.000000')"
                ),
                {"name": name, "active": active},
            )
    database.migrate()
    (record,) = SqlIndexBuilds(database, utc_now).records()
    assert (record.name, record.state) == ("index-2", IndexState.ACTIVE)
    assert record.activated_at == record.created_at
    database.close()

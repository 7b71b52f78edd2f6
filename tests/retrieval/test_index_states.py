"""Which index answers: the first one of a catalogue, and that of one from before indexes had states."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.indexes import ASSUMED_CALIBRATION, IndexState
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


def test_the_first_index_is_this_catalogues_own(tmp_path: Path) -> None:
    """Processes that start at once agree on one index; another desk on the same server has another one."""
    names = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        database = Database(f"sqlite:///{tmp_path / folder / 'catalogue.db'}")
        database.migrate()
        builds = SqlIndexBuilds(database, utc_now)
        for _ in range(2):
            builds.begin_first("a|b|c", ASSUMED_CALIBRATION)
        (record,) = builds.records()
        assert record.state is IndexState.ACTIVE
        names.append(record.name)
        database.close()
    assert names[0] != names[1]

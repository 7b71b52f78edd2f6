"""Migrations lead to exactly the tables that the models describe."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from importlib.resources import files

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import JSON, DateTime, bindparam, text

from retrieval.adapters.sql.audit import SqlAudit
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.models import Table
from retrieval.wiring import utc_now


def test_migrations_match_the_models(catalogue_url: str) -> None:
    """A changed table without a migration fails here; migrating twice changes nothing."""
    database = Database(catalogue_url)
    database.migrate()
    database.migrate()
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    database.close()


def test_an_audit_trail_of_the_first_format_stays_whole(catalogue_url: str) -> None:
    """Its records keep their hashes; what stays of them when persons are erased is sealed by one more record."""
    database = Database(catalogue_url)
    _upgrade(database, "0007")
    _write_first_format(database, ["ada", "bob", "ada"])
    database.migrate()
    trail = SqlAudit(database, utc_now)
    trail.append("test", principal="eve", request_id="r4", body={})
    verdict = trail.verify()
    assert verdict.is_intact
    assert verdict.n_records == 5
    records = trail.records(after=0, limit=10)
    assert [record.principal for record in records] == ["ada", "bob", "ada", "", "eve"]
    assert records[0].facts == {"user_id": "mara", "question_sha256": "00", "chunks": [{"version": 1}]}
    assert records[0].body == {"chunks": [{"version": 1}]}
    with database.write() as session:
        session.execute(text("DELETE FROM audit_parts WHERE sequence = 2"))
        session.execute(text("UPDATE audit SET body = '{}' WHERE sequence = 2"))
    assert trail.verify().broken_at == 4
    database.close()


def _upgrade(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("retrieval.adapters.sql") / "migrations"))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _write_first_format(database: Database, principals: list[str]) -> None:
    """Records as they were written before parts stood apart."""
    previous, at = "0" * 64, datetime(2026, 5, 17, 9, 30, 0, 250_000, tzinfo=UTC)
    body = {"user_id": "mara", "question_sha256": "00", "chunks": [{"version": 1}]}
    statement = text(
        "INSERT INTO audit (at, event, principal, request_id, body, previous_hash, hash) "
        "VALUES (:at, 'test', :principal, :request_id, :body, :previous, :hash)"
    ).bindparams(bindparam("at", type_=DateTime), bindparam("body", type_=JSON))
    with database.write() as session:
        for number, principal in enumerate(principals):
            fields = [previous, at.isoformat(), "test", principal, f"r{number}", body]
            digest = hashlib.sha256(
                json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
            ).hexdigest()
            values = {"at": at.replace(tzinfo=None), "principal": principal, "request_id": f"r{number}"}
            session.execute(statement, {**values, "body": body, "previous": previous, "hash": digest})
            previous = digest

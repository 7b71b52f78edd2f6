"""Catalogue writes that many do at once, on each database: nothing breaks, nothing is doubled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.audit import SqlAudit
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.directory import SqlDirectory
from retrieval.adapters.sql.idempotency import SqlIdempotency
from retrieval.adapters.sql.rows import PASSAGES
from retrieval.adapters.sql.sessions import Lifetime, Session, SqlSessions
from retrieval.adapters.sql.token_use import SqlTokenUse
from retrieval.errors import CatalogueUnavailableError, NotFoundError
from retrieval.wiring import utc_now
from tests.conftest import empty_database
from tests.services.servers import Server


@pytest.fixture
def database(catalogue_url: str) -> Iterator[Database]:
    """An empty catalogue."""
    database = Database(catalogue_url)
    database.migrate()
    yield database
    database.close()


def test_a_key_that_many_rotate_has_one_successor(database: Database) -> None:
    """One of eight gets the new secret; the others find that the key is gone."""
    directory = SqlDirectory(database, utc_now)
    key, _ = directory.create_key(UserId("ada"), name="k", scopes=["search"], expires_at=None)

    def rotate(_: int) -> bool:
        try:
            directory.rotate_key(key.id, grace=timedelta())
        except NotFoundError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(rotate, range(8))) == 1
    assert len(directory.keys()) == 1


def test_sessions_keep_what_was_said_at_sign_in(database: Database) -> None:
    """Groups, no groups, and that nobody knows them are three things; a replaced session is gone."""
    sessions = SqlSessions(database, utc_now, Lifetime(timedelta(hours=1), timedelta(hours=12)))
    for groups in (frozenset({PrincipalId("group:oidc/hr")}), frozenset[PrincipalId](), None):
        secret = sessions.begin(UserId("oidc:1"), name="Ada", groups=groups)
        assert sessions.find(secret) == Session(UserId("oidc:1"), "Ada", groups)
        after = sessions.begin(UserId("oidc:1"), name="Ada", groups=groups, replaces=secret)
        assert sessions.find(secret) is None
        sessions.end(after)
        assert sessions.find(after) is None
    sessions.begin(UserId("oidc:1"), name="", groups=None)
    assert (sessions.end_all(UserId("oidc:1")), sessions.end_all(UserId("oidc:1"))) == (1, 0)


def test_audit_chain_holds_under_many_writers(database: Database) -> None:
    """Records of eight writers at once form one chain."""
    audit = SqlAudit(database, utc_now)
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(
                lambda number: audit.append("test", principal="ada", request_id=str(number), body={}),
                range(40),
            )
        )
    assert len(audit.records(after=0, limit=100)) == 40
    assert audit.verify().is_intact


def test_one_of_many_claims_a_key(database: Database) -> None:
    """The same Idempotency-Key sent eight times at once is free for one request."""
    replies = SqlIdempotency(database, utc_now)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: replies.claim("key", "hash"), range(8)))
    assert found.count(None) == 1


@pytest.mark.services
def test_many_may_migrate_at_once(postgres_server: Server) -> None:
    """Processes of a split desk that start together make one schema."""
    catalogue_url = empty_database(postgres_server)
    databases = [Database(catalogue_url) for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(Database.migrate, databases))
    for database in databases:
        database.close()


def test_clock_runs_with_the_database(database: Database) -> None:
    """Leases are counted in one time, whichever database keeps it."""
    clock = database.clock()
    first, second = clock(), clock()
    assert first <= second
    assert abs(first - utc_now()) < timedelta(minutes=1)


def test_passages_are_looked_up_by_their_ids(tmp_path: Path) -> None:
    """No table is read from end to end, or the check of a search's hits would take longer with every document."""
    database = Database(f"sqlite:///{tmp_path / 'catalogue.db'}")
    database.migrate()
    asked = PASSAGES.params(ids=[str(number) for number in range(100)], now=utc_now())
    statement = asked.compile(database.engine, compile_kwargs={"literal_binds": True})
    with database.read() as session:
        plan = [str(row.detail) for row in session.execute(text(f"EXPLAIN QUERY PLAN {statement}"))]
    looked_up = [step for step in plan if not step.startswith("LIST SUBQUERY")]
    assert len(looked_up) == 4
    assert all(step.startswith("SEARCH ") for step in looked_up), plan
    database.close()


def test_absent_server_is_our_error() -> None:
    """A database that is not there is `CatalogueUnavailableError`, not the driver's error."""
    database = Database("postgresql+psycopg://refdesk@127.0.0.1:1/refdesk")
    with pytest.raises(CatalogueUnavailableError), database.read() as session:
        session.connection()
    database.close()


def test_reservations_never_go_over_a_bound(database: Database) -> None:
    """However many reserve at once, of the user's tokens and of all together."""
    use = SqlTokenUse(database, utc_now)

    def reserve(number: int) -> bool:
        user = UserId("ada" if number % 2 else "grace")
        return use.reserve(user, 100, per_user=300, total=500) is not None

    with ThreadPoolExecutor(8) as threads:
        granted = sum(threads.map(reserve, range(16)))
    assert granted == 5
    assert sum(use.today().values()) == 500
    assert max(use.today().values()) == 300


def test_tokens_are_counted_by_day(database: Database) -> None:
    """A new day begins at midnight UTC; what is settled late counts for the day it was reserved for."""
    now = [datetime(2026, 11, 30, 23, 59, tzinfo=UTC)]
    use = SqlTokenUse(database, lambda: now[0])
    day = use.reserve(UserId("ada"), 90, per_user=100, total=None)
    assert day == "2026-11-30"
    assert use.reserve(UserId("ada"), 20, per_user=100, total=None) is None
    now[0] += timedelta(minutes=2)
    assert use.reserve(UserId("ada"), 100, per_user=100, total=None) == "2026-12-01"
    use.settle(UserId("ada"), day, reserved=90, used=50)
    assert use.today() == {"ada": 100}
    now[0] -= timedelta(minutes=2)
    assert use.today() == {"ada": 50}
    now[0] += timedelta(days=200)
    use.reserve(UserId("ada"), 1, per_user=None, total=1)
    now[0] -= timedelta(days=200)
    assert use.today() == {}

"""Opening the catalogue's database and running transactions on it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from retrieval.errors import CatalogueUnavailableError

_BUSY_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 5
_POSTGRES_OPTIONS = "-c idle_in_transaction_session_timeout=20000"
"""Milliseconds after which the server ends a transaction whose process fell silent: a worker that is stopped, or a
machine that is gone, must not hold its locks for ever."""

_CLOCK_KEPT_S = 60.0
_MIGRATION = "migration"


class Database:
    """Transactions on the catalogue. Safe to share between threads; one per process.

    SQLite runs in WAL mode: readers never wait. Writers take the lock when they begin (`BEGIN IMMEDIATE`),
    so that two of them queue up instead of failing half-way.
    """

    def __init__(self, url: str) -> None:
        """Connect lazily to an SQLAlchemy URL, for example `sqlite:///desk.db`."""
        self._engine = _create_engine(url)

    @property
    def engine(self) -> Engine:
        """The engine, for migrations and tests."""
        return self._engine

    def migrate(self) -> None:
        """Bring the tables to the newest schema; does nothing when they are there already.

        Raises:
            CatalogueUnavailableError: The database cannot be opened.
        """
        config = Config()
        config.set_main_option("script_location", str(files("retrieval.adapters.sql") / "migrations"))
        with _translated(), self._engine.begin() as connection:
            one_at_a_time(connection, _MIGRATION)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session whose reads belong together; nothing is written.

        Raises:
            CatalogueUnavailableError: The database did not answer.
        """
        with _translated(), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits at the end, or rolls back when the block raises.

        Raises:
            CatalogueUnavailableError: The database did not answer.
        """
        with _translated(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            session.connection(execution_options={"refdesk_writer": True})
            yield session

    def clock(self) -> Callable[[], datetime]:
        """The time that leases are counted by.

        On a database server it is the server's: it is read once a minute, and between that this machine's
        clock of seconds since boot is added, which nobody can set. So a worker whose clock jumps neither
        takes jobs from others nor tries early. On SQLite there is one machine, and it is its own time.
        """
        if self._engine.dialect.name == "sqlite":
            return lambda: datetime.now(UTC)
        return _ServerClock(self)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


class _ServerClock:
    """Time of a database server, carried on with the seconds since boot. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading = threading.Lock()
        self._anchor: tuple[datetime, float] | None = None

    def __call__(self) -> datetime:
        with self._reading:
            now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
            if self._anchor is None or now_s - self._anchor[1] > _CLOCK_KEPT_S:
                with self._database.read() as session:
                    read = session.scalar(text("select clock_timestamp() at time zone 'utc'"))
                assert isinstance(read, datetime)
                self._anchor = (read.replace(tzinfo=UTC), now_s)
            moment, since_s = self._anchor
            return moment + timedelta(seconds=now_s - since_s)


def one_at_a_time(connection: Session | Connection, name: str) -> None:
    """Make transactions that name the same thing wait for one another, until each ends.

    SQLite has one writer at a time anyway. The lock is PostgreSQL's advisory one, keyed by a hash of the name.
    """
    dialect = connection.get_bind().dialect if isinstance(connection, Session) else connection.dialect
    if dialect.name != "postgresql":
        return
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    connection.execute(select(func.pg_advisory_xact_lock(key)))


@contextmanager
def _translated() -> Iterator[None]:
    """Turn a database that does not answer into our own error; programming errors pass."""
    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated or type(error).__name__ in {"OperationalError", "InterfaceError"}:
            raise CatalogueUnavailableError("the catalogue did not answer") from error
        raise


def _create_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        arguments = {"connect_timeout": _CONNECT_TIMEOUT_S, "options": _POSTGRES_OPTIONS}
        return create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=arguments)
    engine = create_engine(
        url, hide_parameters=True, connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False}
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's implicit BEGIN would be a deferred one
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("refdesk_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

"""Opening the catalogue's database and running transactions on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from retrieval.errors import CatalogueUnavailableError

_BUSY_TIMEOUT_S = 30.0


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

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


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
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False})
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

"""Which indexes exist, what built them, and which one answers."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select, update

from retrieval.adapters.sql.database import Database, one_at_a_time
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import IndexRow


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """One index.

    Attributes:
        name: Of its folder or collection.
        fingerprint: Of the embedder, chunker and sparse encoder whose output it holds.
        average_length: Sparse terms per chunk that its BM25 weights are normalised by.
    """

    name: str
    fingerprint: str
    average_length: float


class SqlIndexBuilds:
    """Records of indexes in SQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the records in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def active(self) -> IndexBuild | None:
        """The index that answers, None before the first one."""
        with self._database.read() as session:
            row = session.scalar(select(IndexRow).where(IndexRow.active.is_(True)))
        return None if row is None else IndexBuild(row.name, row.fingerprint, row.average_length)

    def activate(self, build: IndexBuild) -> None:
        """Let this index answer, from this commit on; it is recorded when it is new."""
        with self._database.write() as session:
            one_at_a_time(session, "indexes")
            session.execute(update(IndexRow).values(active=False))
            session.execute(delete(IndexRow).where(IndexRow.name == build.name))
            session.add(
                IndexRow(
                    name=build.name,
                    fingerprint=build.fingerprint,
                    average_length=build.average_length,
                    active=True,
                    created_at=self._clock(),
                )
            )

"""Configured sources in SQL."""

from __future__ import annotations

from collections.abc import Collection

from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import SourceRow
from retrieval.adapters.sql.rows import to_source
from retrieval.corpus import Source, SourceId
from retrieval.errors import ConflictError


class SqlSources:
    """Creates and changes sources. Every method is one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep sources in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def create(
        self,
        source_id: SourceId,
        *,
        name: str,
        kind: str,
        location: str,
        owner: UserId,
        allow: Collection[PrincipalId] = (),
        deny: Collection[PrincipalId] = (),
    ) -> Source:
        """Add a source. Its lists apply to documents for which the source itself states none.

        Raises:
            ConflictError: A source of this id or name exists.
        """
        with self._database.write() as session:
            taken = session.query(SourceRow).where((SourceRow.id == source_id) | (SourceRow.name == name))
            if taken.first() is not None:
                raise ConflictError(f"a source named {name!r} exists already")
            row = SourceRow(
                id=source_id,
                name=name,
                kind=kind,
                location=location,
                owner=owner,
                allow=sorted(allow),
                deny=sorted(deny),
                created_at=self._clock(),
            )
            session.add(row)
            session.flush()
            return to_source(row)

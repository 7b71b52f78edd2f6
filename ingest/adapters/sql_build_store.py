"""`BuildStore` on the catalogue's tables."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from retrieval.adapters.sql import jobs
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import Clock, JobRequest
from retrieval.adapters.sql.models import ChunkRow, DocumentRow, VersionRow
from retrieval.adapters.sql.rows import batches
from retrieval.corpus import ChunkId, DocumentId
from retrieval.jobs import JobKind

_PRIORITY = 7
"""After what people and syncs ask for."""


class SqlBuildStore:
    """Implements `ingest.rebuilding.BuildStore`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Work on this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def unknown(self, chunk_ids: Collection[ChunkId]) -> set[ChunkId]:
        """See `BuildStore.unknown`."""
        known: set[str] = set()
        with self._database.read() as session:
            for batch in batches(list(chunk_ids), 500):
                known.update(session.scalars(select(ChunkRow.id).where(ChunkRow.id.in_(batch))))
        return set(chunk_ids) - {ChunkId(id_) for id_ in known}

    def queue_rereading(self, recipe: str, *, requested_by: str) -> int:
        """See `BuildStore.queue_rereading`."""
        outdated = (
            select(DocumentRow.id)
            .join(VersionRow, VersionRow.id == DocumentRow.live_version_id)
            .where(VersionRow.recipe != recipe, DocumentRow.deleted_at.is_(None))
            .order_by(DocumentRow.id)
        )
        now = self._clock()
        with self._database.write() as session:
            ids = list(session.scalars(outdated))
            for id_ in ids:
                request = JobRequest(
                    JobKind.INDEX,
                    requested_by,
                    "parsers or chunker changed",
                    document_id=DocumentId(id_),
                    priority=_PRIORITY,
                )
                jobs.accept(session, request, now)
        return len(ids)

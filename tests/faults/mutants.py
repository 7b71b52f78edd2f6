"""Seeded defects. Each takes away one thing that the desk's promises rest on; the fault suite has to notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from ingest.adapters.sql_store import SqlDocumentStore
from ingest.ports import Reach
from retrieval.adapters.sql import jobs
from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.adapters.sql.models import ChunkRow, JobRow
from retrieval.corpus import ChunkId, DocumentId, JobId, document_id_for
from retrieval.jobs import FORCE, JobKind, Lease


def apply(name: str, reach: Reach) -> None:
    """Put a defect into this process; an empty name puts none."""
    if name:
        MUTANTS[name](reach)


def _ack_early(_reach: Reach) -> None:
    """A job counts as done when it is taken, as a message does that is acknowledged before the work."""
    claim = SqlJobs.claim

    def claimed(self: SqlJobs, job_id: JobId, *, lease_s: float) -> Lease | None:
        lease = claim(self, job_id, lease_s=lease_s)
        if lease is not None:
            with self._database.write() as session:
                row = session.get_one(JobRow, job_id)
                row.finished_at, row.lease_until = self._clock(), None
                row.active_key = None
        return lease

    SqlJobs.claim = claimed  # type: ignore[method-assign]  # the defect


def _no_outbox(reach: Reach) -> None:
    """Documents are committed first, their jobs and messages after that."""
    accept, register = jobs.accept, SqlDocumentStore.register

    def registered(self: SqlDocumentStore, source: Any, listed: Any, **why: Any) -> list[DocumentId]:
        jobs.accept = lambda *_: None  # type: ignore[assignment]  # the defect
        try:
            ids = register(self, source, listed, **why)
        finally:
            jobs.accept = accept
        reach("register")
        with self._database.write() as session:
            for item in listed:
                request = jobs.JobRequest(
                    JobKind.INDEX,
                    why["run"].requested_by,
                    why["reason"],
                    document_id=document_id_for(source.id, item.external_id),
                    parameters={FORCE: False},
                )
                accept(session, request, self._clock())
        return ids

    SqlDocumentStore.register = registered  # type: ignore[method-assign]  # the defect


def _no_tombstone(_reach: Reach) -> None:
    """A deletion takes the points away and leaves the document as it is."""

    def bury(self: SqlDocumentStore, document_ids: Sequence[DocumentId]) -> list[ChunkId]:
        with self._database.read() as session:
            rows = session.query(ChunkRow.id).where(ChunkRow.document_id.in_(document_ids))
            return [ChunkId(id_) for (id_,) in rows]

    SqlDocumentStore.bury = bury  # type: ignore[method-assign]  # the defect


def _no_fencing(_reach: Reach) -> None:
    """Whoever once had the job may write."""

    def held_row(session: Session, lease: Lease) -> JobRow | None:
        return session.get(JobRow, lease.job.id, with_for_update=True)

    jobs.held_row = held_row


MUTANTS: dict[str, Callable[[Reach], None]] = {
    "ack_early": _ack_early,
    "no_outbox": _no_outbox,
    "no_tombstone": _no_tombstone,
    "no_fencing": _no_fencing,
}

"""Documents found inside documents: what happens to one happens to those inside it, in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from retrieval.adapters.sql import jobs
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.models import DocumentRow, JobRow, VersionRow
from retrieval.adapters.sql.rows import batches
from retrieval.corpus import DocumentId, DocumentState
from retrieval.jobs import JobKind, JobState


def descendant_ids(session: Session, document_ids: Sequence[str]) -> list[str]:
    """Ids of all living documents found inside these, at any depth; those themselves left out."""
    found: list[str] = []
    level: Sequence[str] = document_ids
    while level:
        below: list[str] = []
        for batch in batches(level, 500):
            query = select(DocumentRow.id).where(
                DocumentRow.parent_id.in_(batch), DocumentRow.deleted_at.is_(None)
            )
            below += session.scalars(query)
        found += below
        level = below
    return found


def bury(session: Session, document_ids: Sequence[str], now: datetime, *, requested_by: str) -> list[str]:
    """Give documents and all found inside them a tombstone, and cancel their jobs.

    Each gets a job that clears away what is kept of it: whoever does the removal may die before it is done.

    Returns:
        Ids of all that were buried.
    """
    inside = descendant_ids(session, document_ids)
    everything = list(dict.fromkeys([*document_ids, *inside]))
    for batch in batches(everything, 500):
        session.execute(
            update(DocumentRow)
            .where(DocumentRow.id.in_(batch))
            .values(state=DocumentState.DELETED, deleted_at=now, updated_at=now, live_version_id=None)
        )
        session.execute(
            update(VersionRow)
            .where(VersionRow.document_id.in_(batch), VersionRow.replaced_at.is_(None))
            .values(replaced_at=now)
        )
        session.execute(
            update(JobRow)
            .where(JobRow.document_id.in_(batch), JobRow.finished_at.is_(None))
            .values(state=JobState.CANCELLED, active_key=None, lease_token="", finished_at=now)
        )
        for document_id in batch:
            request = JobRequest(
                JobKind.INDEX, requested_by, "deleted", document_id=DocumentId(document_id), priority=4
            )
            jobs.accept(session, request, now)
    return everything


def pass_on_details(session: Session, row: DocumentRow) -> None:
    """Give the documents found inside the link, successor and date that their outermost document has now."""
    for batch in batches(descendant_ids(session, [row.id]), 500):
        session.execute(
            update(DocumentRow)
            .where(DocumentRow.id.in_(batch))
            .values(url=row.url, superseded_by=row.superseded_by, modified_at=row.modified_at)
        )

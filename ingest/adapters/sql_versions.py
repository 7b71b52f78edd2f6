"""Versions of documents in the catalogue's tables: who may write them, under which id, from what."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ingest.ports import StagedVersion
from retrieval.adapters.sql import jobs
from retrieval.adapters.sql.models import DocumentRow, VersionRow
from retrieval.corpus import DocumentId, VersionId, version_id_for
from retrieval.errors import LeaseLostError
from retrieval.jobs import Lease


def held_document(session: Session, lease: Lease) -> DocumentRow:
    """The lease's document and job, locked in this order until the transaction ends.

    Raises:
        LeaseLostError: The job belongs to another worker, or was cancelled, or the document is deleted.
    """
    document = session.get_one(DocumentRow, lease.job.document_id, with_for_update=True)
    if document.deleted_at is not None or jobs.held_row(session, lease) is None:
        raise LeaseLostError(f"job {lease.job.id} is not this worker's any more")
    return document


def reading_id(session: Session, lease: Lease, content_hash: str, recipe: str) -> VersionId:
    """See `DocumentStore.reading_id`."""
    document = session.get_one(DocumentRow, lease.job.document_id)
    live = None if document.live_version_id is None else session.get(VersionRow, document.live_version_id)
    if live is not None and (live.content_hash, live.recipe) == (content_hash, recipe):
        return VersionId(live.id)
    for turn in itertools.count():
        reading = f"{lease.job.id}/{turn}"
        version_id = version_id_for(DocumentId(document.id), content_hash, recipe, reading)
        row = session.get(VersionRow, version_id)
        if row is None or row.replaced_at is None:
            break
    return version_id


def new_version(session: Session, version: StagedVersion, now: datetime) -> VersionRow:
    """The row of a version that nobody sees yet, numbered after the newest."""
    newest = select(func.max(VersionRow.number)).where(VersionRow.document_id == version.document_id)
    document = version.document
    return VersionRow(
        id=version.version_id,
        document_id=version.document_id,
        number=(session.scalar(newest) or 0) + 1,
        content_hash=version.content_hash,
        recipe=version.recipe,
        title=document.title,
        media_type=document.media_type,
        language=document.language,
        facts={
            "warnings": list(document.warnings),
            "metadata": document.metadata,
            "labels": list(document.labels),
        },
        size_bytes=version.size_bytes,
        n_chunks=len(version.chunks),
        reason=version.reason,
        requested_by=version.requested_by,
        created_at=now,
    )


def new_chunks(version: StagedVersion) -> list[dict[str, Any]]:
    """The rows of its chunks, for one statement that inserts them all."""
    return [
        {
            "id": chunk.chunk_id,
            "document_id": version.document_id,
            "version_id": version.version_id,
            "position": chunk.draft.position,
            "start": chunk.draft.start,
            "end": chunk.draft.end,
            "page": chunk.draft.page,
            "heading_path": list(chunk.draft.heading_path),
            "section_paths": [list(path) for path in chunk.draft.section_paths] or None,
            "context": chunk.draft.context,
            "text": chunk.draft.text,
            "n_tokens": chunk.draft.n_tokens,
            "n_terms": chunk.n_terms,
        }
        for chunk in version.chunks
    ]

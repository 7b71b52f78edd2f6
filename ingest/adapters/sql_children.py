"""The documents found inside a document, written in the transaction that makes its new version live."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ingest.ports import FoundDocument, Lineage
from retrieval.adapters.sql import families, jobs
from retrieval.adapters.sql.acls import bound_inside, inherited_acl, state_acl
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.labels import pass_on_labels
from retrieval.adapters.sql.models import DocumentRow
from retrieval.adapters.sql.rows import batches
from retrieval.corpus import DocumentId, DocumentState, SourceId, document_id_for
from retrieval.jobs import FORCE, Job, JobKind


def take_in(
    session: Session, parent: DocumentRow, found: Sequence[FoundDocument], job: Job, now: datetime
) -> list[str]:
    """Make the catalogue hold exactly these documents inside `parent`; see `DocumentStore.publish`.

    Returns:
        Ids of documents that were buried because they are inside no more.
    """
    acl = bound_inside(session, parent)
    present = select(DocumentRow.id).where(
        DocumentRow.parent_id == parent.id, DocumentRow.deleted_at.is_(None)
    )
    gone = set(session.scalars(present))
    for one in found:
        row = _row_for(session, parent, one, now)
        gone.discard(row.id)
        is_settled = _is_settled(row, parent, one, is_forced=bool(job.parameters.get(FORCE)))
        row.title = row.source_title = one.title
        row.url, row.tags, row.superseded_by = parent.url, list(parent.tags), parent.superseded_by
        row.modified_at = parent.modified_at
        if row.deleted_at is not None:
            row.acl_origin, row.deleted_at, row.section_rules = "source", None, None
        pass_on_labels(session, parent.id, row.id)
        is_newer = not is_settled or row.state != DocumentState.LIVE
        state_acl(session, row, inherited_acl(session, row, acl), newer_text=is_newer)
        if not is_settled:
            _requeue(session, row, one, job, now)
    return families.bury(session, sorted(gone), now, requested_by=job.requested_by) if gone else []


def lineage_of(session: Session, document_id: DocumentId) -> Lineage:
    """See `DocumentStore.lineage`."""
    depth, outermost = 0, session.get_one(DocumentRow, document_id)
    while outermost.parent_id is not None:
        depth, outermost = depth + 1, session.get_one(DocumentRow, outermost.parent_id)
    own = set(families.descendant_ids(session, [document_id]))
    relatives = [id_ for id_ in families.descendant_ids(session, [outermost.id]) if id_ not in own]
    n_bytes = 0
    for batch in batches(relatives, 500):
        query = select(func.sum(DocumentRow.size_bytes)).where(DocumentRow.id.in_(batch))
        n_bytes += int(session.scalar(query) or 0)
    return Lineage(depth, len(relatives), n_bytes)


def _row_for(session: Session, parent: DocumentRow, one: FoundDocument, now: datetime) -> DocumentRow:
    """The document's row. An external id that the source itself lists is not taken from it."""
    source_id = SourceId(parent.source_id)
    external_id = one.external_id
    row = session.get(DocumentRow, document_id_for(source_id, external_id))
    while row is not None and row.parent_id != parent.id:
        external_id += "'"
        row = session.get(DocumentRow, document_id_for(source_id, external_id))
    if row is None:
        row = DocumentRow(
            id=document_id_for(source_id, external_id),
            source_id=parent.source_id,
            external_id=external_id,
            parent_id=parent.id,
            title=one.title,
            source_title=one.title,
            url=parent.url,
            tags=[],
            owner="",
            state=DocumentState.QUEUED,
            warnings=[],
            fingerprint="",
            modified_at=parent.modified_at,
            created_at=now,
            updated_at=now,
        )
        session.add(row)
        session.flush()
    return row


def _is_settled(row: DocumentRow, parent: DocumentRow, one: FoundDocument, *, is_forced: bool) -> bool:
    """Whether the document is as it was: the same bytes, title and tags, and nothing to be tried again."""
    same = (row.fingerprint, row.source_title, list(row.tags)) == (
        one.fingerprint,
        one.title,
        list(parent.tags),
    )
    has_failed = row.state in (DocumentState.FAILED, DocumentState.QUARANTINED)
    return same and row.deleted_at is None and not (is_forced and has_failed)


def _requeue(session: Session, row: DocumentRow, one: FoundDocument, job: Job, now: datetime) -> None:
    """A job for the document, or the reason why it cannot be read."""
    is_same_content = row.fingerprint == one.fingerprint
    row.fingerprint, row.size_bytes, row.updated_at, row.attempts = one.fingerprint, one.size_bytes, now, 0
    if one.error is not None:
        row.state, row.retryable = DocumentState.FAILED, one.error.retryable
        row.error_code, row.error_message = one.error.code, one.error.message
        return
    row.state, row.error_code, row.error_message, row.retryable = DocumentState.QUEUED, "", "", False
    request = JobRequest(
        JobKind.INDEX,
        job.requested_by,
        "found inside",
        document_id=DocumentId(row.id),
        parameters={FORCE: is_same_content},
    )
    jobs.accept(session, request, now)

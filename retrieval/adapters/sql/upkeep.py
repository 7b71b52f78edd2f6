"""What people change about documents: push, delete, re-index, access list.

Every method is one transaction that holds the change, the job for it and the job's outbox message: what was
accepted is committed. `SqlUpkeep` checks no permission; `serving.documents` decides who may ask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from retrieval.access import Acl, narrowed
from retrieval.adapters.sql import families, jobs
from retrieval.adapters.sql.acls import bound_inside, set_sections, state_acl, state_sections, write_acl
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import Clock, JobRequest
from retrieval.adapters.sql.labels import labelled_of, write_labels
from retrieval.adapters.sql.models import DocumentRow, JobRow
from retrieval.adapters.sql.rows import to_job
from retrieval.corpus import DocumentId, DocumentState, JobId, Source, document_id_for
from retrieval.errors import ConflictError, NotFoundError
from retrieval.jobs import ACCESS_ONLY, FORCE, Job, JobKind, JobState
from retrieval.labels import Label, Labelled, LabelOrigin
from retrieval.sections import SectionRule

CANCELLED = "cancelled"
"""Error code of a document whose first indexing was cancelled."""


@dataclass(frozen=True, slots=True)
class PushedDocument:
    """What a client states about a document that it sends.

    Attributes:
        fingerprint: Changes with the content.
        acl: Who may read it; None keeps the present list, and is the source's default for a new document.
        sections: Who may read parts of it; None keeps the present rules, and there are none for a new document.
        labels: What the source states of it; None keeps what it stated before.
    """

    source: Source
    external_id: str
    title: str
    url: str
    tags: tuple[str, ...]
    fingerprint: str
    size_bytes: int
    modified_at: datetime
    superseded_by: str
    acl: Acl | None
    sections: tuple[SectionRule, ...] | None = None
    labels: tuple[Label, ...] | None = None


class SqlUpkeep:
    """Changes that people make to documents, in SQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Write to this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def push(self, pushed: PushedDocument, *, requested_by: str, store_content: Callable[[], None]) -> Job:
        """Register a pushed document for indexing.

        A list that a person set by hand (`set_acl`) stays. The version before stays readable meanwhile.

        Args:
            pushed: What the client states.
            requested_by: User id for the record.
            store_content: Stores the bytes; called last, so that nothing is stored for a refused row.
        """
        now = self._clock()
        document_id = document_id_for(pushed.source.id, pushed.external_id)
        with self._database.write() as session:
            row = session.get(DocumentRow, document_id, with_for_update=True)
            is_new = row is None
            if row is None:
                row = _new_document(document_id, pushed, now)
                session.add(row)
                session.flush()
            same_content = row.fingerprint == pushed.fingerprint
            _take_over(session, row, pushed, now, is_new=is_new)
            _requeue(row, now)
            reason = "pushed" if is_new else "pushed again"
            job = _accept(session, document_id, requested_by, reason, {FORCE: same_content}, now)
            session.flush()
            store_content()
            return to_job(job)

    def reindex(self, document_id: DocumentId, *, requested_by: str) -> Job:
        """Queue a document for reading it anew; asked again before that is done, the same job comes back."""
        now = self._clock()
        with self._database.write() as session:
            row = _living(session, document_id)
            active = _active_job(session, document_id)
            if active is None or active.parameters.get(ACCESS_ONLY):
                active = requeue_document(session, row, requested_by=requested_by, now=now)
            return to_job(active)

    def set_acl(
        self,
        document_id: DocumentId,
        acl: Acl,
        *,
        requested_by: str,
        sections: Sequence[SectionRule] | None = None,
    ) -> Job:
        """Set a document's access list by hand. It counts from this commit on; the job tells the index.

        Args:
            document_id: Which.
            acl: Who may read it.
            requested_by: User id for the record.
            sections: Who may read parts of it; None leaves the present rules.

        Raises:
            ConflictError: The document was found inside another one, which not all of these may read.
        """
        now = self._clock()
        with self._database.write() as session:
            row = _living(session, document_id)
            acl = _bounded(session, row, acl)
            row.acl_origin, row.updated_at = "manual", now
            write_acl(session, row, acl)
            if sections is not None:
                set_sections(session, row, sections)
            active = _active_job(session, document_id)
            if active is None:
                active = _accept(session, document_id, requested_by, "access list", {ACCESS_ONLY: True}, now)
            elif active.state == JobState.RUNNING and active.parameters.get(ACCESS_ONLY):
                active.parameters = {**active.parameters, "again": True}
            return to_job(active)

    def set_labels(self, document_id: DocumentId, labels: Collection[Label]) -> tuple[Labelled, ...]:
        """Make these the labels that people set on a document; those of other origins stay.

        They count from this commit on. Returns all that count now.

        Raises:
            NotFoundError: There is no such document, or it is deleted.
        """
        with self._database.write() as session:
            row = _living(session, document_id)
            if write_labels(session, row.id, LabelOrigin.OWNER, labels):
                row.updated_at = self._clock()
            return labelled_of(session, {row.id: row.source_id})[row.id]

    def bury(self, document_id: DocumentId, *, requested_by: str) -> Job:
        """Delete a document: unreadable from this commit on; the job takes it out of the index."""
        now = self._clock()
        with self._database.write() as session:
            row = _living(session, document_id)
            families.bury(session, [row.id], now, requested_by=requested_by)
            return to_job(_accept(session, document_id, requested_by, "deleted", {}, now))

    def settle_cancelled(self, job_id: JobId) -> None:
        """Give the document of a cancelled job a state that is true: live as before, or failed."""
        with self._database.write() as session:
            job = session.get_one(JobRow, job_id)
            row = (
                None
                if job.document_id is None
                else session.get(DocumentRow, job.document_id, with_for_update=True)
            )
            if row is None or row.deleted_at is not None or DocumentState(row.state).is_terminal:
                return
            row.updated_at = self._clock()
            if row.live_version_id is not None:
                row.state = DocumentState.LIVE
                return
            row.state, row.retryable = DocumentState.FAILED, True
            row.error_code, row.error_message = CANCELLED, "indexing was cancelled before it was done"


def requeue_document(
    session: Session, row: DocumentRow, *, requested_by: str, now: datetime, run_id: JobId | None = None
) -> JobRow:
    """Queue a document for reading it anew, in a transaction of the caller's."""
    _requeue(row, now)
    job = _accept(session, DocumentId(row.id), requested_by, "re-index", {FORCE: True}, now)
    job.run_id = run_id or job.run_id
    return job


def _bounded(session: Session, row: DocumentRow, acl: Acl) -> Acl:
    """The list for a document found inside another one: whoever may not read that one is shut out here, too."""
    if row.parent_id is None:
        return acl
    parent = session.get_one(DocumentRow, row.parent_id)
    fitting = narrowed(acl, bound_inside(session, parent))
    if (fitting.owner, fitting.allow) != (acl.owner, acl.allow):
        raise ConflictError("a document found inside another one cannot be shared with more people than that")
    return fitting


def _living(session: Session, document_id: DocumentId) -> DocumentRow:
    row = session.get(DocumentRow, document_id, with_for_update=True)
    if row is None or row.deleted_at is not None:
        raise NotFoundError(f"no document {document_id}")
    return row


def _active_job(session: Session, document_id: DocumentId) -> JobRow | None:
    request = JobRequest(JobKind.INDEX, "", "", document_id=document_id)
    return jobs.active(session, request)


def _accept(
    session: Session,
    document_id: DocumentId,
    requested_by: str,
    reason: str,
    parameters: Mapping[str, Any],
    now: datetime,
) -> JobRow:
    """The document's job for this; one that waits or runs for less is widened to it."""
    request = JobRequest(
        JobKind.INDEX, requested_by, reason, document_id=document_id, parameters=parameters, priority=3
    )
    row = jobs.accept(session, request, now)
    widened = {key: value for key, value in row.parameters.items() if key != ACCESS_ONLY}
    row.parameters = {**widened, **parameters}
    return row


def _requeue(row: DocumentRow, now: datetime) -> None:
    row.state, row.deleted_at, row.attempts = DocumentState.QUEUED, None, 0
    row.error_code, row.error_message, row.retryable = "", "", False
    row.updated_at = now


def _new_document(document_id: DocumentId, pushed: PushedDocument, now: datetime) -> DocumentRow:
    return DocumentRow(
        id=document_id,
        source_id=pushed.source.id,
        external_id=pushed.external_id,
        title=pushed.title or pushed.external_id,
        source_title=pushed.title,
        url=pushed.url,
        tags=[],
        owner="",
        state=DocumentState.QUEUED,
        warnings=[],
        fingerprint="",
        modified_at=pushed.modified_at,
        created_at=now,
        updated_at=now,
    )


def _take_over(
    session: Session, row: DocumentRow, pushed: PushedDocument, now: datetime, *, is_new: bool
) -> None:
    """Copy what the client states onto the document. A deleted one that comes back counts as new."""
    is_new = is_new or row.deleted_at is not None
    row.source_title, row.url, row.tags, row.parent_id = pushed.title, pushed.url, list(pushed.tags), None
    if pushed.title:
        row.title = pushed.title
    row.superseded_by, row.modified_at, row.updated_at = pushed.superseded_by, pushed.modified_at, now
    row.fingerprint, row.size_bytes = pushed.fingerprint, pushed.size_bytes
    families.pass_on_details(session, row)
    if pushed.labels is not None:
        write_labels(session, row.id, LabelOrigin.SOURCE, pushed.labels)
    if is_new:
        row.acl_origin, row.section_rules = "source", None
    if row.acl_origin == "manual":
        return
    acl = pushed.acl or (pushed.source.default_acl if is_new else None)
    if acl is not None:
        state_acl(session, row, acl, newer_text=True)
    if pushed.sections is not None:
        state_sections(session, row, pushed.sections)

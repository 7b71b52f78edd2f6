"""What becomes of a job whose worker died: queued once more, set apart, or given up with its document."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from retrieval.adapters.sql.models import DocumentRow, JobRow, OutboxRow
from retrieval.corpus import DocumentState
from retrieval.errors import WorkerLostError
from retrieval.jobs import MAX_DEATHS, TASK_NAMES, JobKind, JobState

_SUSPECT_DEATHS = 2
_SUSPECTS_APART_S = 10.0
"""Documents that two workers died of are tried one after the other, so that the guilty one stands alone."""


def give_back(session: Session, row: JobRow, now: datetime, n_suspects: int) -> bool:
    """Queue a job once more, or give it up. Returns whether it waits for its turn as a suspect."""
    if row.state == JobState.RUNNING:
        row.attempt = max(row.attempt - 1, 0)  # the worker's end is no attempt of the document's
        document = (
            None
            if row.document_id is None
            else session.get(DocumentRow, row.document_id, with_for_update={"skip_locked": True})
        )
        if document is not None and DocumentState(document.state).is_reading:
            row.deaths += 1
        if document is not None and row.deaths >= MAX_DEATHS:
            _quarantine(row, document, now)
            return False
        if document is not None and not DocumentState(document.state).is_terminal:
            document.state = DocumentState.QUEUED
        row.state, row.lease_token, row.lease_until = JobState.QUEUED, "", None
        if row.deaths >= _SUSPECT_DEATHS:
            row.not_before = now + timedelta(seconds=_SUSPECTS_APART_S * n_suspects)
            return True
    row.not_before = None
    session.add(message_for(row, now))
    return False


def _quarantine(row: JobRow, document: DocumentRow, now: datetime) -> None:
    error = WorkerLostError(f"{row.deaths} workers died while they read this document")
    row.error_code, row.error_message = error.code, error.message
    close(row, JobState.FAILED, now)
    document.state, document.retryable, document.attempts = DocumentState.QUARANTINED, True, row.deaths
    document.error_code, document.error_message, document.updated_at = error.code, error.message, now


def close(row: JobRow, state: JobState, now: datetime) -> None:
    """End a job; the same can be asked for anew."""
    row.state, row.active_key, row.lease_token, row.lease_until = state, None, "", None
    row.finished_at = now


def message_for(row: JobRow, now: datetime) -> OutboxRow:
    """The message that wakes a worker for a job."""
    return OutboxRow(task=TASK_NAMES[JobKind(row.kind)], job_id=row.id, created_at=now)

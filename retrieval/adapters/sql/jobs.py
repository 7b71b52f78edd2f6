"""The job board: accepted work, its leases, and the outbox that wakes the workers."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.models import JobRow, OutboxRow
from retrieval.adapters.sql.pauses import any_paused, is_held
from retrieval.adapters.sql.rows import batches, to_job
from retrieval.corpus import DocumentId, JobId, SourceId
from retrieval.errors import NotFoundError
from retrieval.jobs import (
    ACCESS_ONLY,
    DRY_RUN,
    PATHS,
    TASK_NAMES,
    Job,
    JobKind,
    JobState,
    Lease,
    RunDocuments,
)

Clock = Callable[[], datetime]

_ACTIVE = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Work to accept. While a job for the same thing is not finished, asking again gives that job."""

    kind: JobKind
    requested_by: str
    reason: str
    document_id: DocumentId | None = None
    source_id: SourceId | None = None
    parameters: Mapping[str, Any] | None = None
    priority: int = 5
    run_id: JobId | None = None

    @property
    def active_key(self) -> str:
        """What the job is about; unique among unfinished jobs."""
        return f"{self.kind}:{self.document_id or self.source_id}"


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A task that has to be sent to the queue."""

    id: int
    task: str
    job_id: JobId


class SqlJobs:
    """Jobs in SQL. Every method is one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep jobs in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def accept(self, request: JobRequest) -> Job:
        """Commit a job and its outbox message, or return the unfinished job for the same thing."""
        with self._database.write() as session:
            return to_job(accept(session, request, self._clock()))

    def job(self, job_id: JobId) -> Job:
        """One job. Callers decide who may see it.

        Raises:
            NotFoundError: There is no such job.
        """
        with self._database.read() as session:
            row = session.get(JobRow, job_id)
        if row is None:
            raise NotFoundError(f"no job {job_id}")
        return to_job(row)

    def jobs_of(
        self, *, document_id: DocumentId | None = None, source_id: SourceId | None = None, limit: int = 20
    ) -> list[Job]:
        """Jobs of one document, or sync runs of one source, newest first."""
        query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id).limit(limit)
        if document_id is not None:
            query = query.where(JobRow.document_id == document_id)
        if source_id is not None:
            query = query.where(JobRow.source_id == source_id, JobRow.kind == JobKind.SYNC)
        with self._database.read() as session:
            return [to_job(row) for row in session.scalars(query)]

    def active_jobs_of(self, document_ids: Collection[DocumentId]) -> dict[DocumentId, Job]:
        """The unfinished job of each document that has one."""
        found: dict[DocumentId, Job] = {}
        with self._database.read() as session:
            for batch in batches(list(document_ids), 500):
                query = select(JobRow).where(JobRow.document_id.in_(batch), JobRow.active_key.is_not(None))
                found.update(
                    (DocumentId(str(row.document_id)), to_job(row)) for row in session.scalars(query)
                )
        return found

    def newest_runs_of(self, source_ids: Collection[SourceId]) -> dict[SourceId, Job]:
        """The newest sync of each source that was synced."""
        newest = (
            select(JobRow.source_id, func.max(JobRow.created_at).label("at"))
            .where(JobRow.kind == JobKind.SYNC, JobRow.source_id.in_(source_ids))
            .group_by(JobRow.source_id)
            .subquery()
        )
        query = select(JobRow).join(
            newest, (JobRow.source_id == newest.c.source_id) & (JobRow.created_at == newest.c.at)
        )
        with self._database.read() as session:
            runs = [to_job(row) for row in session.scalars(query.where(JobRow.kind == JobKind.SYNC))]
        return {run.source_id: run for run in runs if run.source_id is not None}

    def documents_of_runs(self, run_ids: Collection[JobId]) -> dict[JobId, RunDocuments]:
        """What became of the documents that each of these runs queued; a run without any is left out."""
        query = (
            select(JobRow.run_id, JobRow.state, func.count())
            .where(JobRow.run_id.in_(run_ids))
            .group_by(JobRow.run_id, JobRow.state)
        )
        counts: dict[JobId, dict[str, int]] = {}
        with self._database.read() as session:
            for run_id, state, count in session.execute(query):
                counts.setdefault(JobId(str(run_id)), {})[state] = count
        return {run_id: _run_documents(by_state) for run_id, by_state in counts.items()}

    def unfinished(self) -> int:
        """Number of jobs that are queued or running, without those that wait for a paused source."""
        query = select(func.count()).select_from(JobRow).where(JobRow.state.in_(_ACTIVE))
        with self._database.read() as session:
            if session.scalar(any_paused()):  # the condition looks at every job; most desks need it never
                query = query.where(~is_held())
            return session.scalar(query) or 0

    def claim(self, job_id: JobId, *, lease_s: float) -> Lease | None:
        """Take a queued job for `lease_s` seconds; None when it is taken, finished, paused or not due yet."""
        now, token = self._clock(), secrets.token_hex(16)
        due = or_(JobRow.not_before.is_(None), JobRow.not_before <= now)
        with self._database.write() as session:
            taken = session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.state == JobState.QUEUED, due, ~is_held())
                .values(
                    state=JobState.RUNNING,
                    attempt=JobRow.attempt + 1,
                    lease_token=token,
                    lease_until=now + timedelta(seconds=lease_s),
                    started_at=func.coalesce(JobRow.started_at, now),
                    error_code="",
                    error_message="",
                )
                .returning(JobRow.id)
            ).scalar()
            if taken is None:
                return None
            return Lease(to_job(session.get_one(JobRow, job_id)), token)

    def renew(self, lease: Lease, *, lease_s: float, done: int = 0, total: int = 0) -> bool:
        """Push the lease's end away and note progress; False when the job was lost or cancelled."""
        values: dict[str, Any] = {"lease_until": self._clock() + timedelta(seconds=lease_s)}
        if total:
            values |= {"done": done, "total": total}
        with self._database.write() as session:
            held = session.execute(
                update(JobRow).where(*_held(lease)).values(**values).returning(JobRow.id)
            ).scalar()
        return held is not None

    def finish(self, lease: Lease, *, report: Mapping[str, Any] | None = None) -> None:
        """Mark the job done. If it was asked for again meanwhile, it is queued once more."""
        with self._database.write() as session:
            finish(session, lease, self._clock(), report)

    def fail(self, lease: Lease, *, code: str, message: str, retry_in_s: float | None) -> None:
        """Note a failure: queued again after `retry_in_s` seconds, or failed for good when None."""
        now = self._clock()
        with self._database.write() as session:
            row = held_row(session, lease)
            if row is None:
                return
            row.error_code, row.error_message = code, message
            if retry_in_s is None:
                _close(row, JobState.FAILED, now)
                return
            row.state, row.lease_token, row.lease_until = JobState.QUEUED, "", None
            row.not_before = now + timedelta(seconds=retry_in_s)

    def cancel(self, job_id: JobId) -> Job:
        """Cancel an unfinished job; a finished one is returned as it is.

        Raises:
            NotFoundError: There is no such job.
        """
        with self._database.write() as session:
            row = session.get(JobRow, job_id)
            if row is None:
                raise NotFoundError(f"no job {job_id}")
            if not JobState(row.state).is_finished:
                _close(row, JobState.CANCELLED, self._clock())
            return to_job(row)

    def unsent(self, *, limit: int) -> list[OutboxMessage]:
        """Messages that the relay has to send, oldest first."""
        query = select(OutboxRow).order_by(OutboxRow.id).limit(limit)
        with self._database.read() as session:
            return [OutboxMessage(row.id, row.task, JobId(row.job_id)) for row in session.scalars(query)]

    def mark_sent(self, message_ids: Sequence[int]) -> None:
        """Drop messages that reached the queue."""
        with self._database.write() as session:
            session.execute(delete(OutboxRow).where(OutboxRow.id.in_(message_ids)))

    def requeue_lost(self, *, everything: bool = False) -> int:
        """Give back jobs whose lease ran out and wake those that are due again.

        Args:
            everything: Treat every running job as lost and every queued one as unsent: right when no
                worker can be alive, that is when an embedded desk starts.

        Returns:
            Number of jobs that were given back or woken.
        """
        now = self._clock()
        running, queued = JobRow.state == JobState.RUNNING, JobRow.state == JobState.QUEUED
        if everything:
            lost = or_(running, queued)
        else:
            lost = or_(running & (JobRow.lease_until < now), queued & (JobRow.not_before <= now))
        with self._database.write() as session:
            if everything:
                session.execute(delete(OutboxRow))
            ids = list(
                session.scalars(select(JobRow.id).where(lost).order_by(JobRow.priority, JobRow.created_at))
            )
            for batch in batches(ids, 500):
                session.execute(
                    update(JobRow)
                    .where(JobRow.id.in_(batch))
                    .values(state=JobState.QUEUED, lease_token="", lease_until=None, not_before=None)
                )
                rows = session.scalars(
                    select(JobRow).where(JobRow.id.in_(batch)).order_by(JobRow.priority, JobRow.created_at)
                )
                session.add_all([message_for(row, now) for row in rows])
        return len(ids)


def accept(session: Session, request: JobRequest, now: datetime) -> JobRow:
    """`SqlJobs.accept` within a transaction of the caller's, so that what needs the job commits with it."""
    row = session.scalar(select(JobRow).where(JobRow.active_key == request.active_key))
    if row is not None:
        row.parameters = _merged(row, request.parameters or {})
        row.run_id = request.run_id or row.run_id
        return row
    row = JobRow(
        id=str(uuid.uuid4()),
        kind=request.kind,
        document_id=request.document_id,
        source_id=request.source_id,
        run_id=request.run_id,
        state=JobState.QUEUED,
        active_key=request.active_key,
        priority=request.priority,
        parameters=dict(request.parameters or {}),
        report={},
        requested_by=request.requested_by,
        reason=request.reason,
        created_at=now,
    )
    session.add(row)
    session.flush()
    if request.kind in TASK_NAMES:
        session.add(message_for(row, now))
    return row


def held_row(session: Session, lease: Lease) -> JobRow | None:
    """The job's row while the lease holds, locked until the transaction ends; None when it was lost."""
    return session.scalar(select(JobRow).where(*_held(lease)).with_for_update())


def finish(session: Session, lease: Lease, now: datetime, report: Mapping[str, Any] | None = None) -> bool:
    """`SqlJobs.finish` within a transaction of the caller's; False when the lease was lost."""
    row = held_row(session, lease)
    if row is None:
        return False
    if row.parameters.get("again"):
        row.parameters = {key: value for key, value in row.parameters.items() if key != "again"}
        row.state, row.attempt, row.lease_token, row.lease_until = JobState.QUEUED, 0, "", None
        session.add(message_for(row, now))
        return True
    row.report = dict(report or {})
    _close(row, JobState.DONE, now)
    return True


def _merged(row: JobRow, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of an unfinished job that is asked for again; it never does less than was asked."""
    merged = {**row.parameters, **asked}
    for narrowing in (ACCESS_ONLY, DRY_RUN):
        if narrowing in merged:
            merged[narrowing] = bool(row.parameters.get(narrowing)) and bool(asked.get(narrowing))
    if PATHS in row.parameters and PATHS in asked:
        merged[PATHS] = sorted({*row.parameters[PATHS], *asked[PATHS]})
    elif row.kind == JobKind.SYNC:
        merged.pop(PATHS, None)
    return {**merged, "again": True} if row.state == JobState.RUNNING else merged


def _run_documents(by_state: Mapping[str, int]) -> RunDocuments:
    return RunDocuments(
        live=by_state.get(JobState.DONE, 0),
        failed=by_state.get(JobState.FAILED, 0),
        cancelled=by_state.get(JobState.CANCELLED, 0),
        unfinished=by_state.get(JobState.QUEUED, 0) + by_state.get(JobState.RUNNING, 0),
    )


def _held(lease: Lease) -> tuple[Any, ...]:
    return (
        JobRow.id == lease.job.id,
        JobRow.lease_token == lease.token,
        JobRow.state == JobState.RUNNING,
    )


def _close(row: JobRow, state: JobState, now: datetime) -> None:
    row.state, row.active_key, row.lease_token, row.lease_until = state, None, "", None
    row.finished_at = now


def message_for(row: JobRow, now: datetime) -> OutboxRow:
    """The outbox message that wakes a worker for a job."""
    return OutboxRow(task=TASK_NAMES[JobKind(row.kind)], job_id=row.id, created_at=now)

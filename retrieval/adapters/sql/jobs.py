"""The job board: accepted work, its leases, and the outbox that wakes the workers."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retrieval.adapters.sql import recovery
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.models import DocumentRow, JobRow, OutboxRow
from retrieval.adapters.sql.pauses import any_paused, is_held
from retrieval.adapters.sql.rows import batches, to_job
from retrieval.corpus import DocumentId, DocumentState, JobId, SourceId
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

USUAL_PRIORITY = 5
"""Of work that a schedule or a sync asks for; a smaller number comes first."""

_WOKEN_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Work to accept. While a job for the same thing is not finished, asking again gives that job."""

    kind: JobKind
    requested_by: str
    reason: str
    document_id: DocumentId | None = None
    source_id: SourceId | None = None
    parameters: Mapping[str, Any] | None = None
    priority: int = USUAL_PRIORITY
    run_id: JobId | None = None

    @property
    def active_key(self) -> str:
        """What the job is about; unique among unfinished jobs."""
        return f"{self.kind}:{self.document_id or self.source_id}"


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A task that has to be sent to the queue.

    Attributes:
        is_urgent: It must not wait behind everything else: somebody asked for it, or it was cut off once.
    """

    id: int
    task: str
    job_id: JobId
    is_urgent: bool = False


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

    def unfinished(self, *, at_most: int | None = None) -> int:
        """Number of jobs that are queued or running, without those that wait for a paused source.

        Args:
            at_most: Stop counting here, so that asking costs the same however long the queue is.
        """
        query = select(JobRow.id).where(JobRow.state.in_(_ACTIVE))
        with self._database.read() as session:
            if session.scalar(any_paused()):  # the condition looks at every job; most desks need it never
                query = query.where(~is_held())
            return session.scalar(select(func.count()).select_from(query.limit(at_most).subquery())) or 0

    def unfinished_of(self, kind: JobKind) -> list[Job]:
        """Jobs of a kind that are queued or running."""
        query = select(JobRow).where(JobRow.kind == kind, JobRow.state.in_(_ACTIVE))
        with self._database.read() as session:
            return [to_job(row) for row in session.scalars(query)]

    def claim(self, job_id: JobId, *, lease_s: float) -> Lease | None:
        """Take a queued job for `lease_s` seconds; None when it is taken, finished, paused or not due yet."""
        now, token = self._clock(), secrets.token_hex(16)
        due = or_(JobRow.not_before.is_(None), JobRow.not_before <= now)
        with self._database.write() as session:
            _begin_reading(session, job_id)  # first: whoever locks both takes the document before the job
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
                session.rollback()
                return None
            return Lease(to_job(session.get_one(JobRow, job_id, populate_existing=True)), token)

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

    def fail(
        self, lease: Lease, *, code: str, message: str, retry_in_s: float | None, counts: bool = True
    ) -> None:
        """Note a failure: queued again after `retry_in_s` seconds, or failed for good when None.

        Args:
            counts: Whether the attempt counts; false when a part of the desk was down.
        """
        now = self._clock()
        with self._database.write() as session:
            row = held_row(session, lease)
            if row is None:
                return
            row.error_code, row.error_message = code, message
            row.attempt -= not counts
            if retry_in_s is None:
                recovery.close(row, JobState.FAILED, now)
                return
            row.state, row.lease_token, row.lease_until, row.deaths = JobState.QUEUED, "", None, 0
            row.not_before = now + timedelta(seconds=retry_in_s)

    def note_waiting(self, job_id: JobId, *, code: str, message: str) -> None:
        """Say on a queued job why it is not taken."""
        with self._database.write() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.state == JobState.QUEUED)
                .values(error_code=code, error_message=message)
            )

    def cancel(self, job_id: JobId) -> Job:
        """Cancel an unfinished job; a finished one is returned as it is.

        Raises:
            NotFoundError: There is no such job.
        """
        with self._database.write() as session:
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is None:
                raise NotFoundError(f"no job {job_id}")
            if not JobState(row.state).is_finished:
                recovery.close(row, JobState.CANCELLED, self._clock())
            return to_job(row)

    def unsent(self, *, limit: int) -> list[OutboxMessage]:
        """Messages that the relay has to send, oldest first."""
        query = select(OutboxRow).order_by(OutboxRow.id).limit(limit)
        with self._database.read() as session:
            return [OutboxMessage(row.id, row.task, JobId(row.job_id)) for row in session.scalars(query)]

    def mark_sent(self, message_ids: Sequence[int]) -> None:
        """Drop messages that reached the queue."""
        with self._database.write() as session:
            _sent(session, message_ids, self._clock())

    @contextmanager
    def outgoing(self, *, limit: int) -> Iterator[list[OutboxMessage]]:
        """Messages for the block to send, urgent ones first; they are dropped when it ends without an error.

        Locked meanwhile, so that relays of several processes share the work. A process that dies after
        sending sends again: a task that was done does nothing.
        """
        query = (
            select(OutboxRow, JobRow.priority, JobRow.started_at)
            .join(JobRow, JobRow.id == OutboxRow.job_id)
            .order_by(JobRow.priority, OutboxRow.id)
            .limit(limit)
            .with_for_update(of=OutboxRow, skip_locked=True)
        )
        with self._database.write() as session:
            messages = [
                OutboxMessage(
                    row.id, row.task, JobId(row.job_id), priority < USUAL_PRIORITY or started is not None
                )
                for row, priority, started in session.execute(query)
            ]
            yield messages
            _sent(session, [message.id for message in messages], self._clock())

    def has_unsent(self) -> bool:
        """Whether the outbox holds anything; costs no lock."""
        with self._database.read() as session:
            return session.scalar(select(OutboxRow.id).limit(1)) is not None

    def requeue_lost(self, *, everything: bool = False) -> int:
        """Give back jobs whose lease ran out and wake those that are due again.

        A document that workers died of `MAX_DEATHS` times, while they read it, is quarantined.

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
        query = select(JobRow).where(lost).order_by(JobRow.priority, JobRow.created_at)
        with self._database.write() as session:
            if everything:
                session.execute(delete(OutboxRow))
            rows = list(session.scalars(query.with_for_update(skip_locked=True)))
            n_suspects = 0
            for row in rows:
                n_suspects += recovery.give_back(session, row, now, n_suspects)
        return len(rows)

    def wake_forgotten(self, *, silent_s: float) -> int:
        """Send again the messages of jobs that were sent, but not taken, for `silent_s` seconds.

        For a broker that lost its messages. Callers make sure that the queue is not merely long.

        Returns:
            Number of jobs woken, at most 500 of them at a time.
        """
        now = self._clock()
        waiting_since = func.coalesce(JobRow.woken_at, JobRow.created_at)
        query = (
            select(JobRow)
            .where(
                JobRow.state == JobState.QUEUED,
                JobRow.not_before.is_(None),
                ~is_held(),
                waiting_since < now - timedelta(seconds=silent_s),
                ~select(OutboxRow.id).where(OutboxRow.job_id == JobRow.id).exists(),
            )
            .order_by(JobRow.priority, JobRow.created_at)
            .limit(_WOKEN_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        with self._database.write() as session:
            rows = list(session.scalars(query))
            session.add_all([recovery.message_for(row, now) for row in rows])
        return len(rows)

    def now(self) -> datetime:
        """The time that leases are counted by."""
        return self._clock()

    def last_asked(self, kind: JobKind) -> datetime | None:
        """When work of this kind was last accepted, None if never."""
        with self._database.read() as session:
            return session.scalar(select(func.max(JobRow.created_at)).where(JobRow.kind == kind))


def accept(session: Session, request: JobRequest, now: datetime) -> JobRow:
    """`SqlJobs.accept` within a transaction of the caller's, so that what needs the job commits with it."""
    row = active(session, request)
    if row is None:
        added = _added(session, request, now)
        if added is not None:
            return added
        row = active(session, request)
        if row is None:  # accepted and finished by others between two statements: the next try is alone
            return accept(session, request, now)
    row.parameters = _merged(row, request.parameters or {})
    row.run_id = request.run_id or row.run_id
    return row


def active(session: Session, request: JobRequest) -> JobRow | None:
    """The unfinished job for the same thing, locked until the transaction ends; it cannot finish meanwhile."""
    return session.scalar(select(JobRow).where(JobRow.active_key == request.active_key).with_for_update())


def _added(session: Session, request: JobRequest, now: datetime) -> JobRow | None:
    """The new job with its message; None when another transaction has just accepted the same."""
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
    session.flush()  # what the caller has pending is not part of the attempt
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return None
    if request.kind in TASK_NAMES:
        session.add(recovery.message_for(row, now))
    return row


def _begin_reading(session: Session, job_id: JobId) -> None:
    """Set the document of a queued job to `fetching`, unless the job reads none: of a deletion, or a new list."""
    job = session.get(JobRow, job_id)
    if (
        job is None
        or job.document_id is None
        or job.state != JobState.QUEUED
        or job.parameters.get(ACCESS_ONLY)
    ):
        return
    session.execute(
        update(DocumentRow)
        .where(DocumentRow.id == job.document_id, DocumentRow.deleted_at.is_(None))
        .values(state=DocumentState.FETCHING)
    )


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
        row.deaths = 0
        session.add(recovery.message_for(row, now))
        return True
    row.report = dict(report or {})
    recovery.close(row, JobState.DONE, now)
    return True


def _sent(session: Session, message_ids: Sequence[int], now: datetime) -> None:
    of_messages = select(OutboxRow.job_id).where(OutboxRow.id.in_(message_ids))
    session.execute(update(JobRow).where(JobRow.id.in_(of_messages)).values(woken_at=now))
    session.execute(delete(OutboxRow).where(OutboxRow.id.in_(message_ids)))


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

"""Configured sources in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql import jobs, permission_age, recovery
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import Clock, JobRequest
from retrieval.adapters.sql.labels import write_source_labels
from retrieval.adapters.sql.models import DocumentRow, JobRow, SourceRow, VersionRow
from retrieval.adapters.sql.pauses import source_of_job
from retrieval.adapters.sql.rows import to_job, to_source
from retrieval.corpus import SOURCE_KINDS, DocumentId, DocumentState, Source, SourceId
from retrieval.errors import ConflictError, NotFoundError
from retrieval.jobs import ACCESS_ONLY, Job, JobKind, JobState
from retrieval.labels import Label


@dataclass(frozen=True, slots=True)
class SourceChange:
    """What changes about a source; None leaves a field as it is.

    Attributes:
        sync_every_s: Seconds between scheduled syncs, 0 for no schedule.
        freshness_s: Age in seconds that its owner accepts, 0 for any.
        paused: Whether syncing and indexing are held.
        acl_every_s: Seconds between scheduled refreshes of the permission data alone, 0 for none.
        acl_max_age_s: Age of the permission data over which its documents are shown to nobody, 0 for any.
        labels: Labels that each of its documents has; they count from the next request on.
    """

    name: str | None = None
    options: Mapping[str, Any] | None = None
    sync_every_s: int | None = None
    freshness_s: int | None = None
    paused: bool | None = None
    acl_every_s: int | None = None
    acl_max_age_s: int | None = None
    labels: tuple[Label, ...] | None = None


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
        options: Mapping[str, Any] | None = None,
        labels: Collection[Label] = (),
    ) -> Source:
        """Add a source. Its lists apply to documents for which the source itself states none, its labels to all.

        The id of a source that was removed can be used again; its documents come back when it lists them.
        Its kind says how often its permission data are refreshed and how old they may be, until somebody
        changes that.

        Raises:
            ConflictError: A source of this id or name exists.
        """
        with self._database.write() as session:
            row = session.get(SourceRow, source_id)
            if _is_taken(session, name, apart_from=source_id) or (row is not None and row.removed_at is None):
                raise ConflictError(f"a source named {name!r} exists already")
            if row is None:
                row = SourceRow(id=source_id)
                session.add(row)
            row.name, row.kind, row.location, row.owner = name, kind, location, owner
            row.allow, row.deny, row.options = sorted(allow), sorted(deny), dict(options or {})
            row.created_at, row.removed_at = self._clock(), None
            if kind in SOURCE_KINDS:
                row.acl_every_s = SOURCE_KINDS[kind].acl_every_s
                row.acl_max_age_s = SOURCE_KINDS[kind].acl_max_age_s
            row.acl_confirmed_at, row.acl_error_code = None, ""
            row.next_acl_at = _first(row.acl_every_s, row.created_at, row.created_at)
            permission_age.settle(row)
            session.flush()
            _label(session, row, labels)
            return to_source(row)

    def change(self, source_id: SourceId, change: SourceChange) -> Source:
        """Change a source. Going on after a pause wakes the jobs that waited.

        Raises:
            NotFoundError: There is no such source.
            ConflictError: Another source has the name.
        """
        now = self._clock()
        with self._database.write() as session:
            row = _present(session, source_id)
            if change.name is not None:
                if _is_taken(session, change.name, apart_from=source_id):
                    raise ConflictError(f"a source named {change.name!r} exists already")
                row.name = change.name
            if change.options is not None:
                row.options = dict(change.options)
            if change.freshness_s is not None:
                row.freshness_s = change.freshness_s or None
            if change.sync_every_s is not None:
                row.sync_every_s = change.sync_every_s or None
                row.next_sync_at = _first(row.sync_every_s, row.synced_at, now)
            if change.acl_every_s is not None:
                row.acl_every_s = change.acl_every_s or None
                row.next_acl_at = _first(row.acl_every_s, row.acl_confirmed_at, now)
            if change.acl_max_age_s is not None:
                row.acl_max_age_s = change.acl_max_age_s or None
                permission_age.settle(row)
            if change.paused is not None and change.paused is not (row.paused_at is not None):
                row.paused_at = now if change.paused else None
                if not change.paused:
                    _wake(session, source_id, now)
            session.flush()
            if change.labels is not None:
                _label(session, row, change.labels)
            return to_source(row)

    def remove(self, source_id: SourceId, *, requested_by: str) -> tuple[Job, list[DocumentId]]:
        """Remove a source: its documents are unreadable from this commit on; the job tidies the index.

        Returns:
            The job, and the documents that were buried.

        Raises:
            NotFoundError: There is no such source.
        """
        now = self._clock()
        with self._database.write() as session:
            row = _present(session, source_id)
            living = select(DocumentRow.id).where(
                DocumentRow.source_id == source_id, DocumentRow.deleted_at.is_(None)
            )
            buried = [DocumentId(id_) for id_ in session.scalars(living)]
            session.execute(
                update(VersionRow)
                .where(VersionRow.document_id.in_(living), VersionRow.replaced_at.is_(None))
                .values(replaced_at=now)
            )
            session.execute(
                update(JobRow)
                .where(source_of_job() == source_id, JobRow.finished_at.is_(None))
                .values(state=JobState.CANCELLED, active_key=None, lease_token="", finished_at=now)
            )
            session.execute(
                update(DocumentRow)
                .where(DocumentRow.source_id == source_id, DocumentRow.deleted_at.is_(None))
                .values(state=DocumentState.DELETED, deleted_at=now, updated_at=now, live_version_id=None)
            )
            row.removed_at, row.paused_at, row.sync_every_s, row.next_sync_at = now, None, None, None
            row.acl_every_s, row.next_acl_at, row.acl_max_age_s = None, None, None
            permission_age.settle(row)
            row.name = f"{row.name[:150]} (removed {now:%Y-%m-%d %H:%M:%S.%f})"  # the name is free again
            request = JobRequest(JobKind.SYNC, requested_by, "removed", source_id=source_id)
            return to_job(jobs.accept(session, request, now)), buried

    def scheduled(self) -> list[Source]:
        """Sources with a schedule, of whole syncs or of their permission data."""
        has_schedule = or_(SourceRow.sync_every_s.is_not(None), SourceRow.acl_every_s.is_not(None))
        query = select(SourceRow).where(has_schedule, SourceRow.removed_at.is_(None))
        with self._database.read() as session:
            return [to_source(row) for row in session.scalars(query)]

    def sync_on_schedule(self, source: Source, *, next_sync_at: datetime) -> bool:
        """Accept the sync that is due and set the time of the one after it.

        Returns:
            False when another process did so first, or the source was changed meanwhile.
        """
        now = self._clock()
        with self._database.write() as session:
            taken = session.execute(
                update(SourceRow)
                .where(
                    SourceRow.id == source.id,
                    SourceRow.next_sync_at == source.next_sync_at,
                    SourceRow.paused_at.is_(None),
                    SourceRow.removed_at.is_(None),
                )
                .values(next_sync_at=next_sync_at)
                .returning(SourceRow.id)
            ).scalar()
            if taken is None:
                return False
            request = JobRequest(JobKind.SYNC, source.default_acl.owner, "schedule", source_id=source.id)
            jobs.accept(session, request, now)
            return True

    def refresh_on_schedule(self, source: Source, *, next_acl_at: datetime) -> bool:
        """Accept the refresh of permission data that is due and set the time of the one after it.

        Returns:
            False when another process did so first, the source was changed meanwhile, or a sync of it is
            under way; then it stays due.
        """
        request = JobRequest(
            JobKind.SYNC,
            source.default_acl.owner,
            "schedule",
            source_id=source.id,
            parameters={ACCESS_ONLY: True},
        )
        with self._database.write() as session:
            if jobs.active(session, request) is not None:
                return False
            taken = session.execute(
                update(SourceRow)
                .where(
                    SourceRow.id == source.id,
                    SourceRow.next_acl_at == source.next_acl_at,
                    SourceRow.paused_at.is_(None),
                    SourceRow.removed_at.is_(None),
                )
                .values(next_acl_at=next_acl_at)
                .returning(SourceRow.id)
            ).scalar()
            if taken is None:
                return False
            jobs.accept(session, request, self._clock())
            return True


def _present(session: Session, source_id: SourceId) -> SourceRow:
    row = session.get(SourceRow, source_id)
    if row is None or row.removed_at is not None:
        raise NotFoundError(f"no source {source_id}")
    return row


def _label(session: Session, row: SourceRow, labels: Collection[Label]) -> None:
    write_source_labels(session, row.id, labels)
    session.refresh(row, ["labels"])


def _is_taken(session: Session, name: str, *, apart_from: SourceId) -> bool:
    query = select(SourceRow.id).where(SourceRow.name == name, SourceRow.id != apart_from)
    return session.scalar(query) is not None


def _first(every_s: int | None, last: datetime | None, now: datetime) -> datetime | None:
    """When a schedule begins: one interval after the last good run, or now where that has passed."""
    if every_s is None:
        return None
    return now if last is None else max(now, last + timedelta(seconds=every_s))


def _wake(session: Session, source_id: SourceId, now: datetime) -> None:
    waiting = select(JobRow).where(JobRow.state == JobState.QUEUED, source_of_job() == source_id)
    session.add_all([recovery.message_for(row, now) for row in session.scalars(waiting)])

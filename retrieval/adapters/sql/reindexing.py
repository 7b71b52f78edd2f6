"""Having many documents read anew: those of a source, of a folder in it, or all that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from retrieval.access import Principal
from retrieval.adapters.sql import jobs
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import Clock, JobRequest
from retrieval.adapters.sql.models import DocumentRow, JobRow, SourceRow
from retrieval.adapters.sql.rows import batches, to_job
from retrieval.adapters.sql.upkeep import requeue_document
from retrieval.adapters.sql.visibility import Presence
from retrieval.corpus import DocumentState, JobId, SourceId
from retrieval.jobs import ACCESS_ONLY, Job, JobKind, JobState

_BATCH = 200
_UNWELL = (DocumentState.FAILED, DocumentState.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which documents to read anew. Empty fields do not narrow.

    Attributes:
        path: A document's external id, or a folder: everything below it counts.
        only_failed: Only those that failed or were given up on.
        owned_by: Only what this principal owns and may read; None for everybody's.
    """

    source_id: SourceId | None = None
    path: str = ""
    only_failed: bool = False
    owned_by: Principal | None = None


@dataclass(frozen=True, slots=True)
class Requeued:
    """What came of it: number of documents queued now, queued or running before, and left out as paused.

    Attributes:
        run: The job that stands for them; when all were queued before by one such job, that one.
    """

    run: Job
    n_queued: int
    n_already: int
    n_paused: int


class SqlReindexing:
    """Queues documents by the hundred. Checks no permission; `serving` decides who may ask for what."""

    def __init__(self, database: Database, clock: Clock, presence: Presence) -> None:
        """Write to this database what is there by `presence`, and read the time from `clock`."""
        self._database = database
        self._clock = clock
        self._presence = presence

    def reindex(self, selection: Selection, *, requested_by: str) -> Requeued:
        """Queue every document of the selection; one that is queued already is left as it is.

        Documents of paused sources are left out. One transaction: what is reported is committed.
        """
        now = self._clock()
        with self._database.write() as session:
            wanted = _document_ids(session, selection, self._presence, paused=False)
            n_paused = len(_document_ids(session, selection, self._presence, paused=True))
            active = _active_jobs(session, wanted)
            due = [id_ for id_ in wanted if id_ not in active or active[id_].parameters.get(ACCESS_ONLY)]
            n_already = len(wanted) - len(due)
            run = None if due else _common_run(session, list(active.values()), requested_by)
            if run is None:
                # without documents nothing tells a source that is hidden from one that is not there
                named = selection if due else replace(selection, source_id=None)
                run = _new_run(session, named, requested_by, now)
                run.report = {"queued": len(due), "already_queued": n_already, "paused": n_paused}
            for batch in batches(due, _BATCH):
                rows = session.scalars(select(DocumentRow).where(DocumentRow.id.in_(batch)))
                for row in rows:
                    requeue_document(session, row, requested_by=requested_by, now=now, run_id=JobId(run.id))
            return Requeued(to_job(run), len(due), n_already, n_paused)


def _document_ids(session: Session, selection: Selection, presence: Presence, *, paused: bool) -> list[str]:
    is_paused = SourceRow.paused_at.is_not(None) if paused else SourceRow.paused_at.is_(None)
    query = (
        select(DocumentRow.id)
        .join(SourceRow, SourceRow.id == DocumentRow.source_id)
        .where(presence.present(), SourceRow.removed_at.is_(None), is_paused)
        .where(*_conditions(selection, presence))
        .order_by(DocumentRow.id)
    )
    return list(session.scalars(query))


def _conditions(selection: Selection, presence: Presence) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if selection.source_id is not None:
        conditions.append(DocumentRow.source_id == selection.source_id)
    path = selection.path.rstrip("/")
    if path:
        below = DocumentRow.external_id.startswith(f"{path}/", autoescape=True)
        conditions.append(below | (DocumentRow.external_id == path))
    if selection.only_failed:
        conditions.append(DocumentRow.state.in_(_UNWELL))
    if selection.owned_by is not None:
        owner = selection.owned_by
        conditions += [presence.readable_by(owner), DocumentRow.owner.in_(owner.user_ids)]
    return conditions


def _active_jobs(session: Session, document_ids: Sequence[str]) -> dict[str, JobRow]:
    found: dict[str, JobRow] = {}
    for batch in batches(document_ids, 500):
        query = select(JobRow).where(JobRow.document_id.in_(batch), JobRow.active_key.is_not(None))
        found.update((str(row.document_id), row) for row in session.scalars(query))
    return found


def _common_run(session: Session, active: Sequence[JobRow], requested_by: str) -> JobRow | None:
    """The job that stands for all of these, when the same person asked for it: a repeated click."""
    run_ids = {row.run_id for row in active}
    run = session.get(JobRow, next(iter(run_ids))) if len(run_ids) == 1 and None not in run_ids else None
    is_same = run is not None and (run.kind, run.requested_by) == (JobKind.REINDEX, requested_by)
    return run if is_same else None


def _new_run(session: Session, selection: Selection, requested_by: str, now: datetime) -> JobRow:
    parameters = {"path": selection.path, "only_failed": selection.only_failed}
    request = JobRequest(
        JobKind.REINDEX, requested_by, "re-index", source_id=selection.source_id, parameters=parameters
    )
    run = jobs.accept(session, request, now)
    run.state, run.active_key, run.started_at, run.finished_at = JobState.DONE, None, now, now
    return run

"""Sources and jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from retrieval.access import Principal
from retrieval.adapters.sql.corpus import SourceSummary
from retrieval.corpus import JobId, SourceId
from retrieval.wiring import utc_now
from serving.documents import Documents
from serving.http import schemas
from serving.http.dependencies import Reader, RequestId, SourceKeeper, TheDesk, Writer
from serving.http.idempotency import IdempotentRoute
from serving.http.identity import identify_again
from serving.http.rendering import (
    accepted_out,
    acl_from,
    followed_out,
)
from serving.http.source_rendering import requeued_out, selection_from, source_change, source_out
from serving.http.streaming import EVENT_STREAM, progress
from serving.jobs import Jobs, followed
from serving.scopes import Scope
from serving.sources import NewSource, Sources

router = APIRouter(prefix="/api/v1", tags=["sources"], route_class=IdempotentRoute)

Limit = Annotated[int, Query(ge=1, le=200)]
WatchFor = Annotated[float, Query(ge=0.1, le=600)]


@router.get("/sources")
def list_sources(desk: TheDesk, caller: Reader) -> schemas.SourcesOut:
    """Sources in which there is something for the caller, with the number of readable documents by state."""
    return schemas.SourcesOut(sources=_shown(Sources(desk), caller, Sources(desk).visible(caller)))


@router.post("/sources", status_code=201)
def create_source(
    body: schemas.SourceIn, desk: TheDesk, caller: SourceKeeper, request_id: RequestId
) -> schemas.SourceOut:
    """Add a source, owned by the caller unless `acl.owner` says otherwise.

    Only administrators add what the desk reads by itself (everything but the kind `push`).
    """
    acl = acl_from(body.acl, default_owner=caller.user_id)
    new = NewSource(
        name=body.name,
        kind=body.kind,
        location=body.location,
        acl=acl,
        id=body.id,
        options=body.options,
        labels=body.labels,
    )
    source = Sources(desk).create(caller, new, request_id=request_id)
    return source_out(SourceSummary(source, {}), can_manage=True, now=utc_now())


@router.get("/sources/{source_id}")
def get_source(source_id: schemas.Id, desk: TheDesk, caller: Reader) -> schemas.SourceOut:
    """One source."""
    sources = Sources(desk)
    return _shown(sources, caller, [sources.one(caller, SourceId(source_id))])[0]


@router.patch("/sources/{source_id}")
def change_source(
    source_id: schemas.Id,
    body: schemas.SourceChangeIn,
    desk: TheDesk,
    caller: SourceKeeper,
    request_id: RequestId,
) -> schemas.SourceOut:
    """Rename, schedule, pause or otherwise change a source. For its owner; some options need `admin`.

    A paused source is neither synced nor indexed; what was accepted before waits until it goes on.
    """
    sources = Sources(desk)
    changed = sources.change(caller, SourceId(source_id), source_change(body), request_id=request_id)
    return _shown(sources, caller, [changed])[0]


@router.delete("/sources/{source_id}", status_code=202)
def remove_source(
    source_id: schemas.Id, desk: TheDesk, caller: SourceKeeper, request_id: RequestId
) -> schemas.AcceptedOut:
    """Remove a source: nobody reads its documents from this reply on. For its owner."""
    return accepted_out(Sources(desk).remove(caller, SourceId(source_id), request_id=request_id))


@router.post("/sources/{source_id}/sync", status_code=202)
def sync_source(
    source_id: schemas.Id, desk: TheDesk, caller: SourceKeeper, body: schemas.SyncIn | None = None
) -> schemas.AcceptedOut:
    """Bring the catalogue up to a source's present listing. For its owner.

    With `dry_run` nothing changes: the job's report names under `diff` what would. With `access_only` the access
    lists of the listing are put in force, and nothing else is done.
    """
    how = body or schemas.SyncIn()
    job = Sources(desk).sync(
        caller,
        SourceId(source_id),
        dry_run=how.dry_run,
        confirm_deletions=how.confirm_deletions,
        access_only=how.access_only,
    )
    return accepted_out(job)


@router.get("/sources/{source_id}/runs")
def list_runs(source_id: schemas.Id, desk: TheDesk, caller: Reader, limit: Limit = 20) -> schemas.JobsOut:
    """Syncs of a source, newest first, with what became of the documents that each queued. For its owner."""
    runs = Sources(desk).runs(caller, SourceId(source_id), limit=limit)
    return schemas.JobsOut(jobs=[followed_out(run) for run in runs])


@router.post("/sources/{source_id}/reindex", status_code=202)
def reindex_source(
    source_id: schemas.Id,
    desk: TheDesk,
    caller: SourceKeeper,
    request_id: RequestId,
    body: schemas.ReindexIn | None = None,
) -> schemas.RequeuedOut:
    """Read a source's documents anew, or those of a folder in it. For the source's owner."""
    selection = selection_from(body or schemas.ReindexIn())
    requeued = Documents(desk).reindex_source(caller, SourceId(source_id), selection, request_id=request_id)
    return requeued_out(requeued, followed(desk, [requeued.run])[0])


@router.get("/jobs")
def list_jobs(desk: TheDesk, caller: Reader, limit: Limit = 50) -> schemas.JobsOut:
    """Jobs that wait or run: one's own, and those about what one owns."""
    return schemas.JobsOut(jobs=[followed_out(job) for job in Jobs(desk).unfinished(caller, limit=limit)])


@router.get("/jobs/{job_id}")
def get_job(job_id: schemas.Id, desk: TheDesk, caller: Reader) -> schemas.JobOut:
    """One job."""
    return followed_out(Jobs(desk).job(caller, JobId(job_id)))


@router.delete("/jobs/{job_id}")
def cancel_job(job_id: schemas.Id, desk: TheDesk, caller: Writer) -> schemas.JobOut:
    """Cancel a job; one that is finished stays as it is."""
    return followed_out(Jobs(desk).cancel(caller, JobId(job_id)))


@router.get("/jobs/{job_id}/events", response_class=StreamingResponse, responses=EVENT_STREAM)
def watch_job(
    job_id: schemas.Id, request: Request, desk: TheDesk, caller: Reader, limit_s: WatchFor = 60
) -> StreamingResponse:
    """A job's progress as server-sent events: `progress` with the job, then `done`.

    A sync is done when the documents that it queued are.
    """
    Jobs(desk).job(caller, JobId(job_id))

    def snapshot() -> schemas.JobOut:
        return followed_out(Jobs(desk).job(identify_again(request, Scope.DOCUMENTS_READ), JobId(job_id)))

    return progress(request, snapshot, lambda job: job.is_over, limit_s)


def _shown(
    sources: Sources, caller: Principal, summaries: Sequence[SourceSummary]
) -> list[schemas.SourceOut]:
    shown = [summary.source for summary in summaries]
    explanations, unknown = sources.explanations(caller, shown), sources.unknown_groups(caller, shown)
    now = utc_now()
    return [
        source_out(
            summary,
            can_manage=sources.may_manage(caller, summary.source),
            now=now,
            unknown_groups=unknown.get(summary.source.id, ()),
            explanation=explanations.get(summary.source.id),
        )
        for summary in summaries
    ]

"""The Celery tasks: an id in, one call of `ingest`, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from celery import Celery

from ingest.indexing import Indexer
from ingest.pipeline import Pipeline
from ingest.ports import Connector, DocumentStore, Heartbeat, Run
from ingest.rebuilding import IndexBuilder
from ingest.syncing import Syncer, SyncOrder
from retrieval.adapters.sql.expiry import SqlExpiry
from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.corpus import JobId, Source
from retrieval.errors import RefdeskError
from retrieval.jobs import ACCESS_ONLY, CONFIRM_DELETIONS, DRY_RUN, PATHS, TASK_NAMES, JobKind, Lease
from workers.memory import return_free_memory
from workers.retries import Verdict
from workers.running import JobRunner
from workers.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What tasks work with; opened once per worker process."""

    jobs: SqlJobs
    store: DocumentStore
    pipeline: Pipeline
    indexer: Indexer
    builder: IndexBuilder
    syncer: Syncer
    connector_for: Callable[[Source], Connector]
    runner: JobRunner
    schedule: Schedule
    expiry: SqlExpiry
    concurrency: int


def register(app: Celery, toolbox: Toolbox) -> None:
    """Add the tasks to a Celery application. Their names are `retrieval.jobs.TASK_NAMES`."""

    @_task(app, JobKind.INDEX)
    def index_document(job_id: str) -> None:
        toolbox.runner.run(JobId(job_id), lambda *args: _index(toolbox, *args), _fail_document(toolbox))

    @_task(app, JobKind.SYNC)
    def sync_source(job_id: str) -> None:
        toolbox.runner.run(JobId(job_id), lambda *args: _sync(toolbox, *args), _ignore_failure)

    @_task(app, JobKind.REBUILD)
    def rebuild_index(job_id: str) -> None:
        toolbox.runner.run(JobId(job_id), lambda *args: _rebuild(toolbox, *args), _ignore_failure)

    @_task(app, JobKind.RECONCILE)
    def reconcile(job_id: str) -> None:
        toolbox.runner.run(
            JobId(job_id), lambda _, heartbeat: _reconcile(toolbox, heartbeat), _ignore_failure
        )


def _task(app: Celery, kind: JobKind) -> Callable[[Callable[[str], None]], object]:
    """Celery's decorator for this kind of job."""
    decorator: Callable[[Callable[[str], None]], object] = app.task(name=TASK_NAMES[kind], shared=False)
    return decorator


def _reconcile(toolbox: Toolbox, heartbeat: Heartbeat) -> Mapping[str, Any]:
    repair = toolbox.indexer.reconcile(progress=lambda done, total: _note(heartbeat, done, total))
    return asdict(repair)


def _index(toolbox: Toolbox, lease: Lease, heartbeat: Heartbeat) -> Mapping[str, Any]:
    toolbox.pipeline.index_document(lease, heartbeat=heartbeat)
    n_left = toolbox.jobs.unfinished(at_most=toolbox.concurrency + 1)
    if n_left <= toolbox.concurrency:  # the last jobs: a good moment to measure the corpus
        toolbox.indexer.recalibrate()
    return_free_memory()
    return {}


def _sync(toolbox: Toolbox, lease: Lease, heartbeat: Heartbeat) -> Mapping[str, Any]:
    if lease.job.source_id is None:
        raise ValueError("a sync job names no source")
    source = toolbox.store.source(lease.job.source_id)
    if source.removed_at is not None:
        return toolbox.syncer.clear(source)
    if lease.job.parameters.get(ACCESS_ONLY):
        return toolbox.syncer.refresh(
            source,
            toolbox.connector_for(source),
            progress=lambda done, total: _note(heartbeat, done, total),
        )
    return toolbox.syncer.sync(
        source,
        toolbox.connector_for(source),
        run=Run(lease.job.requested_by, lease.job.id),
        order=SyncOrder(
            dry_run=bool(lease.job.parameters.get(DRY_RUN)),
            confirmed=bool(lease.job.parameters.get(CONFIRM_DELETIONS)),
            paths=tuple(lease.job.parameters.get(PATHS, ())),
        ),
        progress=lambda done, total: _note(heartbeat, done, total),
    )


def _rebuild(toolbox: Toolbox, lease: Lease, heartbeat: Heartbeat) -> Mapping[str, Any]:
    built = toolbox.builder.build(requested_by=lease.job.requested_by, heartbeat=heartbeat)
    return asdict(built) if built is not None else {}


def _note(heartbeat: Heartbeat, done: int, total: int) -> None:
    heartbeat(done, total)


def _fail_document(toolbox: Toolbox) -> Callable[[Lease, RefdeskError, Verdict], None]:
    def fail(lease: Lease, error: RefdeskError, verdict: Verdict) -> None:
        if lease.job.document_id is not None:
            toolbox.store.fail(lease, error, final=verdict.is_final)

    return fail


def _ignore_failure(lease: Lease, error: RefdeskError, verdict: Verdict) -> None:
    """A failed sync is noted on its source by the syncer, and like a failed build on the job by the runner."""

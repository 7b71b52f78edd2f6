"""Work that was accepted: what kinds there are and how a job moves through its states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from retrieval.corpus import DocumentId, JobId, SourceId


class JobKind(StrEnum):
    """What a job does; each kind is one Celery task (`TASK_NAMES`), but for `reindex`.

    A `reindex` job stands for the index jobs of many documents, which carry its id as their run; it is done
    as soon as they are accepted.
    """

    INDEX = "index"
    SYNC = "sync"
    REINDEX = "reindex"
    REBUILD = "rebuild"
    RECONCILE = "reconcile"


class JobState(StrEnum):
    """`queued -> running -> done | failed | cancelled`; a lost worker's job goes back to `queued`."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_finished(self) -> bool:
        """Whether nothing more happens to the job."""
        return self in {JobState.DONE, JobState.FAILED, JobState.CANCELLED}


TASK_NAMES = {
    JobKind.INDEX: "refdesk.index_document",
    JobKind.SYNC: "refdesk.sync_source",
    JobKind.REBUILD: "refdesk.rebuild_index",
    JobKind.RECONCILE: "refdesk.reconcile",
}
"""Celery task by kind. The relay sends these names; a test checks them against the workers' registry."""

ACCESS_ONLY = "access_only"
"""Parameter of an index job: bring the access list into the index and touch nothing else. Of a sync job: put the
access lists of the present listing in force, and nothing else."""

FORCE = "force"
"""Parameter of an index job: parse and write again even when the bytes are the same."""

DRY_RUN = "dry_run"
"""Parameter of a sync job: find out what would change, and change nothing."""

PATHS = "paths"
"""Parameter of a sync job: only what lies at or below these paths is compared; absent for everything."""

CONFIRM_DELETIONS = "confirm_deletions"
"""Parameter of a sync job: somebody allowed the deletions, however many."""

MAX_ATTEMPTS = 3
"""After this many failed attempts a document is quarantined."""

MAX_DEATHS = 3
"""After this many workers died while they parsed or embedded a document, it is quarantined (`worker_lost`).

Counted apart from attempts: a worker that is killed for reasons of its own must not use up a document's tries.
"""


@dataclass(frozen=True, slots=True)
class Job:
    """An accepted piece of work.

    Attributes:
        attempt: How often it was started, from 0.
        parameters: What the requester asked for, for example `{"dry_run": true}`.
        report: What came of it, for example counts of a sync.
        done: Units finished of `total`; what a unit is depends on the kind. `total` 0 means not known yet.
        run_id: The sync job that found this job's document, or the re-indexing of many documents that it
            belongs to; None when a person asked for this one.
        not_before: When the next attempt is due, None when at once.
        lease_until: When a running job's worker is given up on unless it shows signs of life.
    """

    id: JobId
    kind: JobKind
    document_id: DocumentId | None
    source_id: SourceId | None
    state: JobState
    attempt: int
    error_code: str
    error_message: str
    parameters: Mapping[str, Any]
    report: Mapping[str, Any]
    done: int
    total: int
    requested_by: str
    reason: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    run_id: JobId | None = None
    not_before: datetime | None = None
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunDocuments:
    """What became of the documents that a run queued. One that a later run queues anew counts there."""

    live: int = 0
    failed: int = 0
    cancelled: int = 0
    unfinished: int = 0

    @property
    def total(self) -> int:
        """Documents that the run queued."""
        return self.live + self.failed + self.cancelled + self.unfinished


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a job until it expires. `token` is the fence: a late holder's writes are refused."""

    job: Job
    token: str


def retry_delay_s(attempt: int) -> float:
    """Seconds to wait before the next attempt, after `attempt` failed ones: 2, 10, 50, at most 300."""
    return float(min(2 * 5 ** max(attempt - 1, 0), 300))

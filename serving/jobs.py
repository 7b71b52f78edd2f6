"""Accepted work: who sees which job, and what became of the documents that a run queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.upkeep import SqlUpkeep
from retrieval.corpus import JobId
from retrieval.errors import NotFoundError
from retrieval.jobs import PATHS, Job, JobKind, RunDocuments
from retrieval.wiring import utc_now
from serving.desk import Desk
from serving.scopes import is_admin

DIFF = "diff"
"""Field of a dry run's report that names documents."""


@dataclass(frozen=True, slots=True)
class FollowedJob:
    """A job and, when it is a run, what became of the documents that it queued so far.

    Attributes:
        documents: None for a job that is about one document.
    """

    job: Job
    documents: RunDocuments | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens, to the documents of a run neither."""
        return self.job.state.is_finished and (self.documents is None or not self.documents.unfinished)


def followed(desk: Desk, jobs: Sequence[Job]) -> list[FollowedJob]:
    """Jobs with the documents of those that are runs."""
    runs = [job.id for job in jobs if job.kind is not JobKind.INDEX]
    documents = desk.jobs.documents_of_runs(runs) if runs else {}
    return [
        FollowedJob(job, None if job.kind is JobKind.INDEX else documents.get(job.id, RunDocuments()))
        for job in jobs
    ]


class Jobs:
    """Accepted work, as one principal at a time may see and cancel it.

    Access:
        A job about a document shows to its requester and the document's owner as long as the access list
        lets them read the document, a job about a source to its requester and the source's owner.
        Administrators see every job. Everything else looks absent. Names of documents in a sync's
        parameters and report show to the source's owner and to administrators only.
    """

    def __init__(self, desk: Desk) -> None:
        """Work on this desk's job board."""
        self._desk = desk
        self._upkeep = SqlUpkeep(desk.database, utc_now)

    def unfinished(self, principal: Principal, *, limit: int) -> list[FollowedJob]:
        """Jobs that wait or run, newest first."""
        jobs = self._desk.corpus.unfinished_jobs(principal, of_everybody=is_admin(principal), limit=limit)
        return followed(self._desk, [self._shown(job, principal) for job in jobs])

    def job(self, principal: Principal, job_id: JobId) -> FollowedJob:
        """One job.

        Raises:
            NotFoundError: There is no such job, or the principal may not know of it.
        """
        job = self._desk.corpus.job(principal, job_id, of_everybody=is_admin(principal))
        return followed(self._desk, [self._shown(job, principal)])[0]

    def cancel(self, principal: Principal, job_id: JobId) -> FollowedJob:
        """Cancel a job; one that is finished is returned as it is. Raises as `job`."""
        self.job(principal, job_id)
        self._desk.jobs.cancel(job_id)
        self._upkeep.settle_cancelled(job_id)
        return self.job(principal, job_id)

    def _shown(self, job: Job, principal: Principal) -> Job:
        """The job without names of documents, where the principal does not own the source."""
        if job.source_id is None or not (DIFF in job.report or PATHS in job.parameters):
            return job
        if is_admin(principal) or self._owner_of(job) in principal.user_ids:
            return job
        return replace(
            job,
            report={name: value for name, value in job.report.items() if name != DIFF},
            parameters={name: value for name, value in job.parameters.items() if name != PATHS},
        )

    def _owner_of(self, job: Job) -> UserId | None:
        """The owner of the source that a job is about; None without a source, and when it was removed."""
        if job.source_id is None:
            return None
        try:
            return self._desk.corpus.source(job.source_id).default_acl.owner
        except NotFoundError:
            return None

"""What owners and administrators do with sources, and who sees which job."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from retrieval.access import Acl, Principal, permits
from retrieval.adapters.sql.corpus import SourceSummary
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SqlSources
from retrieval.adapters.sql.upkeep import SqlUpkeep
from retrieval.corpus import JobId, Source, SourceId
from retrieval.errors import ConflictError, InvalidQueryError, NotFoundError, NotPermittedError
from retrieval.jobs import Job, JobKind
from retrieval.wiring import utc_now
from serving.desk import Desk
from serving.scopes import is_admin

KINDS = ("folder", "push")


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source to create. `acl` applies to its documents where the source itself states none."""

    name: str
    kind: str
    location: str
    acl: Acl
    id: str = ""


class Sources:
    """Sources of a desk, as one principal at a time may see and change them."""

    def __init__(self, desk: Desk) -> None:
        """Work on this desk's catalogue."""
        self._desk = desk
        self._stored = SqlSources(desk.database, utc_now)

    def visible(self, principal: Principal) -> list[SourceSummary]:
        """Sources with something for the principal in them; administrators see every source.

        Access:
            Counts cover documents that the principal may read, for administrators too.
        """
        seen = self._desk.corpus.sources(principal)
        if not is_admin(principal):
            return seen
        counts = {summary.source.id: summary.documents_by_state for summary in seen}
        everything = self._desk.corpus.every_source()
        return [SourceSummary(source, counts.get(source.id, {})) for source in everything]

    def create(self, principal: Principal, new: NewSource, *, request_id: str) -> Source:
        """Add a source that the principal owns.

        Raises:
            NotPermittedError: A folder is named by somebody who is no administrator: the desk may be able
                to read files that the caller is not.
            InvalidQueryError: A kind is unknown, or a folder is not named by an absolute path.
            ConflictError: The id or name is taken.
        """
        if new.kind not in KINDS:
            raise InvalidQueryError(f"kind must be one of {', '.join(KINDS)}")
        if new.kind == "folder":
            if not is_admin(principal):
                raise NotPermittedError("adding a folder of the desk's machine needs the scope admin")
            if not PurePath(new.location).is_absolute():
                raise InvalidQueryError("location must be an absolute path")
        source_id = SourceId(new.id or str(uuid.uuid4()))
        self._desk.audit.append(
            "source.create",
            principal=principal.user_id,
            request_id=request_id,
            body={"source_id": source_id, "kind": new.kind},
        )
        return self._stored.create(
            source_id,
            name=new.name,
            kind=new.kind,
            location=new.location if new.kind == "folder" else "",
            owner=new.acl.owner,
            allow=new.acl.allow,
            deny=new.acl.deny,
        )

    def sync(
        self, principal: Principal, source_id: SourceId, *, dry_run: bool, confirm_deletions: bool
    ) -> Job:
        """Queue a sync; asked again before it is done, the same job.

        Raises:
            NotFoundError: There is no such source, or the principal may not know of it.
            NotPermittedError: It is somebody else's.
            ConflictError: Documents of this source are pushed, or a different sync is under way.
        """
        source = self._managed(principal, source_id)
        if source.kind == "push":
            raise ConflictError("documents of this source are pushed; there is nothing to sync")
        parameters = {"dry_run": dry_run, "confirm_deletions": confirm_deletions}
        newest = self._desk.jobs.jobs_of(source_id=source.id, limit=1)
        if newest and not newest[0].state.is_finished and not _asks_for(newest[0], parameters):
            raise ConflictError("another sync of this source is under way; ask again when it is done")
        request = JobRequest(
            JobKind.SYNC, principal.user_id, "asked for", source_id=source.id, parameters=parameters
        )
        return self._desk.jobs.accept(request)

    def runs(self, principal: Principal, source_id: SourceId, *, limit: int) -> list[Job]:
        """Syncs of a source, newest first. Their counts cover all its documents. Raises as `sync`."""
        source = self._managed(principal, source_id)
        return self._desk.jobs.jobs_of(source_id=source.id, limit=limit)

    def may_manage(self, principal: Principal, source: Source) -> bool:
        """Whether the principal may sync a source and see where it comes from."""
        return source.default_acl.owner == principal.user_id or is_admin(principal)

    def _managed(self, principal: Principal, source_id: SourceId) -> Source:
        source = self._desk.corpus.source(source_id)
        if self.may_manage(principal, source):
            return source
        if all(summary.source.id != source.id for summary in self._desk.corpus.sources(principal)):
            raise NotFoundError(f"no source {source_id}")
        raise NotPermittedError("only the owner of the source may do this")


class Jobs:
    """Accepted work, as one principal at a time may see and cancel it.

    Access:
        A job about a document shows to its requester and the document's owner as long as the access list
        lets them read the document, a job about a source to its requester and the source's owner.
        Administrators see every job. Everything else looks absent.
    """

    def __init__(self, desk: Desk) -> None:
        """Work on this desk's job board."""
        self._desk = desk
        self._upkeep = SqlUpkeep(desk.database, utc_now)

    def unfinished(self, principal: Principal, *, limit: int) -> list[Job]:
        """Jobs that wait or run, newest first."""
        return self._desk.corpus.unfinished_jobs(principal, of_everybody=is_admin(principal), limit=limit)

    def job(self, principal: Principal, job_id: JobId) -> Job:
        """One job.

        Raises:
            NotFoundError: There is no such job, or the principal may not know of it.
        """
        job = self._desk.jobs.job(job_id)
        if not is_admin(principal) and not self._shows(job, principal):
            raise NotFoundError(f"no job {job_id}")
        return job

    def cancel(self, principal: Principal, job_id: JobId) -> Job:
        """Cancel a job; one that is finished is returned as it is. Raises as `job`."""
        self.job(principal, job_id)
        job = self._desk.jobs.cancel(job_id)
        self._upkeep.settle_cancelled(job_id)
        return job

    def _shows(self, job: Job, principal: Principal) -> bool:
        if job.document_id is not None:
            acl = self._desk.corpus.record(job.document_id).acl
        elif job.source_id is not None:
            acl = self._desk.corpus.source(job.source_id).default_acl
        else:
            return job.requested_by == principal.user_id
        is_concerned = principal.user_id in (job.requested_by, acl.owner)
        return is_concerned and (job.document_id is None or permits(acl, principal))


def _asks_for(job: Job, parameters: Mapping[str, bool]) -> bool:
    return all(bool(job.parameters.get(name)) == value for name, value in parameters.items())

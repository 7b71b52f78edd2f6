"""What owners and administrators do with sources."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from retrieval.access import Acl, Principal, PrincipalId, source_of
from retrieval.adapters.sql.corpus import SourceSummary
from retrieval.adapters.sql.groups import SqlGroups
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SourceChange, SqlSources
from retrieval.corpus import SOURCE_KINDS, Source, SourceId, pushed_key
from retrieval.errors import ConflictError, InvalidQueryError, NotFoundError, NotPermittedError
from retrieval.jobs import ACCESS_ONLY, CONFIRM_DELETIONS, DRY_RUN, Job, JobKind
from retrieval.labels import Label
from retrieval.wiring import utc_now
from serving.desk import Desk
from serving.explaining import Explanation, explain_source
from serving.identity import vouches_for
from serving.jobs import FollowedJob, followed
from serving.scopes import is_admin

MAX_OPTIONS_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source to create. `acl` applies to documents for which the source states none, `labels` to all of them."""

    name: str
    kind: str
    location: str
    acl: Acl
    id: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()


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
            NotPermittedError: The desk would read it by itself, and the caller is no administrator: the desk
                may be able to read what the caller is not.
            InvalidQueryError: A kind is unknown, or the location or the options are none for it.
            ConflictError: The id or name is taken.
        """
        kind = SOURCE_KINDS.get(new.kind)
        if kind is None:
            raise InvalidQueryError(f"kind must be one of {', '.join(SOURCE_KINDS)}")
        if kind.is_read and not is_admin(principal):
            raise NotPermittedError("adding a source that the desk reads by itself needs the scope admin")
        if kind.location == "path" and not PurePath(new.location).is_absolute():
            raise InvalidQueryError("location must be an absolute path")
        if kind.location == "address" and not new.location:
            raise InvalidQueryError("location must be an address")
        _check_no_password(new.location)
        _check_options(new.options)
        source_id = SourceId(new.id or str(uuid.uuid4()))
        self._desk.audit.append(
            "source.create",
            principal=principal.user_id,
            request_id=request_id,
            body={"source_id": source_id, "kind": new.kind, "labels": sorted(new.labels)},
        )
        return self._stored.create(
            source_id,
            name=new.name,
            kind=new.kind,
            location="" if kind.location == "nothing" else new.location,
            options=new.options,
            labels=new.labels,
            owner=new.acl.owner,
            allow=new.acl.allow,
            deny=new.acl.deny,
        )

    def explanations(self, principal: Principal, sources: Sequence[Source]) -> dict[SourceId, Explanation]:
        """What there is to say about those sources that the principal may manage."""
        own = [source for source in sources if self.may_manage(principal, source)]
        runs = self._desk.jobs.newest_runs_of([source.id for source in own])
        now = utc_now()
        found = {source.id: explain_source(source, runs.get(source.id), now) for source in own}
        return {id_: explanation for id_, explanation in found.items() if explanation is not None}

    def one(self, principal: Principal, source_id: SourceId) -> SourceSummary:
        """One source, as in `visible`.

        Raises:
            NotFoundError: There is no such source, or the principal may not know of it.
        """
        for summary in self.visible(principal):
            if summary.source.id == source_id:
                return summary
        raise NotFoundError(f"no source {source_id}")

    def change(
        self, principal: Principal, source_id: SourceId, change: SourceChange, *, request_id: str
    ) -> SourceSummary:
        """Change a source.

        Raises:
            NotFoundError: There is no such source, or the principal may not know of it.
            NotPermittedError: It is somebody else's, or the options of a source that the desk reads by
                itself are changed by somebody who is no administrator.
            InvalidQueryError: The options are too large.
            ConflictError: The name is taken, or there is nothing to schedule.
        """
        source = self.managed(principal, source_id)
        if change.options is not None:
            if source.is_read and not is_admin(principal):
                raise NotPermittedError("changing what the desk reads by itself needs the scope admin")
            _check_options(change.options)
        if (change.sync_every_s or change.acl_every_s or change.acl_max_age_s) and not source.is_read:
            raise ConflictError("documents of this source are pushed; there is nothing to sync")
        asked = {name: value for name, value in asdict(change).items() if value is not None}
        if change.options is not None:
            asked["options"] = sorted(change.options)  # their names only
        self._desk.audit.append(
            "source.change",
            principal=principal.user_id,
            request_id=request_id,
            body={"source_id": source_id, **asked},
        )
        self._stored.change(source_id, change)
        return self.one(principal, source_id)

    def remove(self, principal: Principal, source_id: SourceId, *, request_id: str) -> Job:
        """Remove a source: nobody reads its documents from now on; the job takes them out of the index.

        Raises:
            NotFoundError: There is no such source, or the principal may not know of it.
            NotPermittedError: It is somebody else's.
        """
        source = self.managed(principal, source_id)
        self._desk.audit.append(
            "source.remove",
            principal=principal.user_id,
            request_id=request_id,
            body={"source_id": source_id},
        )
        job, document_ids = self._stored.remove(source_id, requested_by=principal.user_id)
        if not source.is_read:
            for document_id in document_ids:
                self._desk.blobs.delete(pushed_key(document_id))
        return job

    def sync(
        self,
        principal: Principal,
        source_id: SourceId,
        *,
        dry_run: bool = False,
        confirm_deletions: bool = False,
        access_only: bool = False,
    ) -> Job:
        """Queue a sync, or a refresh of the permission data alone; asked again before it is done, the same job.

        Raises:
            NotFoundError: There is no such source, or the principal may not know of it.
            NotPermittedError: It is somebody else's.
            ConflictError: Documents of this source are pushed, it is paused, or a different sync is under
                way.
            InvalidQueryError: A refresh is to be a dry run, or to delete.
        """
        if access_only and (dry_run or confirm_deletions):
            raise InvalidQueryError("access_only goes with neither dry_run nor confirm_deletions")
        source = self.managed(principal, source_id)
        if not source.is_read:
            raise ConflictError("documents of this source are pushed; there is nothing to sync")
        if source.paused_at is not None:
            raise ConflictError("the source is paused; let it go on first")
        parameters = {DRY_RUN: dry_run, CONFIRM_DELETIONS: confirm_deletions}
        if access_only:
            parameters = {ACCESS_ONLY: True}
        newest = self._desk.jobs.jobs_of(source_id=source.id, limit=1)
        if newest and not newest[0].state.is_finished and not _asks_for(newest[0], parameters):
            raise ConflictError("another sync of this source is under way; ask again when it is done")
        request = JobRequest(
            JobKind.SYNC, principal.user_id, "asked for", source_id=source.id, parameters=parameters
        )
        return self._desk.jobs.accept(request)

    def runs(self, principal: Principal, source_id: SourceId, *, limit: int) -> list[FollowedJob]:
        """Syncs of a source, newest first. Their counts cover all its documents. Raises as `sync`."""
        source = self.managed(principal, source_id)
        return followed(self._desk, self._desk.jobs.jobs_of(source_id=source.id, limit=limit))

    def unknown_groups(
        self, principal: Principal, sources: Sequence[Source]
    ) -> dict[SourceId, tuple[PrincipalId, ...]]:
        """Groups that lists of a source's documents name and nobody knows, in order; sources without are left out.

        Access:
            Only of sources that the principal may manage.
        """
        managed = {source.id for source in sources if self.may_manage(principal, source)}
        if not managed:
            return {}
        vouched = vouches_for(self._desk.settings)
        found = {
            source_id: tuple(sorted(group for group in groups if source_of(group) not in vouched))
            for source_id, groups in SqlGroups(self._desk.database, utc_now).unknown_by_source().items()
            if source_id in managed
        }
        return {source_id: groups for source_id, groups in found.items() if groups}

    def may_manage(self, principal: Principal, source: Source) -> bool:
        """Whether the principal may sync a source and see where it comes from."""
        return source.default_acl.owner in principal.user_ids or is_admin(principal)

    def managed(self, principal: Principal, source_id: SourceId) -> Source:
        """A source that the principal may manage.

        Raises:
            NotFoundError: There is no such source, or the principal may not know of it.
            NotPermittedError: It is somebody else's.
        """
        if is_admin(principal):
            return self._desk.corpus.source(source_id)
        owned = self._desk.corpus.owned_source(principal, source_id)
        if owned is not None:
            return owned
        if all(summary.source.id != source_id for summary in self._desk.corpus.sources(principal)):
            raise NotFoundError(f"no source {source_id}")
        raise NotPermittedError("only the owner of the source may do this")


def _asks_for(job: Job, parameters: Mapping[str, bool]) -> bool:
    """Whether an unfinished job does what is asked, or can be made to: a refresh becomes a whole sync."""
    if job.parameters.get(ACCESS_ONLY):
        return not parameters.get(DRY_RUN)
    return all(bool(job.parameters.get(name)) == value for name, value in parameters.items())


def _check_no_password(location: str) -> None:
    """Refuse an address with a password in it: it would be kept, and shown to whoever manages the source."""
    try:
        password = urlsplit(location).password
    except ValueError:  # no address of the web: a path, or what only the connector understands
        return
    if password is not None:
        raise InvalidQueryError("location holds a password; name a secret in the options instead")


def _check_options(options: Mapping[str, Any]) -> None:
    if len(json.dumps(options)) > MAX_OPTIONS_BYTES:
        raise InvalidQueryError(f"options take over {MAX_OPTIONS_BYTES} bytes")

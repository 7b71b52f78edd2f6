"""What administrators do with indexes: build one, go back to the one before, drop that one."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.access import Principal
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.errors import ConflictError, NotFoundError
from retrieval.indexes import IndexRecord, IndexState
from retrieval.jobs import Job, JobKind
from retrieval.wiring import utc_now
from serving.desk import Desk


@dataclass(frozen=True, slots=True)
class ListedIndex:
    """An index, and whether this process has the encoders that it belongs to."""

    record: IndexRecord
    can_answer: bool


class Indexes:
    """The indexes of a desk. Callers ask for the scope `admin`; nothing here shows text of documents."""

    def __init__(self, desk: Desk) -> None:
        """Work on this desk's indexes."""
        self._desk = desk
        self._builds = SqlIndexBuilds(desk.database, utc_now)

    def all(self) -> list[ListedIndex]:
        """Every index on record, the one that answers first."""
        records = sorted(self._builds.records(), key=lambda record: record.state)
        opened = self._desk.indexes
        return [ListedIndex(record, opened.encoders_of(record) is not None) for record in records]

    def rebuild(self, principal: Principal) -> Job:
        """Queue a build beside the index that answers; asked again before it is done, the same job."""
        return self._desk.jobs.accept(JobRequest(JobKind.REBUILD, principal.user_id, "asked for"))

    def activate(self, principal: Principal, name: str, *, request_id: str) -> None:
        """Let a retired index answer from the next request on; the one that answers is retired.

        A retired index has got every change meanwhile, so this is one commit and takes no time.

        Raises:
            NotFoundError: There is no index of this name.
            ConflictError: It is still being built, or its embedding model is not there.
        """
        listed = self._named(name)
        if listed.record.state is IndexState.BUILDING:
            raise ConflictError("the index is still being built; it answers by itself when it is complete")
        if not listed.can_answer:
            raise ConflictError("the embedding model of this index is not there")
        self._record(principal, "index.activate", name, request_id)
        self._builds.activate(name)

    def drop(self, principal: Principal, name: str, *, request_id: str) -> None:
        """Delete a retired index, or one whose building was cancelled.

        Raises:
            NotFoundError: There is no index of this name.
            ConflictError: It answers, or is being built.
        """
        state = self._named(name).record.state
        if state is IndexState.ACTIVE:
            raise ConflictError("the index answers; build another one first")
        if state is IndexState.BUILDING and self._desk.jobs.unfinished_of(JobKind.REBUILD):
            raise ConflictError("the index is being built; cancel the job first")
        self._record(principal, "index.drop", name, request_id)
        self._desk.indexes.drop(name)

    def _named(self, name: str) -> ListedIndex:
        found = next((listed for listed in self.all() if listed.record.name == name), None)
        if found is None:
            raise NotFoundError(f"no index {name}")
        return found

    def _record(self, principal: Principal, event: str, name: str, request_id: str) -> None:
        self._desk.audit.append(
            event, principal=principal.user_id, request_id=request_id, body={"index": name}
        )

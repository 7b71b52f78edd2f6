"""Reading the corpus: passages for search, and documents as their readers see them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Select, bindparam, func, select, tuple_
from sqlalchemy.orm import Session

from retrieval.access import Principal, permits
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.labels import labelled_of
from retrieval.adapters.sql.models import ChunkRow, DocumentRow, JobRow, SourceRow, VersionRow
from retrieval.adapters.sql.permission_age import outdated
from retrieval.adapters.sql.rows import (
    PASSAGES,
    acls_of,
    batches,
    read_acls,
    to_document,
    to_job,
    to_passage,
    to_source,
    to_version,
)
from retrieval.adapters.sql.section_rules import rules_of
from retrieval.adapters.sql.visibility import Presence
from retrieval.corpus import (
    ChunkId,
    Document,
    DocumentId,
    DocumentState,
    JobId,
    Passage,
    Source,
    SourceId,
    Version,
    document_id_for,
)
from retrieval.errors import NotFoundError, PartsOnlyError, PermissionsOutdatedError
from retrieval.jobs import Job
from retrieval.sections import Place, list_for, place_of, reads_whole

_OUTDATED = outdated(bindparam("now"))


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """Which documents a listing shows. Empty fields do not narrow.

    Attributes:
        text: Part of the title or external id, case-insensitive.
        owned_by_me: Only documents that the principal owns.
    """

    state: str = ""
    source_id: str = ""
    text: str = ""
    path_prefix: str = ""
    owned_by_me: bool = False


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """A source with the number of its documents by state, counting only what the principal may read."""

    source: Source
    documents_by_state: dict[str, int]


class SqlCorpus:
    """The corpus as stored in SQL. Listings take a `Principal` and never show more than it may read."""

    def __init__(self, database: Database, presence: Presence) -> None:
        """Read from this database what is there by `presence`."""
        self._database = database
        self._presence = presence

    @property
    def presence(self) -> Presence:
        """What decides whether a document is there for anybody."""
        return self._presence

    def passages(self, chunk_ids: Iterable[ChunkId]) -> dict[ChunkId, Passage]:
        """See `retrieval.ports.CorpusReader.passages`."""
        ids = list(dict.fromkeys(chunk_ids))
        with self._database.read() as session:
            return {passage.chunk_id: passage for passage in _live_passages(session, ids, self._presence)}

    def outdated_sources(self) -> frozenset[SourceId]:
        """See `retrieval.ports.CorpusReader.outdated_sources`."""
        with self._database.read() as session:
            return frozenset(map(SourceId, session.scalars(_OUTDATED, {"now": self._presence.clock()})))

    def readable(self, document_ids: Collection[DocumentId], principal: Principal) -> frozenset[DocumentId]:
        """See `retrieval.ports.CorpusReader.readable`."""
        with self._database.read() as session:
            return _readable(session, document_ids, self._presence.visible_to(principal))

    def document(self, principal: Principal, document_id: DocumentId) -> Document:
        """One document's record. A successor that the principal may not read is not named.

        Raises:
            NotFoundError: It does not exist, is deleted, or may not be read by the principal.
        """
        with self._database.read() as session:
            # The condition is in the query, so that a hidden document takes no longer than a missing one.
            visible = self._presence.visible_to(principal)
            query = select(DocumentRow).where(DocumentRow.id == document_id, visible)
            found = _documents(session, query)
        if not found or not permits(found[0].acl, principal):
            raise NotFoundError(f"no document {document_id}")
        return self._without_hidden_successors(found, principal)[0]

    def document_to_read(self, principal: Principal, document_id: DocumentId) -> Document:
        """A document's record, for whoever is about to be shown words of it: some passages.

        Raises:
            NotFoundError: As `document`.
            PermissionsOutdatedError: It is the principal's own, and the permission data of its source are
                over their bound: its words are shown to nobody.
        """
        document = self.document(principal, document_id)
        if document.source_id in self.outdated_sources():
            raise PermissionsOutdatedError("the permission data of its source are older than is allowed")
        return document

    def whole_document(self, principal: Principal, document_id: DocumentId) -> Document:
        """A document's record, for whoever is about to be shown its whole text, its bytes or its outline.

        Raises:
            NotFoundError, PermissionsOutdatedError: As `document_to_read`, and before the other one.
            PartsOnlyError: A section rule keeps a part of it from the principal.
        """
        document = self.document_to_read(principal, document_id)
        if not reads_whole(document.acl, document.sections, principal):
            raise PartsOnlyError("only parts of the document may be read")
        return document

    def documents(
        self, principal: Principal, narrow: DocumentFilter, *, after: tuple[str, str] | None, limit: int
    ) -> list[Document]:
        """Documents in order of title and id. Successors that the principal may not read are not named.

        Args:
            after: Title and id of the last document of the page before, None for the first page.
            limit: Most documents to return.
        """
        query = select(DocumentRow).where(*_conditions(self._presence, principal, narrow))
        if after is not None:
            query = query.where(tuple_(DocumentRow.title, DocumentRow.id) > after)
        with self._database.read() as session:
            found = _documents(session, query.order_by(DocumentRow.title, DocumentRow.id).limit(limit))
        return self._without_hidden_successors(found, principal)

    def not_live(self, principal: Principal, *, limit: int) -> list[Document]:
        """Readable documents that failed, were given up on or are under way, in this order, newest first."""
        unwell = DocumentRow.state.in_((DocumentState.FAILED, DocumentState.QUARANTINED))
        query = (
            select(DocumentRow)
            .where(self._presence.visible_to(principal), DocumentRow.state != DocumentState.LIVE)
            .order_by(unwell.desc(), DocumentRow.updated_at.desc(), DocumentRow.id)
            .limit(limit)
        )
        with self._database.read() as session:
            return _documents(session, query)

    def _without_hidden_successors(
        self, documents: Sequence[Document], principal: Principal
    ) -> list[Document]:
        successors = {
            each.id: document_id_for(each.source_id, each.superseded_by)
            for each in documents
            if each.superseded_by
        }
        shown = self.readable(set(successors.values()), principal) if successors else frozenset()
        return [
            replace(each, superseded_by="")
            if each.id in successors and successors[each.id] not in shown
            else each
            for each in documents
        ]

    def count_by_state(self, principal: Principal, narrow: DocumentFilter) -> dict[str, int]:
        """Number of documents by state, under the same conditions as `documents`."""
        conditions = _conditions(self._presence, principal, narrow)
        query = select(DocumentRow.state, func.count()).where(*conditions)
        with self._database.read() as session:
            return dict(session.execute(query.group_by(DocumentRow.state)).tuples().all())

    def versions(self, principal: Principal, document_id: DocumentId) -> list[Version]:
        """Versions of a document, newest first. Raises `NotFoundError` like `document`.

        Access:
            Whoever may read only parts is told neither the number of passages nor the hash of the whole.
        """
        document = self.document(principal, document_id)
        query = (
            select(VersionRow)
            .where(VersionRow.document_id == document_id, VersionRow.live_at.is_not(None))
            .order_by(VersionRow.number.desc())
        )
        with self._database.read() as session:
            found = [to_version(row) for row in session.scalars(query)]
        if reads_whole(document.acl, document.sections, principal):
            return found
        return [replace(version, content_hash="", n_chunks=None) for version in found]

    def chunks(
        self, principal: Principal, document_id: DocumentId, *, start: int = 0, limit: int = 100
    ) -> list[Passage]:
        """The first `limit` readable passages of the live version from position `start` on, in order.

        Raises as `document_to_read`.
        """
        document = self.document_to_read(principal, document_id)
        found: list[Passage] = []
        with self._database.read() as session:
            while len(found) < limit:
                query = (
                    select(ChunkRow.id, ChunkRow.position)
                    .where(ChunkRow.version_id == document.live_version_id, ChunkRow.position >= start)
                    .order_by(ChunkRow.position)
                    .limit(limit)
                )
                positions = dict(session.execute(query).tuples().all())
                passages = _live_passages(session, list(positions), self._presence)
                found += (passage for passage in passages if permits(passage.acl, principal))
                if len(positions) < limit:
                    break
                start = max(positions.values()) + 1
        return sorted(found, key=lambda passage: passage.position)[:limit]

    def sources(self, principal: Principal) -> list[SourceSummary]:
        """Sources of which the principal owns the source or may read a document, in order of name."""
        counts = (
            select(DocumentRow.source_id, DocumentRow.state, func.count())
            .where(self._presence.visible_to(principal))
            .group_by(DocumentRow.source_id, DocumentRow.state)
        )
        with self._database.read() as session:
            by_source: dict[str, dict[str, int]] = {}
            for source_id, state, count in session.execute(counts):
                by_source.setdefault(source_id, {})[state] = count
            rows = session.scalars(_present_sources())
            return [
                SourceSummary(to_source(row), by_source.get(row.id, {}))
                for row in rows
                if row.id in by_source or row.owner in principal.user_ids
            ]

    def source(self, source_id: SourceId) -> Source:
        """One source. Callers decide who may see it.

        Raises:
            NotFoundError: There is no such source.
        """
        with self._database.read() as session:
            row = session.get(SourceRow, source_id)
        if row is None or row.removed_at is not None:
            raise NotFoundError(f"no source {source_id}")
        return to_source(row)

    def owned_source(self, principal: Principal, source_id: SourceId) -> Source | None:
        """The source, if it is the principal's own.

        Ownership is a condition of the query, so that somebody else's source takes no longer than a missing one.
        """
        query = _present_sources().where(SourceRow.id == source_id, SourceRow.owner.in_(principal.user_ids))
        with self._database.read() as session:
            row = session.scalar(query)
        return None if row is None else to_source(row)

    def every_source(self) -> list[Source]:
        """All sources, in order of name. Callers decide who may see them."""
        with self._database.read() as session:
            return [to_source(row) for row in session.scalars(_present_sources())]

    def record(self, document_id: DocumentId) -> Document:
        """One document's record, deleted or not. Callers decide who may see it.

        Raises:
            NotFoundError: There is no such document.
        """
        with self._database.read() as session:
            found = _documents(session, select(DocumentRow).where(DocumentRow.id == document_id))
        if not found:
            raise NotFoundError(f"no document {document_id}")
        return found[0]

    def present(self, document_id: DocumentId) -> Document:
        """One document's record if it is there for anybody. Callers decide who may see it.

        Raises:
            NotFoundError: There is no such document, it is deleted, or over its period of retention.
        """
        query = select(DocumentRow).where(DocumentRow.id == document_id, self._presence.present())
        with self._database.read() as session:
            found = _documents(session, query)
        if not found:
            raise NotFoundError(f"no document {document_id}")
        return found[0]

    def totals(self) -> dict[str, dict[str, int]]:
        """Documents and jobs by state, over everything; for operators only."""
        documents = select(DocumentRow.state, func.count()).group_by(DocumentRow.state)
        jobs = select(JobRow.state, func.count()).group_by(JobRow.state)
        with self._database.read() as session:
            return {
                "documents": dict(session.execute(documents).tuples().all()),
                "jobs": dict(session.execute(jobs).tuples().all()),
            }

    def passage_count(self, principal: Principal) -> int:
        """Number of passages that a search by the principal looks through."""
        shown = self._presence.shown_to(principal)
        of_live = DocumentRow.live_version_id == ChunkRow.version_id
        whole = (
            select(func.count())
            .select_from(ChunkRow)
            .join(DocumentRow, of_live)
            .where(shown, DocumentRow.section_rules.is_(None))
        )
        in_parts = (
            select(DocumentRow, ChunkRow.heading_path, ChunkRow.section_paths)
            .join(ChunkRow, of_live)
            .where(shown, DocumentRow.section_rules.is_not(None))
        )
        with self._database.read() as session:
            count = session.scalar(whole) or 0
            rows = session.execute(in_parts).tuples().all()
            documents = {row.id: row for row, _, _ in rows}
            acls = read_acls(session, documents.values())
        rules = {id_: rules_of(row.section_rules) for id_, row in documents.items()}
        reads: dict[tuple[str, Place], bool] = {}  # a document has far fewer places than passages
        for row, path, paths in rows:
            place = place_of(path, paths)
            if (row.id, place) not in reads:
                part = list_for(acls[row.id], rules[row.id], place)
                reads[row.id, place] = permits(part, principal)
            count += reads[row.id, place]
        return count

    def unfinished_jobs(self, principal: Principal, *, of_everybody: bool, limit: int) -> list[Job]:
        """Jobs that wait or run, newest first.

        Access:
            A job about a document shows to its requester and the document's owner while they may read the
            document, one about a source to its requester and the source's owner.

        With `of_everybody` every job shows; that is for administrators.
        """
        query = (
            _jobs(self._presence, principal, of_everybody=of_everybody)
            .where(JobRow.finished_at.is_(None))
            .order_by(JobRow.created_at.desc(), JobRow.id)
            .limit(limit)
        )
        if not of_everybody:
            query = query.where(JobRow.document_id.is_(None) | self._presence.present())
        with self._database.read() as session:
            return [to_job(row) for row in session.scalars(query)]

    def job(self, principal: Principal, job_id: JobId, *, of_everybody: bool) -> Job:
        """One job, in one query: a hidden job takes no longer than a missing one.

        Raises:
            NotFoundError: There is no such job, or it does not show to the principal.

        Access:
            As for `unfinished_jobs`, also where the document was deleted meanwhile.
        """
        query = _jobs(self._presence, principal, of_everybody=of_everybody).where(JobRow.id == job_id)
        with self._database.read() as session:
            row = session.scalar(query)
        if row is None:
            raise NotFoundError(f"no job {job_id}")
        return to_job(row)


def _jobs(presence: Presence, principal: Principal, *, of_everybody: bool) -> Select[JobRow]:
    query = (
        select(JobRow)
        .outerjoin(DocumentRow, DocumentRow.id == JobRow.document_id)
        .outerjoin(SourceRow, (SourceRow.id == JobRow.source_id) & SourceRow.removed_at.is_(None))
    )
    if of_everybody:
        return query
    mine = JobRow.requested_by.in_(principal.user_ids)
    about_document = presence.readable_by(principal) & (mine | DocumentRow.owner.in_(principal.user_ids))
    about_source = JobRow.document_id.is_(None) & (mine | SourceRow.owner.in_(principal.user_ids))
    return query.where(about_document | about_source)


def _readable(
    session: Session, document_ids: Collection[DocumentId], visible: ColumnElement[bool]
) -> frozenset[DocumentId]:
    found: set[DocumentId] = set()
    for batch in batches(sorted(document_ids), 500):
        query = select(DocumentRow.id).where(DocumentRow.id.in_(batch), visible)
        found.update(DocumentId(id_) for id_ in session.scalars(query))
    return frozenset(found)


def _present_sources() -> Select[SourceRow]:
    return select(SourceRow).where(SourceRow.removed_at.is_(None)).order_by(SourceRow.name)


def _conditions(
    presence: Presence, principal: Principal, narrow: DocumentFilter
) -> list[ColumnElement[bool]]:
    conditions = [presence.visible_to(principal)]
    if narrow.state:
        conditions.append(DocumentRow.state == narrow.state)
    if narrow.source_id:
        conditions.append(DocumentRow.source_id == narrow.source_id)
    if narrow.owned_by_me:
        conditions.append(DocumentRow.owner.in_(principal.user_ids))
    if narrow.path_prefix:
        conditions.append(DocumentRow.external_id.startswith(narrow.path_prefix, autoescape=True))
    if narrow.text:
        title = DocumentRow.title.icontains(narrow.text, autoescape=True)
        conditions.append(title | DocumentRow.external_id.icontains(narrow.text, autoescape=True))
    return conditions


def _documents(session: Session, query: Select[DocumentRow]) -> list[Document]:
    rows = list(session.scalars(query))
    acls = read_acls(session, rows)
    labelled = labelled_of(session, {row.id: row.source_id for row in rows})
    version_ids = [row.live_version_id for row in rows if row.live_version_id is not None]
    numbers: dict[str, int] = {}
    for batch in batches(version_ids, 500):
        found = session.execute(select(VersionRow.id, VersionRow.number).where(VersionRow.id.in_(batch)))
        numbers.update(found.tuples().all())
    return [
        to_document(row, acls[row.id], numbers.get(row.live_version_id or ""), labelled[row.id])
        for row in rows
    ]


def _live_passages(session: Session, ids: Sequence[str], presence: Presence) -> list[Passage]:
    asked = ({"ids": batch, "now": presence.clock()} for batch in batches(ids, 500))
    rows = [row for each in asked for row in session.execute(PASSAGES, each)]
    documents = {row.document_id: row for row in rows}
    acls = acls_of(session, {id_: row.owner for id_, row in documents.items()})
    labelled = labelled_of(session, {id_: row.source_id for id_, row in documents.items()})
    labels = {id_: frozenset(each.label for each in stated) for id_, stated in labelled.items()}
    present = {id_ for id_, row in documents.items() if presence.shows(labels[id_], row.modified_at)}
    return [
        to_passage(row, acls[row.document_id], labels[row.document_id])
        for row in rows
        if row.document_id in present
    ]

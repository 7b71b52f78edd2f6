"""`DocumentStore` on the catalogue's tables: what a sync and the pipeline write."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from ingest.adapters import sql_versions as versions
from ingest.adapters.sql_children import lineage_of, take_in
from ingest.errors import IngestError, ListingShrankError
from ingest.ports import (
    DocumentAccess,
    FoundDocument,
    IndexableChunk,
    IndexTarget,
    Known,
    Lineage,
    ListedDocument,
    Published,
    Run,
    StagedVersion,
    StatedAcl,
)
from retrieval.access import Acl
from retrieval.adapters.sql import families, jobs, permission_age
from retrieval.adapters.sql.acls import settle_acl, settle_sections, state_acl, waiting_acls
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.index_builds import missed_by
from retrieval.adapters.sql.jobs import Clock, JobRequest
from retrieval.adapters.sql.labels import labelled_of, write_labels
from retrieval.adapters.sql.models import (
    ChunkRow,
    DocumentRow,
    JobRow,
    SourceRow,
    VersionRow,
)
from retrieval.adapters.sql.rows import OF_LIVE_VERSION, batches, read_acls, to_document, to_source
from retrieval.adapters.sql.section_rules import rules_of
from retrieval.corpus import (
    ChunkId,
    Document,
    DocumentId,
    DocumentState,
    Source,
    SourceId,
    VersionId,
    document_id_for,
    indexed_text,
)
from retrieval.errors import IndexesChangedError, LeaseLostError, NotFoundError, RefdeskError
from retrieval.indexes import Calibration, spoken
from retrieval.jobs import FORCE, JobKind, Lease
from retrieval.labels import Labelled, LabelOrigin
from retrieval.sections import SectionRule, list_for, place_of


class SqlDocumentStore:
    """Implements `ingest.ports.DocumentStore`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Write to this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def source(self, source_id: SourceId) -> Source:
        """See `DocumentStore.source`."""
        with self._database.read() as session:
            row = session.get(SourceRow, source_id)
        if row is None:
            raise NotFoundError(f"no source {source_id}")
        return to_source(row)

    def known(self, source_id: SourceId) -> dict[str, Known]:
        """See `DocumentStore.known`."""
        with self._database.read() as session:
            listed = (DocumentRow.source_id == source_id, DocumentRow.parent_id.is_(None))
            rows = list(session.scalars(select(DocumentRow).where(*listed)))
            acls, waiting = read_acls(session, rows), waiting_acls(session, rows)
            labelled = labelled_of(session, {row.id: row.source_id for row in rows})
        return {
            row.external_id: _to_known(
                row, waiting.get(row.id, acls[row.id]), labelled[row.id], waits=row.id in waiting
            )
            for row in rows
        }

    def register(
        self, source: Source, listed: Sequence[ListedDocument], *, run: Run, reason: str
    ) -> list[DocumentId]:
        """See `DocumentStore.register`."""
        now = self._clock()
        ids = [document_id_for(source.id, item.external_id) for item in listed]
        with self._database.write() as session:
            if session.get_one(SourceRow, source.id).removed_at is not None:
                return []  # removed while it was listed: nothing of it comes back
            for document_id, item in zip(ids, listed, strict=True):
                row = session.get(DocumentRow, document_id, with_for_update=True)
                if row is None:
                    row = _new_document(document_id, source, item, now)
                    session.add(row)
                    session.flush()
                _take_over(session, row, source, item, now, newer_text=True)
                row.state, row.deleted_at, row.attempts = DocumentState.QUEUED, None, 0
                row.error_code, row.error_message, row.retryable = "", "", False
                same_content = row.fingerprint == item.fingerprint
                row.fingerprint, row.size_bytes = item.fingerprint, item.size_bytes
                request = JobRequest(
                    JobKind.INDEX,
                    run.requested_by,
                    reason,
                    document_id=document_id,
                    parameters={FORCE: same_content},
                    run_id=run.id,
                )
                jobs.accept(session, request, now)
        return ids

    def update_details(self, source: Source, listed: Sequence[ListedDocument]) -> list[DocumentId]:
        """See `DocumentStore.update_details`."""
        now = self._clock()
        changed: list[DocumentId] = []
        with self._database.write() as session:
            for item in listed:
                document_id = document_id_for(source.id, item.external_id)
                row = session.get_one(DocumentRow, document_id, with_for_update=True)
                row.fingerprint = item.fingerprint
                is_live = row.state == DocumentState.LIVE
                if _take_over(session, row, source, item, now, newer_text=not is_live):
                    changed.append(document_id)
            changed += map(DocumentId, families.descendant_ids(session, changed))
        return changed

    def update_access(self, stated: Sequence[StatedAcl]) -> list[DocumentId]:
        """See `DocumentStore.update_access`."""
        changed: list[DocumentId] = []
        with self._database.write() as session:
            for each in stated:
                row = session.get_one(DocumentRow, each.document_id, with_for_update=True)
                if row.deleted_at is not None or row.acl_origin == "manual":
                    continue
                newer = row.state != DocumentState.LIVE or row.fingerprint != each.fingerprint
                if state_acl(session, row, each.acl, newer_text=newer):
                    changed.append(each.document_id)
            return changed + [DocumentId(id_) for id_ in families.descendant_ids(session, changed)]

    def now(self) -> datetime:
        """See `DocumentStore.now`."""
        return self._clock()

    def bury(self, document_ids: Sequence[DocumentId]) -> list[ChunkId]:
        """See `DocumentStore.bury`."""
        now = self._clock()
        with self._database.write() as session:
            buried = families.bury(session, document_ids, now, requested_by="desk")
            return [id_ for batch in batches(buried, 500) for id_ in _chunk_ids(session, batch)]

    def note_sync(
        self, source_id: SourceId, *, error: IngestError | None, whole: bool, listed_at: datetime
    ) -> None:
        """See `DocumentStore.note_sync`."""
        with self._database.write() as session:
            row = session.get_one(SourceRow, source_id)
            if error is not None:
                row.error_code, row.error_message = error.code, error.message
                return
            if whole or row.error_code != ListingShrankError.code:  # a held deletion is for a whole sync
                row.error_code, row.error_message = "", ""
            if whole:
                row.synced_at = self._clock()
                permission_age.confirm(row, listed_at, self._clock())

    def note_refresh(self, source_id: SourceId, *, error: IngestError | None, listed_at: datetime) -> None:
        """See `DocumentStore.note_refresh`."""
        with self._database.write() as session:
            row = session.get_one(SourceRow, source_id)
            if error is not None:
                row.acl_error_code = error.code
                return
            permission_age.confirm(row, listed_at, self._clock())

    def document(self, document_id: DocumentId) -> Document:
        """See `DocumentStore.document`."""
        with self._database.read() as session:
            row = session.get(DocumentRow, document_id)
            if row is None:
                raise NotFoundError(f"no document {document_id}")
            live = None if row.live_version_id is None else session.get(VersionRow, row.live_version_id)
            acl = read_acls(session, [row])[row.id]
            labelled = labelled_of(session, {row.id: row.source_id})[row.id]
        return to_document(row, acl, None if live is None else live.number, labelled)

    def note_reading(self, lease: Lease, state: DocumentState) -> None:
        """See `DocumentStore.note_reading`."""
        with self._database.write() as session:
            document = versions.held_document(session, lease)
            if DocumentState(document.state).is_reading:
                document.state, document.updated_at = state, self._clock()

    def reading_id(self, lease: Lease, *, content_hash: str, recipe: str) -> VersionId:
        """See `DocumentStore.reading_id`."""
        with self._database.read() as session:
            return versions.reading_id(session, lease, content_hash, recipe)

    def stage(self, lease: Lease, version: StagedVersion) -> None:
        """See `DocumentStore.stage`."""
        with self._database.write() as session:
            document = versions.held_document(session, lease)
            document.state, document.updated_at = DocumentState.INDEXING, self._clock()
            row = session.get(VersionRow, version.version_id)
            if row is None:
                session.add(versions.new_version(session, version, self._clock()))
                session.flush()
            else:
                session.execute(delete(ChunkRow).where(ChunkRow.version_id == version.version_id))
            if version.chunks:
                session.execute(insert(ChunkRow), versions.new_chunks(version))

    def publish(
        self,
        lease: Lease,
        version_id: VersionId,
        *,
        written: Collection[str] | None = None,
        epoch: int | None = None,
        found: Sequence[FoundDocument] | None = None,
    ) -> Published | None:
        """See `DocumentStore.publish`."""
        now = self._clock()
        with self._database.write() as session:
            if written is not None and missed_by(session, written):
                raise IndexesChangedError("an index came up meanwhile")
            version = session.get_one(VersionRow, version_id)
            try:
                document = versions.held_document(session, lease)
            except LeaseLostError:
                return None
            session.execute(
                update(VersionRow)
                .where(
                    VersionRow.document_id == document.id,
                    VersionRow.id != version_id,
                    VersionRow.replaced_at.is_(None),
                )
                .values(replaced_at=now)
            )
            version.live_at, version.replaced_at = version.live_at or now, None
            document.live_version_id = version_id
            document.title = document.source_title or version.title or document.external_id
            document.media_type, document.language = version.media_type, version.language
            document.warnings = list(version.facts.get("warnings", []))
            write_labels(session, document.id, LabelOrigin.TEXT, version.facts.get("labels", []))
            document.state, document.attempts, document.updated_at = DocumentState.LIVE, 0, now
            document.error_code, document.error_message, document.retryable = "", "", False
            if epoch is not None:
                document.indexed_acl_epoch = epoch
            buried = [] if found is None else take_in(session, document, found, lease.job, now)
            settle_acl(session, document)  # last: it goes for what is inside too, newer text or not
            settle_sections(session, document)
            replaced = _chunk_ids(session, [document.id], but=version_id)
            return Published(
                replaced + _chunk_ids(session, buried),
                _stale_family(session, DocumentId(document.id)),
            )

    def lineage(self, document_id: DocumentId) -> Lineage:
        """See `DocumentStore.lineage`."""
        with self._database.read() as session:
            return lineage_of(session, document_id)

    def stale_family(self, document_id: DocumentId) -> list[DocumentId]:
        """See `DocumentStore.stale_family`."""
        with self._database.read() as session:
            return _stale_family(session, document_id)

    def document_ids(self, source_id: SourceId) -> list[DocumentId]:
        """See `DocumentStore.document_ids`."""
        with self._database.read() as session:
            query = select(DocumentRow.id).where(DocumentRow.source_id == source_id)
            return [DocumentId(id_) for id_ in session.scalars(query)]

    def chunk_ids(self, document_id: DocumentId) -> list[ChunkId]:
        """See `DocumentStore.chunk_ids`."""
        with self._database.read() as session:
            return _chunk_ids(session, [document_id])

    def forget_chunks(self, chunk_ids: Sequence[ChunkId]) -> None:
        """See `DocumentStore.forget_chunks`."""
        with self._database.write() as session:
            for batch in batches(chunk_ids, 500):
                session.execute(delete(ChunkRow).where(ChunkRow.id.in_(batch)))

    def fail(self, lease: Lease, error: RefdeskError, *, final: bool) -> None:
        """See `DocumentStore.fail`."""
        if not final:
            state = DocumentState.QUEUED
        else:
            state = DocumentState.QUARANTINED if error.retryable else DocumentState.FAILED
        with self._database.write() as session:
            try:
                document = versions.held_document(session, lease)
            except LeaseLostError:
                return
            document.state, document.attempts = state, lease.job.attempt
            document.error_code, document.error_message = error.code, error.message
            document.retryable, document.updated_at = error.retryable, self._clock()

    def index_target(self, document_id: DocumentId) -> IndexTarget:
        """See `DocumentStore.index_target`."""
        with self._database.read() as session:
            row = session.get_one(DocumentRow, document_id)
            acl = read_acls(session, [row])[row.id]
        return IndexTarget(
            document_id=document_id,
            source_id=SourceId(row.source_id),
            path=row.external_id,
            title=row.title,
            media_type=row.media_type,
            language=row.language,
            tags=tuple(row.tags),
            modified_at=row.modified_at,
            acl=acl,
            sections=rules_of(row.section_rules),
            acl_epoch=row.acl_epoch,
        )

    def live_chunk_ids(self) -> set[ChunkId]:
        """See `DocumentStore.live_chunk_ids`."""
        query = select(ChunkRow.id).join(DocumentRow, DocumentRow.live_version_id == ChunkRow.version_id)
        with self._database.read() as session:
            return {ChunkId(id_) for id_ in session.scalars(query)}

    def kept_chunk_ids(self) -> set[ChunkId]:
        """See `DocumentStore.kept_chunk_ids`."""
        in_work = select(JobRow.id).where(
            JobRow.document_id == DocumentRow.id, JobRow.kind == JobKind.INDEX, JobRow.finished_at.is_(None)
        )
        query = (
            select(ChunkRow.id)
            .join(VersionRow, VersionRow.id == ChunkRow.version_id)
            .join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
            .where(
                DocumentRow.deleted_at.is_(None),
                VersionRow.replaced_at.is_(None),
                or_(DocumentRow.live_version_id == VersionRow.id, in_work.exists()),
            )
        )
        with self._database.read() as session:
            return {ChunkId(id_) for id_ in session.scalars(query)}

    def live_chunks(self, chunk_ids: Sequence[ChunkId]) -> list[IndexableChunk]:
        """See `DocumentStore.live_chunks`."""
        chunks: list[IndexableChunk] = []
        with self._database.read() as session:
            for batch in batches(chunk_ids, 500):
                query = (
                    select(
                        ChunkRow,
                        VersionRow.title,
                        DocumentRow.source_title,
                        DocumentRow.external_id,
                        DocumentRow.language,
                    )
                    .join(DocumentRow, OF_LIVE_VERSION)
                    .join(VersionRow, VersionRow.id == ChunkRow.version_id)
                    .where(ChunkRow.id.in_(batch))
                )
                for row, title, source_title, external_id, language in session.execute(query):
                    shown = source_title or title or external_id
                    text = indexed_text(shown, tuple(row.heading_path), row.context, row.text)
                    place = place_of(row.heading_path, row.section_paths)
                    chunks.append(
                        IndexableChunk(ChunkId(row.id), DocumentId(row.document_id), text, language, place)
                    )
        return chunks

    def stale_access(self) -> list[DocumentId]:
        """See `DocumentStore.stale_access`."""
        with self._database.read() as session:
            return [DocumentId(id_) for id_ in session.scalars(_STALE)]

    def access_of(self, document_id: DocumentId) -> DocumentAccess:
        """See `DocumentStore.access_of`."""
        with self._database.read() as session:
            row = session.get_one(DocumentRow, document_id)
            acl, rules = read_acls(session, [row])[row.id], rules_of(row.section_rules)
            parts = _lists_of_parts(session, document_id, acl, rules) if rules else {}
        return DocumentAccess(acl, parts, row.acl_epoch)

    def confirm_access(self, document_id: DocumentId, epoch: int) -> None:
        """See `DocumentStore.confirm_access`."""
        with self._database.write() as session:
            session.execute(
                update(DocumentRow).where(DocumentRow.id == document_id).values(indexed_acl_epoch=epoch)
            )

    def calibration(self) -> Calibration | None:
        """See `DocumentStore.calibration`."""
        query = (
            select(DocumentRow.language, func.count(), func.sum(ChunkRow.n_terms))
            .join(DocumentRow, DocumentRow.live_version_id == ChunkRow.version_id)
            .group_by(DocumentRow.language)
        )
        with self._database.read() as session:
            rows = session.execute(query).tuples().all()
        if not rows:
            return None
        n_terms, n_chunks = sum(terms for _, _, terms in rows), sum(count for _, count, _ in rows)
        return Calibration(n_terms / n_chunks, spoken({language: count for language, count, _ in rows}))


_STALE = select(DocumentRow.id).where(
    DocumentRow.acl_epoch != DocumentRow.indexed_acl_epoch, DocumentRow.live_version_id.is_not(None)
)


def _stale_family(session: Session, document_id: DocumentId) -> list[DocumentId]:
    family = [document_id, *families.descendant_ids(session, [document_id])]
    parts = (_STALE.where(DocumentRow.id.in_(batch)) for batch in batches(family, 500))
    return [DocumentId(id_) for part in parts for id_ in session.scalars(part)]


def _to_known(row: DocumentRow, acl: Acl, labelled: tuple[Labelled, ...], *, waits: bool) -> Known:
    unfinished_business = row.state == DocumentState.QUARANTINED and row.retryable
    return Known(
        document_id=DocumentId(row.id),
        external_id=row.external_id,
        fingerprint=row.fingerprint,
        title=row.source_title,
        url=row.url,
        tags=tuple(row.tags),
        superseded_by=row.superseded_by,
        acl=acl,
        acl_is_manual=row.acl_origin == "manual",
        deleted_at=row.deleted_at,
        needs_retry=unfinished_business,
        labelled=labelled,
        modified_at=row.modified_at,
        acl_is_late=waits and row.state == DocumentState.LIVE,
    )


def _new_document(
    document_id: DocumentId, source: Source, item: ListedDocument, now: datetime
) -> DocumentRow:
    return DocumentRow(
        id=document_id,
        source_id=source.id,
        external_id=item.external_id,
        title=item.title or item.external_id,
        source_title=item.title,
        url=item.url,
        tags=list(item.tags),
        owner="",
        state=DocumentState.QUEUED,
        warnings=[],
        fingerprint="",
        modified_at=item.modified_at,
        created_at=now,
        updated_at=now,
    )


def _take_over(
    session: Session,
    row: DocumentRow,
    source: Source,
    item: ListedDocument,
    now: datetime,
    *,
    newer_text: bool,
) -> bool:
    """Copy a listing's details onto a document. Returns whether its access list changed.

    Args:
        newer_text: Whether the listing speaks of a text that is not live yet, which its list is meant for.
    """
    row.source_title, row.url, row.tags, row.parent_id = item.title, item.url, list(item.tags), None
    if item.title:
        row.title = item.title
    row.superseded_by, row.modified_at, row.updated_at = item.superseded_by, item.modified_at, now
    families.pass_on_details(session, row)
    write_labels(session, row.id, LabelOrigin.SOURCE, item.labels)
    if row.acl_origin == "manual":
        return False
    return state_acl(session, row, item.acl or source.default_acl, newer_text=newer_text)


def _lists_of_parts(
    session: Session, document_id: DocumentId, acl: Acl, rules: Sequence[SectionRule]
) -> dict[ChunkId, Acl]:
    of_document = select(VersionRow.id).where(VersionRow.document_id == document_id)
    query = select(ChunkRow.id, ChunkRow.heading_path, ChunkRow.section_paths).where(
        ChunkRow.version_id.in_(of_document)
    )
    return {
        ChunkId(id_): list_for(acl, rules, place_of(path, paths))
        for id_, path, paths in session.execute(query).tuples()
    }


def _chunk_ids(
    session: Session, document_ids: Sequence[str], *, but: VersionId | None = None
) -> list[ChunkId]:
    """Of every version but one; found by way of the versions, since chunks have an index on theirs only."""
    of_them = select(VersionRow.id).where(VersionRow.document_id.in_(document_ids))
    if but is not None:
        of_them = of_them.where(VersionRow.id != but)
    query = select(ChunkRow.id).where(ChunkRow.version_id.in_(of_them))
    return [ChunkId(id_) for id_ in session.scalars(query)] if document_ids else []

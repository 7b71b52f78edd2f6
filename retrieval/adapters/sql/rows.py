"""Rows of the catalogue -> values of `retrieval.corpus` and `retrieval.jobs`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from retrieval.access import Acl, PrincipalId, UserId
from retrieval.adapters.sql.models import (
    AclEntryRow,
    ChunkRow,
    DocumentRow,
    JobRow,
    SourceRow,
    VersionRow,
)
from retrieval.adapters.sql.permission_age import of_current_lists
from retrieval.adapters.sql.section_rules import rules_of
from retrieval.corpus import (
    Document,
    DocumentId,
    DocumentState,
    JobId,
    Passage,
    Source,
    SourceId,
    Version,
    VersionId,
    document_id_for,
)
from retrieval.jobs import Job, JobKind, JobState
from retrieval.labels import Label, Labelled
from retrieval.sections import list_for, place_of

T = TypeVar("T")

_ENTRIES = select(AclEntryRow.document_id, AclEntryRow.effect, AclEntryRow.principal_id).where(
    AclEntryRow.document_id.in_(bindparam("ids", expanding=True))
)

OF_LIVE_VERSION = (DocumentRow.id == ChunkRow.document_id) & (
    DocumentRow.live_version_id == ChunkRow.version_id
)
"""Joins documents to chunks looked up by id; without the document's id in it SQLite reads all documents."""

PASSAGES = (
    select(
        ChunkRow.id,
        ChunkRow.document_id,
        ChunkRow.version_id,
        ChunkRow.position,
        ChunkRow.text,
        ChunkRow.start,
        ChunkRow.end,
        ChunkRow.heading_path,
        ChunkRow.section_paths,
        ChunkRow.page,
        ChunkRow.context,
        VersionRow.number,
        DocumentRow.source_id,
        DocumentRow.external_id,
        DocumentRow.title,
        DocumentRow.url,
        DocumentRow.media_type,
        DocumentRow.language,
        DocumentRow.tags,
        DocumentRow.modified_at,
        DocumentRow.superseded_by,
        DocumentRow.owner,
        DocumentRow.section_rules,
    )
    .join(DocumentRow, OF_LIVE_VERSION)
    .join(VersionRow, VersionRow.id == ChunkRow.version_id)
    .where(
        ChunkRow.id.in_(bindparam("ids", expanding=True)),
        DocumentRow.deleted_at.is_(None),
        of_current_lists(bindparam("now")),
    )
)
"""Chunks of current versions by id, as far as their permission data count at the moment `now`, with the columns
that `to_passage` takes, in its order, and no others: every search runs it for a hundred rows."""


def read_acls(session: Session, documents: Iterable[DocumentRow]) -> dict[str, Acl]:
    """Access lists by document id, as committed now."""
    return acls_of(session, {row.id: row.owner for row in documents})


def acls_of(session: Session, owners: Mapping[str, str]) -> dict[str, Acl]:
    """Access lists of documents with these owners, as committed now."""
    entries: dict[tuple[str, str], set[PrincipalId]] = defaultdict(set)
    for batch in batches(sorted(owners), 500):
        for document_id, effect, principal_id in session.execute(_ENTRIES, {"ids": batch}):
            entries[document_id, effect].add(PrincipalId(principal_id))
    return {
        id_: Acl(UserId(owner), frozenset(entries[id_, "allow"]), frozenset(entries[id_, "deny"]))
        for id_, owner in owners.items()
    }


def batches(ids: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """Slices of at most `size`: databases limit the number of bound parameters."""
    return (ids[start : start + size] for start in range(0, len(ids), size))


def to_source(row: SourceRow) -> Source:
    """A source with its default access list."""
    return Source(
        id=SourceId(row.id),
        name=row.name,
        kind=row.kind,
        location=row.location,
        default_acl=Acl(
            UserId(row.owner),
            frozenset(PrincipalId(p) for p in row.allow),
            frozenset(PrincipalId(p) for p in row.deny),
        ),
        created_at=row.created_at,
        synced_at=row.synced_at,
        error_code=row.error_code,
        error_message=row.error_message,
        options=dict(row.options),
        sync_every_s=row.sync_every_s,
        freshness_s=row.freshness_s,
        next_sync_at=row.next_sync_at,
        paused_at=row.paused_at,
        removed_at=row.removed_at,
        acl_every_s=row.acl_every_s,
        acl_max_age_s=row.acl_max_age_s,
        acl_confirmed_at=row.acl_confirmed_at,
        next_acl_at=row.next_acl_at,
        acl_error_code=row.acl_error_code,
        labels=frozenset(Label(each.label) for each in row.labels),
    )


def to_document(
    row: DocumentRow, acl: Acl, live_version: int | None, labelled: tuple[Labelled, ...]
) -> Document:
    """A document's record."""
    return Document(
        id=DocumentId(row.id),
        source_id=SourceId(row.source_id),
        external_id=row.external_id,
        title=row.title,
        source_title=row.source_title,
        url=row.url,
        media_type=row.media_type,
        language=row.language,
        tags=tuple(row.tags),
        acl=acl,
        state=DocumentState(row.state),
        error_code=row.error_code,
        error_message=row.error_message,
        retryable=row.retryable,
        attempts=row.attempts,
        warnings=tuple(row.warnings),
        fingerprint=row.fingerprint,
        size_bytes=row.size_bytes,
        superseded_by=row.superseded_by,
        live_version_id=None if row.live_version_id is None else VersionId(row.live_version_id),
        live_version=live_version,
        modified_at=row.modified_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
        parent_id=None if row.parent_id is None else DocumentId(row.parent_id),
        labelled=labelled,
        sections=rules_of(row.section_rules),
    )


def to_version(row: VersionRow) -> Version:
    """A version's record."""
    return Version(
        id=VersionId(row.id),
        document_id=DocumentId(row.document_id),
        number=row.number,
        content_hash=row.content_hash,
        media_type=row.media_type,
        size_bytes=row.size_bytes,
        n_chunks=row.n_chunks,
        reason=row.reason,
        requested_by=row.requested_by,
        created_at=row.created_at,
        live_at=row.live_at,
        replaced_at=row.replaced_at,
    )


def to_passage(row: Any, acl: Acl, labels: frozenset[Label]) -> Passage:
    """A row of `PASSAGES` with what is needed to show and cite it.

    Args:
        row: Taken apart by place, not by name: a search does this a hundred times, and a name costs a lookup.
        acl: The document's access list; the passage gets what its sections leave of it.
        labels: The document's labels.
    """
    (
        chunk_id,
        document_id,
        version_id,
        position,
        text,
        start,
        end,
        heading_path,
        section_paths,
        page,
        context,
        number,
        source_id,
        external_id,
        title,
        url,
        media_type,
        language,
        tags,
        modified_at,
        successor,
        _owner,
        section_rules,
    ) = row
    if section_rules is not None:
        acl = list_for(acl, rules_of(section_rules), place_of(heading_path, section_paths))
    return Passage(
        chunk_id=chunk_id,
        document_id=document_id,
        version_id=version_id,
        version=number,
        source_id=source_id,
        external_id=external_id,
        position=position,
        text=text,
        start=start,
        end=end,
        heading_path=tuple(heading_path),
        page=page,
        context=context,
        title=title,
        url=url,
        media_type=media_type,
        language=language,
        tags=tuple(tags),
        modified_at=modified_at,
        superseded_by=document_id_for(source_id, successor) if successor else None,
        acl=acl,
        labels=labels,
    )


def to_job(row: JobRow) -> Job:
    """A job's record."""
    return Job(
        id=JobId(row.id),
        kind=JobKind(row.kind),
        document_id=None if row.document_id is None else DocumentId(row.document_id),
        source_id=None if row.source_id is None else SourceId(row.source_id),
        state=JobState(row.state),
        attempt=row.attempt,
        error_code=row.error_code,
        error_message=row.error_message,
        parameters=dict(row.parameters),
        report=dict(row.report),
        done=row.done,
        total=row.total,
        requested_by=row.requested_by,
        reason=row.reason,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        run_id=None if row.run_id is None else JobId(row.run_id),
        not_before=row.not_before,
        lease_until=row.lease_until,
    )

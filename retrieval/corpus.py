"""What is stored: sources, documents, versions, chunks, and how their ids are derived.

Ids are UUIDv5 (RFC 9562, section 5.5), so that the same input always has the same id and a repeated task
changes nothing.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, NewType

from retrieval.access import Acl
from retrieval.labels import Label, Labelled
from retrieval.sections import SectionRule

SourceId = NewType("SourceId", str)
DocumentId = NewType("DocumentId", str)
VersionId = NewType("VersionId", str)
ChunkId = NewType("ChunkId", str)
JobId = NewType("JobId", str)

_NAMESPACE = uuid.UUID("6b1f0d5e-3a52-5d0e-9d53-6f2f6c1f7a10")
"""Fixed for ever: changing it would give every document a new id."""


class DocumentState(StrEnum):
    """Where a document stands. `live`, `failed`, `quarantined` and `deleted` are terminal."""

    QUEUED = "queued"
    FETCHING = "fetching"
    PARSING = "parsing"
    EMBEDDING = "embedding"
    INDEXING = "indexing"
    LIVE = "live"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    DELETED = "deleted"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more happens to the document by itself."""
        return self in _TERMINAL

    @property
    def is_reading(self) -> bool:
        """Whether the document is being fetched, parsed or embedded; a worker's death may be its doing."""
        return self in _READING


_READING = frozenset({DocumentState.FETCHING, DocumentState.PARSING, DocumentState.EMBEDDING})
_TERMINAL = frozenset(
    {DocumentState.LIVE, DocumentState.FAILED, DocumentState.QUARANTINED, DocumentState.DELETED}
)


@dataclass(frozen=True, slots=True)
class Passage:
    """One chunk of a document's current version, with all that is needed to show and cite it.

    Attributes:
        chunk_id: UUIDv5 of document, version and position.
        position: Counts from 0 within the version, in reading order.
        text: The exact slice `[start:end)` of the version's extracted text.
        start: Offset of the first character in the extracted text.
        end: Offset after the last character.
        heading_path: Headings above the passage, outermost first; may be empty.
        page: Page or slide number from 1, None where the format has none.
        context: What the passage needs to be understood but does not contain, for example a table's
            header row; empty otherwise. Indexed with the text, never quoted.
        acl: Who may read the passage: the document's list, narrowed by every section rule over it.
        labels: Of the document, as committed when the passage was read.
    """

    chunk_id: ChunkId
    document_id: DocumentId
    version_id: VersionId
    version: int
    source_id: SourceId
    external_id: str
    position: int
    text: str
    start: int
    end: int
    heading_path: tuple[str, ...]
    page: int | None
    context: str
    title: str
    url: str
    media_type: str
    language: str
    tags: tuple[str, ...]
    modified_at: datetime
    superseded_by: DocumentId | None
    acl: Acl
    labels: frozenset[Label] = frozenset()


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A kind of source, as people configure it. `workers.wiring` says which connector reads it.

    Attributes:
        location: What a source of the kind has to name: the absolute `path` of something on the desk's
            machine, an `address`, or `nothing`.
        is_read: Whether the desk reads it by itself, so that it can be synced. Adding or re-pointing such a
            source is for administrators: the desk may be able to read what the caller is not.
        acl_every_s: Seconds between refreshes of its permission data alone, for a new source; None for none.
        acl_max_age_s: Age of its permission data over which a new source's documents are shown to nobody;
            None where the lists lie with the desk itself, or with what is read once and does not change.
    """

    name: str
    location: Literal["path", "address", "nothing"]
    is_read: bool = True
    acl_every_s: int | None = None
    acl_max_age_s: int | None = None


_HOUR_S, _WEEK_S = 3600, 7 * 86_400

SOURCE_KINDS: Mapping[str, SourceKind] = {
    kind.name: kind
    for kind in (
        SourceKind("folder", "path", acl_every_s=_HOUR_S, acl_max_age_s=_WEEK_S),
        SourceKind("push", "nothing", is_read=False),
        SourceKind("web", "address"),
        SourceKind("git", "address", acl_every_s=_HOUR_S, acl_max_age_s=_WEEK_S),
        SourceKind("s3", "address"),
        SourceKind("mail", "address"),
        SourceKind("slack_export", "path"),
        SourceKind("confluence_export", "path"),
    )
}
"""Every kind by its name; another one is a line here and a line in `workers.wiring`."""


class AclAge(StrEnum):
    """How old a source's permission data are, against the age that is accepted."""

    CURRENT = "current"
    AGEING = "ageing"
    OUTDATED = "outdated"


_AGEING_FROM = 0.8
"""Share of the accepted age from which on there is a warning."""


@dataclass(frozen=True, slots=True)
class Source:
    """A configured origin of documents.

    Attributes:
        kind: Connector that reads it: `folder`, or `push` for documents that clients send.
        location: What the connector reads, for example a folder's path; empty for `push`.
        default_acl: Access list of documents for which the source states none.
        options: What the connector needs beyond the location. Secrets are named here, never written.
        sync_every_s: Seconds between scheduled syncs, None when syncs are only asked for.
        freshness_s: Age of the last good sync that the owner accepts, seconds; None for any.
        next_sync_at: When the schedule syncs next.
        paused_at: Since when syncing and indexing of the source are held, None when they are not.
        removed_at: Since when it is no more; only work that tidies up after it still sees it.
        acl_every_s: Seconds between refreshes of the permission data alone, None for none.
        acl_max_age_s: Age of the permission data over which its documents are shown to nobody, seconds; None
            for any.
        acl_confirmed_at: When the last listing began that ended well and whose access lists count; None
            before the first.
        next_acl_at: When the schedule refreshes the permission data next.
        acl_error_code: Why the last refresh failed, empty when it did not.
        labels: Labels that each of its documents has.
    """

    id: SourceId
    name: str
    kind: str
    location: str
    default_acl: Acl
    created_at: datetime
    synced_at: datetime | None = None
    error_code: str = ""
    error_message: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    sync_every_s: int | None = None
    freshness_s: int | None = None
    next_sync_at: datetime | None = None
    paused_at: datetime | None = None
    removed_at: datetime | None = None
    acl_every_s: int | None = None
    acl_max_age_s: int | None = None
    acl_confirmed_at: datetime | None = None
    next_acl_at: datetime | None = None
    acl_error_code: str = ""
    labels: frozenset[Label] = frozenset()

    @property
    def is_read(self) -> bool:
        """Whether the desk reads it by itself."""
        return self.kind not in SOURCE_KINDS or SOURCE_KINDS[self.kind].is_read

    def age_s(self, now: datetime) -> float | None:
        """Seconds since the last good sync of the whole source, None before the first one."""
        return None if self.synced_at is None else max((now - self.synced_at).total_seconds(), 0.0)

    def acl_age_s(self, now: datetime) -> float | None:
        """Seconds since the access lists were last confirmed in full, None before the first time."""
        since = self.acl_confirmed_at
        return None if since is None else max((now - since).total_seconds(), 0.0)

    @property
    def acl_valid_until(self) -> datetime | None:
        """From when on nobody is shown its documents; None for never."""
        return acl_valid_until(self.acl_confirmed_at or self.created_at, self.acl_max_age_s)

    def acl_state(self, now: datetime) -> AclAge:
        """Whether its permission data may be gone by, and whether they soon may not."""
        ends_at = self.acl_valid_until
        if ends_at is None or self.acl_max_age_s is None:
            return AclAge.CURRENT
        if ends_at <= now:
            return AclAge.OUTDATED
        age_s = self.acl_max_age_s - (ends_at - now).total_seconds()
        return AclAge.AGEING if age_s >= _AGEING_FROM * self.acl_max_age_s else AclAge.CURRENT

    def is_overdue(self, now: datetime) -> bool:
        """Whether its documents may be older than the owner accepts."""
        if self.freshness_s is None or not self.is_read:
            return False
        return (now - (self.synced_at or self.created_at)).total_seconds() > self.freshness_s


@dataclass(frozen=True, slots=True)
class Document:
    """A document's record: what it is, who may read it, and where it stands.

    Attributes:
        title: What readers see: the source's title, else the document's own, else its file name.
        source_title: Title that the source states, empty when it states none.
        error_code: Why it is not live (`ingest.errors` lists the codes), empty when nothing is wrong.
        warnings: Codes of what was cut or left out of the live version.
        fingerprint: The source's change mark at the last listing.
        live_version: Number of the version that readers see, None before the first one.
        superseded_by: External id of the document that replaces this one, empty when it is current.
        parent_id: The document that this one was found in (a mail's attachment, an archive's file).
        labelled: Its labels with their origins, in order.
        sections: Who may read parts of it, of those whom `acl` lets in.
    """

    id: DocumentId
    source_id: SourceId
    external_id: str
    title: str
    source_title: str
    url: str
    media_type: str
    language: str
    tags: tuple[str, ...]
    acl: Acl
    state: DocumentState
    error_code: str
    error_message: str
    retryable: bool
    attempts: int
    warnings: tuple[str, ...]
    fingerprint: str
    size_bytes: int
    superseded_by: str
    live_version_id: VersionId | None
    live_version: int | None
    modified_at: datetime
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    parent_id: DocumentId | None = None
    labelled: tuple[Labelled, ...] = ()
    sections: tuple[SectionRule, ...] = ()

    @property
    def labels(self) -> frozenset[Label]:
        """Its labels, wherever they come from."""
        return frozenset(each.label for each in self.labelled)


@dataclass(frozen=True, slots=True)
class Version:
    """One reading of a document: which bytes, when, by whom and why.

    Attributes:
        content_hash: Empty for those who may read only parts: it would let them try out what the rest says.
        n_chunks: Passages; None for those who may read only parts.
    """

    id: VersionId
    document_id: DocumentId
    number: int
    content_hash: str
    media_type: str
    size_bytes: int
    n_chunks: int | None
    reason: str
    requested_by: str
    created_at: datetime
    live_at: datetime | None
    replaced_at: datetime | None


def acl_valid_until(confirmed_at: datetime, max_age_s: int | None) -> datetime | None:
    """When permission data that were confirmed then stop to count; None where they may have any age."""
    return None if max_age_s is None else confirmed_at + timedelta(seconds=max_age_s)


def document_id_for(source_id: SourceId, external_id: str) -> DocumentId:
    """The id of a source's document: the same external id always gives the same document."""
    return DocumentId(_uuid5("document", source_id, external_id))


def version_id_for(document_id: DocumentId, content_hash: str, recipe: str, reading: str) -> VersionId:
    """The id of one reading of a document.

    A version that was replaced never comes back under its old id, even with the same bytes: a worker that
    wakes up late may still delete the old one's points.

    Args:
        document_id: The document.
        content_hash: SHA-256 of its bytes, hexadecimal.
        recipe: Fingerprint of the parser and chunker; another recipe cuts other chunks.
        reading: Tells apart readings of the same bytes: the job, and which of its readings this is.
    """
    return VersionId(_uuid5("version", document_id, content_hash, recipe, reading))


def chunk_id_for(document_id: DocumentId, version_id: VersionId, position: int) -> ChunkId:
    """The id of the chunk at a position, which is also its point id in the index."""
    return ChunkId(_uuid5("chunk", document_id, version_id, str(position)))


def pushed_key(document_id: DocumentId) -> str:
    """Blob key of the bytes that a client pushed for a document."""
    return f"pushed/{document_id}"


def found_key(document_id: DocumentId) -> str:
    """Blob key of the bytes of a document that was found inside another one."""
    return f"found/{document_id}"


def text_key(version_id: VersionId) -> str:
    """Blob key of a version's extracted text and blocks (gzipped JSON)."""
    return f"text/{version_id}"


def indexed_text(title: str, heading_path: tuple[str, ...], context: str, text: str) -> str:
    """What both legs of the search read for a chunk: title and headings, then the text.

    The title is left out where it repeats the first heading, so that short chunks are not drowned.
    """
    path = [part for part in (title, *heading_path) if part]
    distinct = [part for position, part in enumerate(path) if part not in path[:position]]
    lines = [" > ".join(distinct), context, text]
    return "\n".join(line for line in lines if line)


def content_hash(content: bytes) -> str:
    """SHA-256 of a document's bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _uuid5(*parts: str) -> str:
    """A UUIDv5 over parts that cannot run into one another."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))

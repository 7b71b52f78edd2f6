"""What ingestion needs from the outside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ingest.document import ChunkDraft, Extraction, Intake, ParsedDocument
from ingest.errors import DocumentError, IngestError
from retrieval.access import Acl
from retrieval.corpus import (
    ChunkId,
    Document,
    DocumentId,
    DocumentState,
    JobId,
    Source,
    SourceId,
    VersionId,
)
from retrieval.errors import RefdeskError
from retrieval.indexes import Calibration
from retrieval.jobs import Lease
from retrieval.labels import Label, Labelled, LabelOrigin
from retrieval.ports import BlobStore
from retrieval.sections import Place, SectionRule


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """One line of a source's listing: cheap to get, enough to tell whether anything changed.

    Attributes:
        external_id: Stable within the source, for example a relative path with forward slashes.
        fingerprint: Changes whenever the content may have changed; compared for equality only.
        acl: Who may read it, None when the source does not say (the source's default applies).
        superseded_by: External id of the document that replaces this one, empty when current.
        labels: What the source states of the document; labels that others have set stay beside them.
    """

    external_id: str
    fingerprint: str
    title: str
    url: str
    modified_at: datetime
    size_bytes: int
    acl: Acl | None = None
    tags: tuple[str, ...] = ()
    superseded_by: str = ""
    labels: tuple[Label, ...] = ()


class Connector(Protocol):
    """Reads one kind of source. Holds no state between calls; a sync is a diff against the catalogue."""

    def list_documents(self) -> Iterator[ListedDocument]:
        """Yield every document of the source once, in any order.

        Raises:
            SourceUnavailableError: The source cannot be read at all, or stopped half-way: a listing that
                ends without an error is complete.
        """
        ...

    def fetch(self, external_id: str) -> bytes:
        """The document's bytes as they are now.

        Raises:
            FetchFailedError: They cannot be read (gone, no permission, over the size limit: TooLargeError).
        """
        ...


@runtime_checkable
class PartialConnector(Connector, Protocol):
    """A connector that can list a part of its source, so that one changed file needs no whole listing."""

    def list_paths(self, paths: Collection[str]) -> Iterator[ListedDocument]:
        """Yield what `list_documents` would yield at or below these paths. Raises like it.

        Args:
            paths: External ids, or folders of them with "/" and without one at the end. What is not there
                yields nothing.
        """
        ...


class ConnectorMemory(Protocol):
    """A few facts that a connector keeps between syncs, for example the ETag of each page it has seen.

    Losing them costs time, never correctness: they live in the blob store, which can be emptied.
    """

    def load(self) -> dict[str, Any]:
        """What was saved last, empty at first or when it cannot be read."""
        ...

    def save(self, facts: Mapping[str, Any]) -> None:
        """Keep these facts (JSON values) in place of those before."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectorParts:
    """What a connector is made with, beside the source that it reads.

    Attributes:
        blobs: Where pushed bytes lie.
        memory: What it keeps between syncs.
        work_folder: A folder of its own, for example for a clone; may not exist yet, can be thrown away.
        max_file_bytes: Larger documents are refused on fetch.
        secret: The value of a secret that the source's options name; `SourceUnavailableError` when there is
            none. Nobody keeps it longer than it takes to use it.
    """

    blobs: BlobStore
    memory: ConnectorMemory
    work_folder: Path
    max_file_bytes: int
    secret: Callable[[str], str]


class Extractor(Protocol):
    """Parses and cuts one untrusted file, where it can do no harm."""

    def extract(self, path: Path, *, name: str, title: str, intake: Intake | None = None) -> Extraction:
        """Parse the file and cut it into chunks.

        Args:
            path: The file's bytes on disk; read only.
            name: The document's file name: a hint where the bytes leave the type open, never trusted.
            title: Title from the source, used when the document has none of its own.
            intake: Takes the files found inside; None leaves them alone, and refuses archives.

        Raises:
            DocumentError: One of the closed list in `ingest.errors`; never anything else.
        """
        ...

    def close(self) -> None:
        """Stop every child process. The extractor cannot be used afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalogue knows of a document, as far as a sync compares it with a listing.

    Attributes:
        acl_is_manual: A person set the access list; the source's own one no longer counts.
        acl_is_late: Its list waits for a text, although the one of this fingerprint is live.
        deleted_at: Since when it has a tombstone; listing it again revives it.
        needs_retry: It failed for a reason that may have passed.
        labelled: Its labels with their origins, deleted or not.
        modified_at: When the source last changed it.
    """

    document_id: DocumentId
    external_id: str
    fingerprint: str
    title: str
    url: str
    tags: tuple[str, ...]
    superseded_by: str
    acl: Acl
    acl_is_manual: bool
    deleted_at: datetime | None
    needs_retry: bool
    labelled: tuple[Labelled, ...]
    modified_at: datetime
    acl_is_late: bool = False

    @property
    def labels(self) -> frozenset[Label]:
        """Its labels, wherever they come from."""
        return self.labels_of(*LabelOrigin)

    def labels_of(self, *origins: LabelOrigin) -> frozenset[Label]:
        """Its labels of some origins."""
        return frozenset(each.label for each in self.labelled if each.origin in origins)

    @property
    def is_deleted(self) -> bool:
        """Whether it has a tombstone."""
        return self.deleted_at is not None


@dataclass(frozen=True, slots=True)
class StatedAcl:
    """An access list that a listing states for a document.

    Attributes:
        fingerprint: Of the text that the listing speaks of: a list that comes with a newer one than the
            catalogue knows is meant for that.
    """

    document_id: DocumentId
    acl: Acl
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StagedChunk:
    """A chunk with its id, as it goes into the catalogue. `n_terms` counts what the sparse encoder sees."""

    chunk_id: ChunkId
    draft: ChunkDraft
    n_terms: int


@dataclass(frozen=True, slots=True)
class StagedVersion:
    """A new reading of a document, complete but not yet visible to anybody."""

    version_id: VersionId
    document_id: DocumentId
    content_hash: str
    recipe: str
    document: ParsedDocument
    size_bytes: int
    chunks: tuple[StagedChunk, ...]
    reason: str
    requested_by: str


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A file found inside a document, as it goes into the catalogue.

    Attributes:
        fingerprint: Hash of its bytes, or the reason why there are none.
        error: Why its bytes could not be had, None when they could.
    """

    external_id: str
    title: str
    fingerprint: str
    size_bytes: int
    error: DocumentError | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a document stands in a family of documents found inside one another.

    Attributes:
        depth: Number of documents around it; 0 for one that the source lists.
        n_relatives: Living documents found in its outermost one, those inside itself left out.
        relatives_bytes: Their bytes.
    """

    depth: int
    n_relatives: int
    relatives_bytes: int


@dataclass(frozen=True, slots=True)
class IndexableChunk:
    """A live chunk with the fields that its index point needs; `place` says which section rules are over it."""

    chunk_id: ChunkId
    document_id: DocumentId
    text: str
    language: str
    place: Place


@dataclass(frozen=True, slots=True)
class IndexTarget:
    """The document fields that stand on each of its points.

    Attributes:
        acl_epoch: How often the access list or the section rules have changed, read together with them.
    """

    document_id: DocumentId
    source_id: SourceId
    path: str
    title: str
    media_type: str
    language: str
    tags: tuple[str, ...]
    modified_at: datetime
    acl: Acl
    sections: tuple[SectionRule, ...]
    acl_epoch: int


@dataclass(frozen=True, slots=True)
class DocumentAccess:
    """Who may read a document's points.

    Attributes:
        acl: The document's list.
        parts: Of a document with section rules the list of each chunk, replaced versions' too; else empty.
        epoch: How often list and rules have changed, read together with them.
    """

    acl: Acl
    parts: Mapping[ChunkId, Acl]
    epoch: int


@dataclass(frozen=True, slots=True)
class Published:
    """What is left to do once a version is live.

    Attributes:
        replaced: Chunks of the document's other versions, and of documents found inside no more: to be removed.
        stale: Of the document and those found inside, the ones whose access list the index has not heard of.
    """

    replaced: list[ChunkId]
    stale: list[DocumentId]


@dataclass(frozen=True, slots=True)
class Run:
    """A sync under way: the job that it is, None outside the job board, and who asked for it."""

    requested_by: str
    id: JobId | None = None


Reach = Callable[[str], None]
"""Told the name of each point where work that is cut off has to be taken up again. Tests end processes there."""


def reach_nothing(point: str) -> None:
    """The `Reach` of every running desk: does nothing."""


class Heartbeat(Protocol):
    """How the work on one job makes itself heard."""

    def __call__(self, done: int, total: int) -> bool:
        """Renew the lease and note progress; False when the lease is lost."""
        ...

    def reached(self, state: DocumentState) -> None:
        """Say what is being done with the document now. Goes on record if it lasts: most of it does not."""
        ...


class DocumentStore(Protocol):
    """The catalogue, as far as ingestion writes it. Every method is one transaction.

    Each raises `CatalogueUnavailableError` when the catalogue does not answer.
    """

    def source(self, source_id: SourceId) -> Source:
        """One source; `NotFoundError` when there is none."""
        ...

    def known(self, source_id: SourceId) -> dict[str, Known]:
        """Everything known of a source's documents, deleted ones too, by external id.

        Documents found inside others are left out: no listing has them.
        """
        ...

    def register(
        self, source: Source, listed: Sequence[ListedDocument], *, run: Run, reason: str
    ) -> list[DocumentId]:
        """Create or update documents whose content is new, with a job for each, in one transaction."""
        ...

    def update_details(self, source: Source, listed: Sequence[ListedDocument]) -> list[DocumentId]:
        """Take over titles, tags, links and access lists of documents whose content did not change.

        Returns:
            Documents whose access list changed; the index has to hear of them.
        """
        ...

    def bury(self, document_ids: Sequence[DocumentId]) -> list[ChunkId]:
        """Give documents, and those found inside, a tombstone: unreadable from this commit on.

        Returns:
            Their chunks' ids.
        """
        ...

    def update_access(self, stated: Sequence[StatedAcl]) -> list[DocumentId]:
        """Put access lists in force, and nothing else; those that a person set stay.

        Returns:
            Documents whose list in force has changed, those found inside them included.
        """
        ...

    def now(self) -> datetime:
        """The time that the catalogue goes by."""
        ...

    def note_sync(
        self, source_id: SourceId, *, error: IngestError | None, whole: bool, listed_at: datetime
    ) -> None:
        """Record that a sync ended, and how. One of a part of the source does not make it fresh.

        Args:
            listed_at: When its listing began: so old are the permission data that it brought.
        """
        ...

    def note_refresh(self, source_id: SourceId, *, error: IngestError | None, listed_at: datetime) -> None:
        """Record that a refresh of a source's permission data ended, and how; `listed_at` as for `note_sync`."""
        ...

    def document(self, document_id: DocumentId) -> Document:
        """A document's record, deleted ones too; `NotFoundError` when there is none."""
        ...

    def note_reading(self, lease: Lease, state: DocumentState) -> None:
        """Note how far the reading of the lease's document has come; nothing once a version is staged.

        Raises:
            LeaseLostError: The job is not the holder's any more.
        """
        ...

    def reading_id(self, lease: Lease, *, content_hash: str, recipe: str) -> VersionId:
        """The version that these bytes are to become: the live one if it was read from the same.

        Else an id that no replaced version had; the same again when the same job starts over.
        """
        ...

    def stage(self, lease: Lease, version: StagedVersion) -> None:
        """Write a version and its chunks, invisible to readers; writing it again changes nothing.

        The document's state is `indexing` from here on.

        Raises:
            LeaseLostError: The job is not the holder's any more; nothing was written.
        """
        ...

    def publish(
        self,
        lease: Lease,
        version_id: VersionId,
        *,
        written: Collection[str] | None = None,
        epoch: int | None = None,
        found: Sequence[FoundDocument] | None = None,
    ) -> Published | None:
        """Make a version the live one, atomically; the job goes on until the old points are gone.

        Args:
            lease: The job.
            version_id: The version.
            written: Names of the indexes that hold its points; None for a version that was live already.
            epoch: Of the access list that stands on those points.
            found: The files inside, each of which becomes a document with the same access list and, when it
                is new or changed, a job; documents found inside before and now no more are buried. None
                when the bytes are the same as before: then nothing inside has changed either.

        Returns:
            What is left to do. None when the lease was lost and nothing was changed.

        Raises:
            IndexesChangedError: An index on record lacks the points: it came up after they were written.
        """
        ...

    def document_ids(self, source_id: SourceId) -> list[DocumentId]:
        """Every document that a source ever had."""
        ...

    def lineage(self, document_id: DocumentId) -> Lineage:
        """How deep a document was found, and what else was found in its outermost document."""
        ...

    def stale_family(self, document_id: DocumentId) -> list[DocumentId]:
        """Of a document and all living ones found inside it, those that `stale_access` would name."""
        ...

    def chunk_ids(self, document_id: DocumentId) -> list[ChunkId]:
        """Ids of all chunks of a document, replaced versions' too."""
        ...

    def forget_chunks(self, chunk_ids: Sequence[ChunkId]) -> None:
        """Drop chunks that no reader can reach any more, after the index has dropped them."""
        ...

    def fail(self, lease: Lease, error: RefdeskError, *, final: bool) -> None:
        """Note why the lease's document is not live; nothing when the lease was lost.

        A version that was live before stays readable.
        """
        ...

    def index_target(self, document_id: DocumentId) -> IndexTarget:
        """The fields of a document that stand on its points."""
        ...

    def live_chunk_ids(self) -> set[ChunkId]:
        """Ids of all chunks that readers can reach."""
        ...

    def kept_chunk_ids(self) -> set[ChunkId]:
        """Ids of all chunks that readers can reach, or may yet: of versions that a job is bringing in."""
        ...

    def live_chunks(self, chunk_ids: Sequence[ChunkId]) -> list[IndexableChunk]:
        """Chunks with their indexed text, for repairing or rebuilding the index."""
        ...

    def stale_access(self) -> list[DocumentId]:
        """Documents whose access list changed without the index having confirmed it."""
        ...

    def access_of(self, document_id: DocumentId) -> DocumentAccess:
        """Who may read a document and its parts, as committed now."""
        ...

    def confirm_access(self, document_id: DocumentId, epoch: int) -> None:
        """Note that the index holds the access list of this epoch."""
        ...

    def calibration(self) -> Calibration | None:
        """What the live chunks say that the sparse leg should be set to; None when there are none."""
        ...

"""What ingestion needs from the outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ingest.document import ChunkDraft, Extraction, Intake, ParsedDocument
from ingest.errors import DocumentError, IngestError
from retrieval.access import Acl
from retrieval.corpus import (
    ChunkId,
    Document,
    DocumentId,
    DocumentState,
    Source,
    SourceId,
    VersionId,
)
from retrieval.errors import RefdeskError
from retrieval.jobs import Lease


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """One line of a source's listing: cheap to get, enough to tell whether anything changed.

    Attributes:
        external_id: Stable within the source, for example a relative path with forward slashes.
        fingerprint: Changes whenever the content may have changed; compared for equality only.
        acl: Who may read it, None when the source does not say (the source's default applies).
        superseded_by: External id of the document that replaces this one, empty when current.
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
        is_deleted: The document has a tombstone; listing it again revives it.
        needs_retry: It failed for a reason that may have passed.
    """

    document_id: DocumentId
    fingerprint: str
    title: str
    url: str
    tags: tuple[str, ...]
    superseded_by: str
    acl: Acl
    acl_is_manual: bool
    is_deleted: bool
    needs_retry: bool


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
    """A live chunk with the fields that its index point needs."""

    chunk_id: ChunkId
    document_id: DocumentId
    text: str


@dataclass(frozen=True, slots=True)
class IndexTarget:
    """The document fields that stand on each of its points."""

    document_id: DocumentId
    source_id: SourceId
    path: str
    title: str
    media_type: str
    language: str
    tags: tuple[str, ...]
    modified_at: datetime
    acl: Acl


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
        self, source: Source, listed: Sequence[ListedDocument], *, requested_by: str, reason: str
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

    def note_sync(self, source_id: SourceId, *, error: IngestError | None) -> None:
        """Record that a sync ended, and how."""
        ...

    def document(self, document_id: DocumentId) -> Document:
        """A document's record, deleted ones too; `NotFoundError` when there is none."""
        ...

    def set_state(self, document_id: DocumentId, state: DocumentState) -> None:
        """Note how far a document has come."""
        ...

    def stage(self, version: StagedVersion) -> None:
        """Write a version and its chunks, invisible to readers; writing it again changes nothing."""
        ...

    def publish(
        self, lease: Lease, version_id: VersionId, found: Sequence[FoundDocument] | None = None
    ) -> list[ChunkId] | None:
        """Make a version the live one and finish the job, atomically.

        Args:
            found: The files inside, each of which becomes a document with the same access list and, when it
                is new or changed, a job; documents found inside before and now no more are buried. None
                when the bytes are the same as before: then nothing inside has changed either.

        Returns:
            Ids of the chunks it replaced, or None when the lease was lost and nothing was changed.
        """
        ...

    def lineage(self, document_id: DocumentId) -> Lineage:
        """How deep a document was found, and what else was found in its outermost document."""
        ...

    def family(self, document_id: DocumentId) -> list[DocumentId]:
        """A document and all living ones found inside it."""
        ...

    def chunk_ids(self, document_id: DocumentId) -> list[ChunkId]:
        """Ids of all chunks of a document, replaced versions' too."""
        ...

    def forget_chunks(self, chunk_ids: Sequence[ChunkId]) -> None:
        """Drop chunks that no reader can reach any more, after the index has dropped them."""
        ...

    def fail(self, document_id: DocumentId, error: RefdeskError, *, attempts: int, final: bool) -> None:
        """Note why a document is not live. A version that was live before stays readable."""
        ...

    def index_target(self, document_id: DocumentId) -> IndexTarget:
        """The fields of a document that stand on its points."""
        ...

    def live_chunk_ids(self) -> set[ChunkId]:
        """Ids of all chunks that readers can reach."""
        ...

    def live_chunks(self, chunk_ids: Sequence[ChunkId]) -> list[IndexableChunk]:
        """Chunks with their indexed text, for repairing or rebuilding the index."""
        ...

    def stale_access(self) -> list[DocumentId]:
        """Documents whose access list changed without the index having confirmed it."""
        ...

    def access_epoch(self, document_id: DocumentId) -> tuple[Acl, int]:
        """A document's access list and the number of times it has changed."""
        ...

    def confirm_access(self, document_id: DocumentId, epoch: int) -> None:
        """Note that the index holds the access list of this epoch."""
        ...

    def average_terms(self) -> tuple[float, int]:
        """Mean number of sparse terms over the live chunks, and the number of chunks."""
        ...

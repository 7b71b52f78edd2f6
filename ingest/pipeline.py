"""The stages in order, for one document: fetch -> parse and chunk -> embed -> index -> publish."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from ingest.document import Extraction, FoundFile, ParsedDocument
from ingest.errors import EmptyFileError, FetchFailedError, IngestError
from ingest.indexing import Indexer, Vectors
from ingest.members import member_ids, room_for
from ingest.ports import (
    Connector,
    DocumentStore,
    Extractor,
    FoundDocument,
    Heartbeat,
    IndexableChunk,
    IndexTarget,
    Lineage,
    Published,
    Reach,
    StagedChunk,
    StagedVersion,
    reach_nothing,
)
from ingest.sandbox_wire import error_for
from retrieval.corpus import (
    Document,
    DocumentState,
    Source,
    VersionId,
    chunk_id_for,
    content_hash,
    document_id_for,
    found_key,
    indexed_text,
    pushed_key,
    text_key,
)
from retrieval.errors import IndexesChangedError, LeaseLostError, NotFoundError
from retrieval.jobs import ACCESS_ONLY, FORCE, Lease
from retrieval.ports import BlobStore, SparseEncoder
from retrieval.sections import place_of

PARSER_RECIPE = "parsers-v3"
"""Part of a version's id: raise it when parsers read the same bytes differently."""

_EMBED_BATCH = 32
_LISTED = Lineage(depth=0, n_relatives=0, relatives_bytes=0)
"""Of every document that its source lists."""


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """Where the pipeline works.

    Attributes:
        scratch_dir: Fetched bytes lie here while they are parsed.
        recipe: Fingerprint of parsers and chunker.
    """

    scratch_dir: Path
    recipe: str


@dataclass(frozen=True, slots=True)
class _Points:
    """What the indexes are to hold of one document."""

    target: IndexTarget
    chunks: Sequence[IndexableChunk]
    vectors: Vectors


class Pipeline:
    """Takes in one document at a time. Safe to share between worker threads."""

    def __init__(
        self,
        *,
        store: DocumentStore,
        blobs: BlobStore,
        extractor: Extractor,
        sparse: SparseEncoder,
        indexer: Indexer,
        connector_for: Callable[[Source], Connector],
        settings: PipelineSettings,
        reach: Reach = reach_nothing,
    ) -> None:
        """Run the stages with these parts; `reach` is told how far each document has come."""
        self._store = store
        self._blobs = blobs
        self._extractor = extractor
        self._sparse = sparse
        self._indexer = indexer
        self._connector_for = connector_for
        self._settings = settings
        self._reach = reach

    def index_document(self, lease: Lease, *, heartbeat: Heartbeat) -> None:
        """Bring one document's present content into the corpus.

        Running it again changes nothing; stopped anywhere, a later run ends in the same state. Until the
        last step readers see the version before, from then on the new one.

        Args:
            lease: The job, with the right to work on it; what is written under a lost lease is refused.
            heartbeat: Renews the lease and says how far the document has come.

        Raises:
            LeaseLostError: Somebody else has the job by now, or it was cancelled; nothing was written since.
            DocumentError: The document cannot be taken in; says whether a retry can help.
            RefdeskError: The catalogue, index or embedder did not answer; a retry helps.
        """
        document_id = lease.job.document_id
        if document_id is None:
            raise ValueError("an index job names no document")
        document = self._store.document(document_id)
        if document.deleted_at is not None:
            self._reach("bury")
            self._clear_away(document)
            return
        if lease.job.parameters.get(ACCESS_ONLY):
            self._indexer.apply_access({document.id, *self._store.stale_family(document.id)})
            return
        if document.live_version_id is not None:  # a narrower list holds, even if its text cannot be read
            self._indexer.apply_access(self._store.stale_family(document.id))
        content = self._fetch(document)
        hashed = content_hash(content)
        version_id = self._store.reading_id(lease, content_hash=hashed, recipe=self._settings.recipe)
        if version_id == document.live_version_id and not lease.job.parameters.get(FORCE):
            self._settle(self._store.publish(lease, version_id))
            return
        heartbeat.reached(DocumentState.PARSING)
        extraction, found = self._extract(document, content)
        version = self._staged(lease, document, extraction, (version_id, hashed, len(content)))
        chunks = [_indexable(version, chunk) for chunk in version.chunks]
        heartbeat.reached(DocumentState.EMBEDDING)
        vectors = self._embed(lease, chunks, heartbeat)
        self._store.stage(lease, version)
        self._reach("stage")
        self._bring_in(lease, version, chunks, vectors, found)

    def _bring_in(
        self,
        lease: Lease,
        version: StagedVersion,
        chunks: list[IndexableChunk],
        vectors: Vectors,
        found: Sequence[FoundDocument],
    ) -> None:
        """Write a staged version's points, let readers see it, and take the old ones away.

        The index cannot refuse a late writer, so nothing a late writer may do there matters: ids of a version
        that was replaced never come back, and what was written after the lease was lost is taken out again,
        here or by the reconciler.
        """
        document_id, version_id = version.document_id, version.version_id
        target = replace(
            self._store.index_target(document_id),
            media_type=version.document.media_type,
            language=version.document.language,
        )
        self._blobs.put(text_key(version_id), _pack(version.document))
        points = _Points(target, chunks, vectors)
        published = self._write_and_publish(lease, version_id, points, found)
        if published is None:
            self._indexer.settle(document_id, [chunk.chunk_id for chunk in chunks])
            raise LeaseLostError(f"job {lease.job.id} was taken over before its document was live")
        self._reach("publish")
        self._settle(published)
        self._reach("remove")

    def _settle(self, published: Published | None) -> None:
        """Bring the index to what the catalogue says since a version was published; nothing if it was not."""
        if published is not None:
            self._indexer.apply_access(published.stale)
            self._indexer.remove(published.replaced)

    def warm_up(self) -> None:
        """Start the parser's process, which the first document would wait for by seconds."""
        self._settings.scratch_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._settings.scratch_dir) as file, suppress(IngestError):
            file.write(b"A few words.")
            file.flush()
            self._extractor.extract(Path(file.name), name="words.txt", title="")

    def _write_and_publish(
        self, lease: Lease, version_id: VersionId, points: _Points, found: Sequence[FoundDocument]
    ) -> Published | None:
        """`DocumentStore.publish`, once every index on record holds the points."""
        while True:
            written = self._indexer.write(points.target, points.chunks, points.vectors)
            self._reach("upsert")
            epoch = points.target.acl_epoch
            try:
                return self._store.publish(lease, version_id, written=written, epoch=epoch, found=found)
            except IndexesChangedError:
                continue

    def _clear_away(self, document: Document) -> None:
        """Drop what is left of a deleted document. Those found inside it have jobs of their own for that."""
        self._blobs.delete(pushed_key(document.id) if document.parent_id is None else found_key(document.id))
        self._indexer.remove(self._store.chunk_ids(document.id))

    def _fetch(self, document: Document) -> bytes:
        if document.parent_id is not None:
            return self._fetch_found(document)
        source = self._store.source(document.source_id)
        self._reach("fetch")
        content = self._connector_for(source).fetch(document.external_id)
        if not content:
            raise EmptyFileError(f"{document.external_id} has no bytes")
        return content

    def _fetch_found(self, document: Document) -> bytes:
        """The bytes that the parent's job kept; never others than those the catalogue speaks of.

        A worker that lost its lease over the parent may have kept older ones meanwhile.
        """
        try:
            content = self._blobs.get(found_key(document.id))
        except NotFoundError as error:
            raise FetchFailedError("its bytes are gone; re-index the document it was found in") from error
        if content_hash(content) != document.fingerprint:
            raise FetchFailedError("its bytes are another version's; re-index the document it was found in")
        return content

    def _extract(self, document: Document, content: bytes) -> tuple[Extraction, list[FoundDocument]]:
        """The document as parsed and cut; the files inside, their bytes in the blob store by now."""
        self._reach("parse")
        name = PurePosixPath(document.external_id).name
        fallback = document.source_title or PurePosixPath(name).stem
        self._settings.scratch_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetched-", dir=self._settings.scratch_dir) as folder:
            path, inside = Path(folder) / "content", Path(folder) / "inside"
            path.write_bytes(content)
            inside.mkdir()
            lineage = _LISTED if document.parent_id is None else self._store.lineage(document.id)
            intake = room_for(lineage, inside)
            extraction = self._extractor.extract(path, name=name, title=fallback, intake=intake)
            found = self._keep_found(document, extraction.found)
        shown = document.source_title or extraction.document.title or fallback
        return replace(extraction, document=replace(extraction.document, title=shown)), found

    def _keep_found(self, document: Document, files: Sequence[FoundFile]) -> list[FoundDocument]:
        found = []
        for external_id, file in zip(
            member_ids(document.external_id, [file.name for file in files]), files, strict=True
        ):
            title = PurePosixPath(external_id).name
            if file.path is None:
                error = error_for(file.error_code, file.error_message)
                found.append(FoundDocument(external_id, title, f"{error.code}: {error.message}", 0, error))
                continue
            content = file.path.read_bytes()
            hashed = content_hash(content)
            found.append(FoundDocument(external_id, title, hashed, file.size_bytes))
            self._blobs.put(found_key(document_id_for(document.source_id, external_id)), content)
        return found

    def _staged(
        self,
        lease: Lease,
        document: Document,
        extraction: Extraction,
        identity: tuple[VersionId, str, int],
    ) -> StagedVersion:
        version_id, hashed, size_bytes = identity
        title = extraction.document.title
        chunks = tuple(
            StagedChunk(
                chunk_id_for(document.id, version_id, draft.position),
                draft,
                self._sparse.count_terms(
                    indexed_text(title, draft.heading_path, draft.context, draft.text),
                    language=extraction.document.language,
                ),
            )
            for draft in extraction.chunks
        )
        return StagedVersion(
            version_id=version_id,
            document_id=document.id,
            content_hash=hashed,
            recipe=self._settings.recipe,
            document=extraction.document,
            size_bytes=size_bytes,
            chunks=chunks,
            reason=lease.job.reason,
            requested_by=lease.job.requested_by,
        )

    def _embed(self, lease: Lease, chunks: list[IndexableChunk], heartbeat: Heartbeat) -> Vectors:
        """Vectors of all chunks by each index's embedder."""
        self._reach("embed")
        vectors = {}
        for embedder in self._indexer.embedders():
            parts = [np.zeros((0, embedder.dimension), np.float32)]
            for start in range(0, len(chunks), _EMBED_BATCH):
                if start and not heartbeat(start, len(chunks)):
                    raise LeaseLostError(f"job {lease.job.id} was taken over while its document was embedded")
                batch = chunks[start : start + _EMBED_BATCH]
                parts.append(embedder.embed_documents([chunk.text for chunk in batch]))
            vectors[embedder.fingerprint] = np.concatenate(parts)
        return vectors


def _indexable(version: StagedVersion, chunk: StagedChunk) -> IndexableChunk:
    draft = chunk.draft
    text = indexed_text(version.document.title, draft.heading_path, draft.context, draft.text)
    place = place_of(draft.heading_path, draft.section_paths)
    return IndexableChunk(chunk.chunk_id, version.document_id, text, version.document.language, place)


def _pack(document: ParsedDocument) -> bytes:
    """Text and blocks of a document, for showing it later: gzipped JSON."""
    blocks = [asdict(block) for block in document.blocks]
    return gzip.compress(json.dumps({"text": document.text, "blocks": blocks}).encode(), mtime=0)

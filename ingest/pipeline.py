"""The stages in order, for one document: fetch -> parse and chunk -> embed -> index -> publish."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ingest.document import Extraction, ParsedDocument
from ingest.errors import DocumentError, EmptyFileError
from ingest.indexing import Indexer
from ingest.ports import (
    Connector,
    DocumentStore,
    Extractor,
    IndexableChunk,
    StagedChunk,
    StagedVersion,
)
from retrieval.corpus import (
    Document,
    DocumentState,
    Source,
    chunk_id_for,
    content_hash,
    indexed_text,
    text_key,
    version_id_for,
)
from retrieval.jobs import ACCESS_ONLY, FORCE, Lease
from retrieval.ports import BlobStore, Embedder, SparseEncoder

PARSER_RECIPE = "parsers-v1"
"""Part of a version's id: raise it when parsers read the same bytes differently."""

_EMBED_BATCH = 32


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """Where the pipeline works.

    Attributes:
        scratch_dir: Fetched bytes lie here while they are parsed.
        recipe: Fingerprint of parsers and chunker.
    """

    scratch_dir: Path
    recipe: str


class Pipeline:
    """Takes in one document at a time. Safe to share between worker threads."""

    def __init__(
        self,
        *,
        store: DocumentStore,
        blobs: BlobStore,
        extractor: Extractor,
        embedder: Embedder,
        sparse: SparseEncoder,
        indexer: Indexer,
        connector_for: Callable[[Source], Connector],
        settings: PipelineSettings,
    ) -> None:
        """Run the stages with these parts."""
        self._store = store
        self._blobs = blobs
        self._extractor = extractor
        self._embedder = embedder
        self._sparse = sparse
        self._indexer = indexer
        self._connector_for = connector_for
        self._settings = settings

    def index_document(self, lease: Lease, *, heartbeat: Callable[[int, int], bool]) -> None:
        """Bring one document's present content into the corpus.

        Running it again changes nothing; stopped anywhere, a later run ends in the same state. Until the
        last step readers see the version before, from then on the new one.

        Args:
            lease: The job, with the right to work on it; a lost lease ends the work without an effect.
            heartbeat: Renews the lease with progress `(done, total)`; False when the lease is lost.

        Raises:
            DocumentError: The document cannot be taken in; says whether a retry can help.
            RefdeskError: The catalogue, index or embedder did not answer; a retry helps.
        """
        document_id = lease.job.document_id
        if document_id is None:
            raise ValueError("an index job names no document")
        document = self._store.document(document_id)
        if document.deleted_at is not None:
            self._indexer.remove(self._store.chunk_ids(document.id))
            return
        if lease.job.parameters.get(ACCESS_ONLY):
            self._indexer.apply_access([document.id])
            return
        content = self._fetch(document)
        version_id = version_id_for(document.id, content_hash(content), self._settings.recipe)
        if version_id == document.live_version_id and not lease.job.parameters.get(FORCE):
            self._store.publish(lease, version_id)
            self._indexer.apply_access(set(self._store.stale_access()) & {document.id})
            return
        if not heartbeat(0, 0):
            return
        extraction = self._extract(document, content)
        version = self._staged(lease, document, content, extraction)
        chunks = [_indexable(version, chunk) for chunk in version.chunks]
        vectors = self._embed(document, chunks, heartbeat)
        if vectors is None:
            return
        self._store.stage(version)
        self._store.set_state(document.id, DocumentState.INDEXING)
        _, epoch = self._store.access_epoch(document.id)
        target = replace(
            self._store.index_target(document.id),
            media_type=version.document.media_type,
            language=version.document.language,
        )
        self._indexer.write(target, chunks, vectors)
        self._blobs.put(text_key(version_id), _pack(version.document))
        replaced = self._store.publish(lease, version_id)
        if replaced is None:
            return  # deleted or taken over meanwhile: reconciliation drops the points that were written
        self._store.confirm_access(document.id, epoch)
        self._indexer.apply_access([document.id] if self._store.access_epoch(document.id)[1] != epoch else [])
        self._indexer.remove(replaced)

    def warm_up(self) -> None:
        """Start the parser's process, which the first document would wait for by seconds."""
        self._settings.scratch_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._settings.scratch_dir) as file, suppress(DocumentError):
            file.write(b"A few words.")
            file.flush()
            self._extractor.extract(Path(file.name), name="words.txt", title="")

    def _fetch(self, document: Document) -> bytes:
        self._store.set_state(document.id, DocumentState.FETCHING)
        source = self._store.source(document.source_id)
        content = self._connector_for(source).fetch(document.external_id)
        if not content:
            raise EmptyFileError(f"{document.external_id} has no bytes")
        return content

    def _extract(self, document: Document, content: bytes) -> Extraction:
        self._store.set_state(document.id, DocumentState.PARSING)
        name = PurePosixPath(document.external_id).name
        fallback = document.source_title or PurePosixPath(name).stem
        self._settings.scratch_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._settings.scratch_dir) as file:
            file.write(content)
            file.flush()
            extraction = self._extractor.extract(Path(file.name), name=name, title=fallback)
        shown = document.source_title or extraction.document.title or fallback
        return replace(extraction, document=replace(extraction.document, title=shown))

    def _staged(
        self, lease: Lease, document: Document, content: bytes, extraction: Extraction
    ) -> StagedVersion:
        hashed = content_hash(content)
        version_id = version_id_for(document.id, hashed, self._settings.recipe)
        title = extraction.document.title
        chunks = tuple(
            StagedChunk(
                chunk_id_for(document.id, version_id, draft.position),
                draft,
                self._sparse.count_terms(indexed_text(title, draft.heading_path, draft.context, draft.text)),
            )
            for draft in extraction.chunks
        )
        return StagedVersion(
            version_id=version_id,
            document_id=document.id,
            content_hash=hashed,
            recipe=self._settings.recipe,
            document=extraction.document,
            size_bytes=len(content),
            chunks=chunks,
            reason=lease.job.reason,
            requested_by=lease.job.requested_by,
        )

    def _embed(
        self, document: Document, chunks: list[IndexableChunk], heartbeat: Callable[[int, int], bool]
    ) -> NDArray[np.float32] | None:
        """Vectors of all chunks, or None when the lease was lost on the way."""
        self._store.set_state(document.id, DocumentState.EMBEDDING)
        parts = []
        for start in range(0, len(chunks), _EMBED_BATCH):
            if start and not heartbeat(start, len(chunks)):
                return None
            batch = chunks[start : start + _EMBED_BATCH]
            parts.append(self._embedder.embed_documents([chunk.text for chunk in batch]))
        return np.concatenate(parts)


def _indexable(version: StagedVersion, chunk: StagedChunk) -> IndexableChunk:
    draft = chunk.draft
    text = indexed_text(version.document.title, draft.heading_path, draft.context, draft.text)
    return IndexableChunk(chunk.chunk_id, version.document_id, text)


def _pack(document: ParsedDocument) -> bytes:
    """Text and blocks of a document, for showing it later: gzipped JSON."""
    blocks = [asdict(block) for block in document.blocks]
    return gzip.compress(json.dumps({"text": document.text, "blocks": blocks}).encode(), mtime=0)

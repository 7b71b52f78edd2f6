"""Stage 4: chunks and vectors -> the index, and keeping the index equal to the catalogue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ingest.ports import DocumentStore, IndexableChunk, IndexTarget
from retrieval.access import hashed_denied, hashed_readers
from retrieval.corpus import ChunkId, DocumentId
from retrieval.errors import IndexMismatchError
from retrieval.ports import Embedder, Point, SparseEncoder, VectorIndex

T = TypeVar("T")

_BATCH = 128
_ASSUMED_AVERAGE = 80.0
"""Average length of a chunk in sparse terms, until the corpus has been measured."""

_TOLERATED_DRIFT = 0.05
"""Sparse weights are written anew once the measured average is this far from the one in use."""


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """The index that answers, with what it was built by."""

    name: str
    fingerprint: str
    average_length: float
    index: VectorIndex


class IndexRecords(Protocol):
    """Remembers facts of the active index across restarts."""

    def save(self, opened: OpenIndex) -> None:
        """Record name, fingerprint and average length of the active index."""
        ...


@dataclass(frozen=True, slots=True)
class Repair:
    """What a reconciliation found and mended: counts of points and documents."""

    missing: int
    surplus: int
    access: int


class Indexer:
    """Writes the active index. Safe to share between worker threads."""

    def __init__(
        self,
        *,
        store: DocumentStore,
        embedder: Embedder,
        sparse: SparseEncoder,
        opened: OpenIndex,
        records: IndexRecords,
        fingerprint: str,
    ) -> None:
        """Write `opened`, for documents in `store`.

        Args:
            fingerprint: Of the embedder, chunker and sparse encoder in use now; writes are refused while
                it differs from the index's own.
        """
        self._store = store
        self._embedder = embedder
        self._sparse = sparse
        self._opened = opened
        self._records = records
        self._fingerprint = fingerprint
        self._recalibrating = threading.Lock()

    def active(self) -> VectorIndex:
        """The index that answers."""
        return self._opened.index

    @property
    def dimension(self) -> int:
        """Length of the vectors that are written."""
        return self._embedder.dimension

    def write(
        self, target: IndexTarget, chunks: Sequence[IndexableChunk], vectors: NDArray[np.float32]
    ) -> None:
        """Upsert the points of one document's chunks.

        Args:
            vectors: Shape `(len(chunks), dimension)`, unit rows, in the order of `chunks`.

        Raises:
            IndexMismatchError: The index belongs to another embedder, chunker or sparse encoder.
            IndexUnavailableError: The index did not take the points.
            ValueError: A vector is not finite or has the wrong length.
        """
        self._refuse_mismatch()
        if vectors.shape != (len(chunks), self._embedder.dimension) or not np.isfinite(vectors).all():
            raise ValueError(f"unusable vectors of shape {vectors.shape} for {len(chunks)} chunks")
        opened = self._opened
        points = [
            self._point(target, chunk, vector, opened.average_length)
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]
        for batch in _batches(points, _BATCH):
            opened.index.upsert(batch)

    def remove(self, chunk_ids: Collection[ChunkId]) -> None:
        """Remove points from the index and forget their chunks."""
        if chunk_ids:
            self._opened.index.delete(chunk_ids)
            self._store.forget_chunks(list(chunk_ids))

    def settle(self, document_id: DocumentId, chunk_ids: Collection[ChunkId]) -> None:
        """Undo what was written for a document after its lease was lost.

        Points of a version that is not live, nor being brought in by a job, go; those that stay get the
        access list of now.
        """
        surplus = set(chunk_ids) - self._store.kept_chunk_ids()
        self.remove(surplus)
        if len(surplus) < len(chunk_ids):
            self.apply_access([document_id])

    def apply_access(self, document_ids: Iterable[DocumentId]) -> int:
        """Bring the access lists of documents into the index, without embedding. Returns their number."""
        count = 0
        for document_id in document_ids:
            acl, epoch = self._store.access_epoch(document_id)
            self._opened.index.set_access(document_id, hashed_readers(acl), hashed_denied(acl))
            self._store.confirm_access(document_id, epoch)
            count += 1
        return count

    def recalibrate(self) -> bool:
        """Write the sparse weights anew if the average length has moved. Returns whether it did."""
        with self._recalibrating:
            measured, count = self._store.average_terms()
            in_use = self._opened.average_length
            if count == 0 or abs(measured - in_use) <= _TOLERATED_DRIFT * in_use:
                return False
            opened = replace(self._opened, average_length=measured)
            self._records.save(opened)
            self._opened = opened
            for batch in _batches(sorted(self._store.live_chunk_ids()), 1000):
                texts = {chunk.chunk_id: chunk.text for chunk in self._store.live_chunks(batch)}
                opened.index.set_sparse(
                    {
                        id_: self._sparse.encode_document(text, average_length=measured)
                        for id_, text in texts.items()
                    }
                )
            return True

    def reconcile(self, *, progress: Callable[[int, int], None] = lambda *_: None) -> Repair:
        """Make the index hold exactly the catalogue's live chunks, with the access lists of now.

        Idempotent: a second run mends nothing. Text that was embedded before comes from the cache. Jobs may
        go on meanwhile. The index is read first: a point that is there and that the catalogue, read after
        it, neither shows nor is bringing in, will never be needed.
        """
        self._refuse_mismatch()
        present = set(self._opened.index.chunk_ids())
        missing = sorted(self._store.live_chunk_ids() - present)
        surplus = present - self._store.kept_chunk_ids()
        self.remove(surplus)
        for done, batch in enumerate(_batches(missing, _BATCH)):
            progress(done * _BATCH, len(missing))
            self._restore(batch)
        if missing:  # what was replaced while it was restored
            self.remove(set(missing) - self._store.kept_chunk_ids())
        access = self.apply_access(self._store.stale_access())
        return Repair(missing=len(missing), surplus=len(surplus), access=access)

    def _restore(self, chunk_ids: Sequence[ChunkId]) -> None:
        by_document: dict[DocumentId, list[IndexableChunk]] = {}
        for chunk in self._store.live_chunks(chunk_ids):
            by_document.setdefault(chunk.document_id, []).append(chunk)
        for document_id, chunks in by_document.items():
            vectors = self._embedder.embed_documents([chunk.text for chunk in chunks])
            self.write(self._store.index_target(document_id), chunks, vectors)

    def _point(
        self, target: IndexTarget, chunk: IndexableChunk, vector: NDArray[np.float32], average: float
    ) -> Point:
        return Point(
            chunk_id=chunk.chunk_id,
            document_id=target.document_id,
            source_id=target.source_id,
            path=target.path,
            media_type=target.media_type,
            language=target.language,
            tags=target.tags,
            modified_at=target.modified_at,
            readers=hashed_readers(target.acl),
            denied=hashed_denied(target.acl),
            dense=vector,
            sparse=self._sparse.encode_document(chunk.text, average_length=average),
        )

    def _refuse_mismatch(self) -> None:
        if self._opened.fingerprint != self._fingerprint:
            raise IndexMismatchError(
                f"the index was built by {self._opened.fingerprint}, this desk uses {self._fingerprint}"
            )


def initial_index(name: str, fingerprint: str, index: VectorIndex) -> OpenIndex:
    """A new, empty index."""
    return OpenIndex(name, fingerprint, _ASSUMED_AVERAGE, index)


def _batches(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))

"""Stage 4: chunks and vectors -> every index on record, and keeping those equal to the catalogue.

While an index is being built, and as long as there is one to go back to, each change reaches them all: so a
switch in either direction finds an index that is complete (docs/decisions/0007-switching-indexes.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ingest.ports import DocumentAccess, DocumentStore, IndexableChunk, IndexTarget
from retrieval.access import Acl, hashed_denied, hashed_readers
from retrieval.corpus import ChunkId, DocumentId
from retrieval.errors import IndexUnavailableError
from retrieval.indexes import Calibration, IndexBuilds, IndexState, OpenIndex, OpenIndexes
from retrieval.ports import Embedder, Point, SparseEncoder, VectorIndex
from retrieval.sections import list_for

T = TypeVar("T")

Vectors = Mapping[str, NDArray[np.float32]]
"""Vectors of some chunks by fingerprint of the embedder that made them, each of shape `(n, dimension)`."""

_BATCH = 128
_TOLERATED_DRIFT = 0.05
"""Sparse weights are written anew once the measured average is this far from the one in use."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a reconciliation found and mended: counts of points, over all indexes, and of documents."""

    missing: int
    surplus: int
    access: int


class Indexer:
    """Writes the indexes. Safe to share between worker threads."""

    def __init__(self, *, store: DocumentStore, indexes: OpenIndexes, builds: IndexBuilds) -> None:
        """Write `indexes` for documents in `store`; `builds` records their average lengths."""
        self._store = store
        self._indexes = indexes
        self._builds = builds
        self._recalibrating = threading.Lock()

    def active(self) -> VectorIndex:
        """The index that answers, for looking into it between two writes."""
        with self._indexes.answering() as opened:
            return opened.index

    def embedders(self) -> list[Embedder]:
        """The embedders of all indexes that are written now, each once."""
        with self._indexes.written() as written:
            found = {opened.encoders.embedder.fingerprint: opened.encoders.embedder for opened in written}
        return list(found.values())

    def write(
        self, target: IndexTarget, chunks: Sequence[IndexableChunk], vectors: Vectors
    ) -> frozenset[str]:
        """Upsert the points of one document's chunks into every index.

        Args:
            vectors: Unit rows in the order of `chunks`. An index whose embedder is not among them, because it
                came up meanwhile, has the texts embedded now; it never takes another embedder's vectors.

        Returns:
            Names of the indexes that hold the points; a version may be published only when none is missing.

        Raises:
            IndexMismatchError: An index belongs to an embedder or sparse encoder that is not open.
            IndexUnavailableError: An index did not take the points.
            ValueError: A vector is not finite or has the wrong length.
        """
        with self._indexes.written() as written:
            for opened in written:
                embedder = opened.encoders.embedder
                made = vectors.get(embedder.fingerprint)
                if made is None:
                    made = embedder.embed_documents([chunk.text for chunk in chunks])
                self._apply(opened, partial(_upsert, points=_points(opened, target, chunks, made)))
            return frozenset(opened.record.name for opened in written)

    def remove(self, chunk_ids: Collection[ChunkId]) -> None:
        """Remove points from every index and forget their chunks."""
        if not chunk_ids:
            return
        with self._indexes.written() as written:
            for opened in written:
                self._apply(opened, lambda index: index.delete(chunk_ids))
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
        """Bring the access lists of documents into every index, without embedding. Returns their number."""
        count = 0
        for document_id in document_ids:
            access = self._store.access_of(document_id)
            while (
                True
            ):  # read the list before the indexes: one that comes up later reads this list or a newer
                with self._indexes.written() as written:
                    for opened in written:
                        self._apply(opened, partial(_set_access, document_id=document_id, access=access))
                newest = self._store.access_of(document_id)
                if newest.epoch == access.epoch:
                    break
                access = newest
            self._store.confirm_access(document_id, access.epoch)
            count += 1
        return count

    def recalibrate(self) -> bool:
        """Write sparse weights anew where the average length has moved. Returns whether it did."""
        with self._recalibrating, self._indexes.written() as written:
            measured = self._store.calibration()
            if measured is None:
                return False
            n_weighed = 0
            for opened in written:
                if opened.record.state is IndexState.BUILDING:  # measured when it began
                    continue
                calibration, has_moved = _recalibrated(opened.record.calibration, measured)
                if calibration != opened.record.calibration:
                    self._builds.calibrate(opened.record.name, calibration)
                if has_moved:
                    self._weigh_anew(opened, calibration)
                    n_weighed += 1
            return n_weighed > 0

    def reconcile(self, *, progress: Callable[[int, int], None] = lambda *_: None) -> Repair:
        """Make every index hold exactly the catalogue's live chunks, with the access lists of now.

        Idempotent: a second run mends nothing. Text that was embedded before comes from the cache. Jobs may
        go on meanwhile. The index is read first: a point that is there and that the catalogue, read after
        it, neither shows nor is bringing in, will never be needed.
        """
        n_missing = n_surplus = 0
        with self._indexes.written() as written:
            for opened in written:
                present = set(opened.index.chunk_ids())
                missing = sorted(self._store.live_chunk_ids() - present)
                surplus = present - self._store.kept_chunk_ids()
                opened.index.delete(surplus)
                self._store.forget_chunks(list(surplus))
                for done in range(0, len(missing), _BATCH):
                    progress(done, len(missing))
                    self.fill(opened, missing[done : done + _BATCH])
                progress(len(missing), len(missing))
                if missing:  # what was replaced while it was restored
                    opened.index.delete(set(missing) - self._store.kept_chunk_ids())
                n_missing, n_surplus = n_missing + len(missing), n_surplus + len(surplus)
        access = self.apply_access(self._store.stale_access())
        return Repair(missing=n_missing, surplus=n_surplus, access=access)

    def fill(self, opened: OpenIndex, chunk_ids: Sequence[ChunkId]) -> None:
        """Write live chunks into one index, from the catalogue's text; those that are gone are passed over."""
        by_document: dict[DocumentId, list[IndexableChunk]] = {}
        for chunk in self._store.live_chunks(chunk_ids):
            by_document.setdefault(chunk.document_id, []).append(chunk)
        for document_id, chunks in by_document.items():
            target = self._store.index_target(document_id)
            vectors = opened.encoders.embedder.embed_documents([chunk.text for chunk in chunks])
            _upsert(opened.index, _points(opened, target, chunks, vectors))
            access = self._store.access_of(document_id)
            if access.epoch != target.acl_epoch:  # changed between the reading and the writing of the list
                _set_access(opened.index, document_id, access)

    def _weigh_anew(self, opened: OpenIndex, calibration: Calibration) -> None:
        present = set(opened.index.chunk_ids())  # the engine refuses the whole batch for one unknown id
        for batch in _batches(sorted(self._store.live_chunk_ids() & present), 1000):
            opened.index.set_sparse(
                {
                    chunk.chunk_id: opened.encoders.sparse.encode_document(
                        chunk.text,
                        language=chunk.language,
                        average_length=calibration.average_length,
                    )
                    for chunk in self._store.live_chunks(batch)
                }
            )

    def _apply(self, opened: OpenIndex, change: Callable[[VectorIndex], None]) -> None:
        """Make a change; an index to go back to that does not take it is given up, the others have to."""
        try:
            change(opened.index)
        except IndexUnavailableError as error:
            if opened.record.state is not IndexState.RETIRED:
                raise
            self._indexes.give_up(opened.record.name, error)


def _points(
    opened: OpenIndex, target: IndexTarget, chunks: Sequence[IndexableChunk], vectors: NDArray[np.float32]
) -> list[Point]:
    if vectors.shape != (len(chunks), opened.encoders.embedder.dimension) or not np.isfinite(vectors).all():
        raise ValueError(f"unusable vectors of shape {vectors.shape} for {len(chunks)} chunks")
    sparse, average = opened.encoders.sparse, opened.record.calibration.average_length
    return [
        _point(target, chunk, vector, sparse, average) for chunk, vector in zip(chunks, vectors, strict=True)
    ]


def _point(
    target: IndexTarget,
    chunk: IndexableChunk,
    vector: NDArray[np.float32],
    sparse: SparseEncoder,
    average: float,
) -> Point:
    acl = list_for(target.acl, target.sections, chunk.place)
    return Point(
        chunk_id=chunk.chunk_id,
        document_id=target.document_id,
        source_id=target.source_id,
        path=target.path,
        media_type=target.media_type,
        language=target.language,
        tags=target.tags,
        modified_at=target.modified_at,
        readers=hashed_readers(acl),
        denied=hashed_denied(acl),
        dense=vector,
        sparse=sparse.encode_document(chunk.text, language=chunk.language, average_length=average),
    )


def _upsert(index: VectorIndex, points: Sequence[Point]) -> None:
    for batch in _batches(points, _BATCH):
        index.upsert(batch)


def _set_access(index: VectorIndex, document_id: DocumentId, access: DocumentAccess) -> None:
    if not access.parts:
        index.set_access(document_id, hashed_readers(access.acl), hashed_denied(access.acl))
        return
    alike: dict[Acl, list[ChunkId]] = {}
    for chunk_id, acl in access.parts.items():
        alike.setdefault(acl, []).append(chunk_id)
    for acl, chunk_ids in alike.items():
        for batch in _batches(chunk_ids, _BATCH):
            index.set_access(document_id, hashed_readers(acl), hashed_denied(acl), only=batch)


def _recalibrated(in_use: Calibration, measured: Calibration) -> tuple[Calibration, bool]:
    """What an index is set to from now on, and whether its weights have to be written anew for it."""
    has_moved = (
        abs(measured.average_length - in_use.average_length) > _TOLERATED_DRIFT * in_use.average_length
    )
    return (measured if has_moved else replace(in_use, languages=measured.languages)), has_moved


def _batches(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))

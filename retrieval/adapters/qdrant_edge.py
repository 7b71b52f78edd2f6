"""`VectorIndex` on Qdrant Edge, the in-process build of the Qdrant engine: one folder, one owner process.

Facts this file rests on (docs/decisions/0003-qdrant-edge.md): updates are in the write-ahead log when `update`
returns, so they survive a killed process; queries release the GIL; `optimize()` holds it for its whole run, so
another process runs it on a copy; a second process cannot open a folder.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as edge

from retrieval.adapters import edge_generations as generations
from retrieval.adapters.edge_optimizing import optimise_folder
from retrieval.adapters.edge_shard import Quantization, create_shard, load_shard
from retrieval.adapters.qdrant_points import (
    DENSE,
    LANGUAGE,
    SPARSE,
    AnyOf,
    Condition,
    Prefix,
    must,
    must_not,
    payload_of,
)
from retrieval.corpus import ChunkId, DocumentId
from retrieval.errors import IndexUnavailableError
from retrieval.ports import Embedding, IndexQuery, Point, SparseVector
from retrieval.query import N_TELLING, Candidate, Legs, SearchMode

T = TypeVar("T")

_log = logging.getLogger(__name__)

_SCROLL_PAGE = 2000
_DELETE_BATCH = 1000
_COPY_BATCH = 256
_FEW = 500
"""So many points are written again in well under a second: writers may wait for that."""
_MOST_ROUNDS = 10


@dataclass(slots=True)
class _Touched:
    """What was written since a copy was made."""

    chunk_ids: set[str] = field(default_factory=set)
    document_ids: set[DocumentId] = field(default_factory=set)


@dataclass(slots=True)
class _Generation:
    """An open shard, and the number of those who read it now. Guarded by the index's lock."""

    folder: Path
    shard: Any
    n_readers: int = 0
    is_replaced: bool = False

    def discard(self) -> None:
        """Close it and delete its folder; called by the last who needs it."""
        self.shard.close()
        shutil.rmtree(self.folder)


class QdrantEdgeIndex:
    """Implements `retrieval.ports.VectorIndex`. Safe to share between threads of its one process."""

    def __init__(
        self,
        folder: Path,
        *,
        dimension: int,
        optimise_above: int = 20_000,
        quantization: Quantization = "none",
    ) -> None:
        """Open the index in a folder, or create it there.

        Args:
            optimise_above: `optimise` does something once more points than this lie outside optimised segments;
                0: never.
            quantization: How vectors are compressed when they are optimised.

        Raises:
            IndexUnavailableError: The folder cannot be opened; another process may hold it.
        """
        self._folder = folder
        self._dimension = dimension
        self._optimise_above = optimise_above
        self._quantization = quantization
        self._writing = threading.Lock()
        self._leasing = threading.Lock()
        self._optimising = threading.Lock()
        self._touched: _Touched | None = None
        self._is_closed = False
        opened = partial(_open, folder, dimension)
        self._generation = _guarded(opened, "the index cannot be opened")

    def upsert(self, points: Sequence[Point]) -> None:
        """See `VectorIndex.upsert`."""
        operation = edge.UpdateOperation.upsert_points([_to_edge(point) for point in points])
        self._update(operation, chunk_ids=[point.chunk_id for point in points])

    def delete(self, chunk_ids: Collection[ChunkId]) -> None:
        """See `VectorIndex.delete`."""
        ids = list(chunk_ids)
        for start in range(0, len(ids), _DELETE_BATCH):
            batch = ids[start : start + _DELETE_BATCH]
            self._update(edge.UpdateOperation.delete_points(list(batch)), chunk_ids=batch)

    def set_access(
        self,
        document_id: DocumentId,
        readers: Sequence[int],
        denied: Sequence[int],
        *,
        only: Collection[ChunkId] | None = None,
    ) -> None:
        """See `VectorIndex.set_access`."""
        named = [] if only is None else [edge.HasIdCondition(set(only))]
        changed = edge.Filter(must=[_condition(AnyOf("document", (document_id,))), *named])
        payload = {"readers": list(readers), "denied": list(denied)}
        operation = edge.UpdateOperation.set_payload_by_filter(changed, payload)
        self._update(operation, document_ids=[document_id])

    def set_sparse(self, vectors: Mapping[ChunkId, SparseVector]) -> None:
        """See `VectorIndex.set_sparse`."""
        changed = [
            edge.PointVectors(chunk_id, {SPARSE: _sparse(vector)}) for chunk_id, vector in vectors.items()
        ]
        self._update(edge.UpdateOperation.update_vectors(changed), chunk_ids=vectors)

    def search(self, query: IndexQuery) -> Legs:
        """See `VectorIndex.search`."""
        condition = edge.Filter(
            must=[_condition(each) for each in must(query.access, query.filters)],
            must_not=[_condition(each) for each in must_not(query.access)],
        )

        def found(shard: Any, leg: Any) -> tuple[Candidate, ...]:
            request = edge.QueryRequest(limit=query.depth, query=leg, filter=condition, with_payload=False)
            points = _guarded(partial(shard.query, request), "the index did not answer")
            return tuple(Candidate(ChunkId(str(point.id)), point.score) for point in points)

        dense: tuple[Candidate, ...] = ()
        sparse: tuple[Candidate, ...] = ()
        languages: tuple[str, ...] = ()
        with self._reading() as shard:
            if query.mode is not SearchMode.SPARSE:
                dense = found(shard, edge.Query.Nearest(query.dense.tolist(), DENSE))
            if query.mode is not SearchMode.DENSE and query.sparse.indices:
                sparse = found(shard, edge.Query.Nearest(_sparse(query.sparse), SPARSE))
                languages = _languages(shard, sparse[:N_TELLING])
        return Legs(dense, sparse, languages)

    def dense_of(self, chunk_ids: Sequence[ChunkId]) -> dict[ChunkId, Embedding]:
        """See `VectorIndex.dense_of`."""
        with self._reading() as shard:
            read = partial(shard.retrieve, list(chunk_ids), with_payload=False, with_vector=[DENSE])
            records = _guarded(read, "the index did not answer")
        return {ChunkId(str(record.id)): np.asarray(record.vector[DENSE], np.float32) for record in records}

    def chunk_ids(self) -> Iterator[ChunkId]:
        """See `VectorIndex.chunk_ids`."""

        def page(request: Any) -> Any:
            with self._reading() as shard:
                return _guarded(partial(shard.scroll, request), "the index did not answer")

        return _ids(page)

    def count(self) -> int:
        """See `VectorIndex.count`."""
        request = edge.CountRequest(exact=True)
        with self._reading() as shard:
            return int(_guarded(partial(shard.count, request), "the index did not answer"))

    def optimise(self, *, is_stopped: Callable[[], bool]) -> bool:
        """See `VectorIndex.optimise`.

        The shard's folder is copied while writers wait. Another process optimises the copy. What was written
        meanwhile is copied after it, in rounds that become shorter, and the copy takes the shard's place.
        """
        if not self._optimise_above or not self._optimising.acquire(blocking=False):
            return False
        try:
            if self.n_unoptimised() <= self._optimise_above:
                return False
            if not generations.has_room_for_next(self._generation.folder):
                _log.warning("no room to optimise the index", extra={"index": self._folder.name})
                return False
            return self._optimise(lambda: is_stopped() or self._is_closed)
        finally:
            self._touched = None
            self._optimising.release()

    def n_unoptimised(self) -> int:
        """Number of points that lie outside optimised segments: each search reads every one of them."""
        with self._reading() as shard:
            info = _guarded(shard.info, "the index did not answer")
        # Sparse vectors always count as indexed, dense ones only within optimised segments: what came since
        # the last optimisation is counted once.
        return int(info.indexed_vectors_count) - generations.n_indexed_at_first(self._generation.folder)

    def flush(self) -> None:
        """See `VectorIndex.flush`."""
        with self._writing:
            _guarded(self._generation.shard.flush, "the index cannot be written")

    def close(self) -> None:
        """See `VectorIndex.close`."""
        with self._writing:
            self._is_closed = True
            _guarded(self._generation.shard.close, "the index cannot be closed")

    def _update(
        self, operation: Any, *, chunk_ids: Iterable[str] = (), document_ids: Iterable[DocumentId] = ()
    ) -> None:
        with self._writing:
            if self._touched is not None:
                self._touched.chunk_ids.update(chunk_ids)
                self._touched.document_ids.update(document_ids)
            _guarded(partial(self._generation.shard.update, operation), "the index cannot be written")

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """The shard of now, open until the block ends even when another takes its place meanwhile."""
        with self._leasing:
            generation = self._generation
            generation.n_readers += 1
        try:
            yield generation.shard
        finally:
            with self._leasing:
                generation.n_readers -= 1
                is_last = generation.is_replaced and not generation.n_readers
            if is_last:
                generation.discard()

    def _optimise(self, is_stopped: Callable[[], bool]) -> bool:
        began = time.monotonic()
        folder = generations.following(self._generation.folder)
        try:
            with self._writing:
                _guarded(self._generation.shard.flush, "the index cannot be written")
                generations.copy(self._generation.folder, folder)
                self._touched = _Touched()
            is_done = optimise_folder(
                folder,
                dimension=self._dimension,
                quantization=self._quantization,
                is_stopped=is_stopped,
            )
            if not is_done:
                if not is_stopped():
                    _log.warning("index not optimised", extra={"index": self._folder.name})
                return False
            new = _Generation(
                folder, _guarded(partial(load_shard, folder), "the optimised index cannot be opened")
            )
            try:
                _guarded(partial(self._take_over, new), "the optimised index cannot be taken over")
            except IndexUnavailableError:
                new.shard.close()
                raise
        finally:
            if self._generation.folder != folder:
                shutil.rmtree(folder, ignore_errors=True)
        facts = {"index": self._folder.name, "seconds": round(time.monotonic() - began, 1)}
        _log.info("index optimised", extra=facts)
        return True

    def _take_over(self, new: _Generation) -> None:
        """Put an optimised copy in the place of the shard, once it has everything that was written meanwhile."""
        n_indexed = new.shard.info().indexed_vectors_count
        for _ in range(_MOST_ROUNDS):
            with self._writing:
                touched, self._touched = self._touched or _Touched(), _Touched()
            if self._copy_touched(touched, new.shard) <= _FEW:
                break
        with self._writing:
            if self._is_closed:
                raise IndexUnavailableError("the index was closed meanwhile")
            self._copy_touched(self._touched or _Touched(), new.shard)
            new.shard.flush()
            generations.complete(new.folder, n_indexed)
            with self._leasing:
                old, self._generation = self._generation, new
                old.is_replaced = True
                is_free = not old.n_readers
        if is_free:
            old.discard()

    def _copy_touched(self, touched: _Touched, new: Any) -> int:
        """Bring points as they are now into another shard; returns their number."""
        shard = self._generation.shard
        ids = sorted(touched.chunk_ids | set(_ids_in_documents(shard, touched.document_ids)))
        for start in range(0, len(ids), _COPY_BATCH):
            batch = ids[start : start + _COPY_BATCH]
            records = shard.retrieve(list(batch), with_payload=True, with_vector=True)
            gone = set(batch) - {str(record.id) for record in records}
            if records:
                points = [edge.Point(record.id, record.vector, record.payload) for record in records]
                new.update(edge.UpdateOperation.upsert_points(points))
            if gone:
                new.update(edge.UpdateOperation.delete_points(list(gone)))
        return len(ids)


def _open(folder: Path, dimension: int) -> _Generation:
    existing = generations.current(folder)
    if existing is not None:
        return _Generation(existing, load_shard(existing))
    first = generations.first(folder)
    shard = create_shard(first, dimension)
    shard.flush()
    generations.complete(first, 0)
    return _Generation(first, shard)


def _ids_in_documents(shard: Any, document_ids: Collection[DocumentId]) -> Iterator[ChunkId]:
    return _ids(shard.scroll, _in_documents(document_ids)) if document_ids else iter(())


def _ids(page: Callable[[Any], Any], condition: Any = None) -> Iterator[ChunkId]:
    """Ids of the points that pass, page by page."""
    offset: Any = None
    while True:
        request = edge.ScrollRequest(
            offset=offset, limit=_SCROLL_PAGE, with_payload=False, with_vector=False, filter=condition
        )
        records, offset = page(request)
        yield from (ChunkId(str(record.id)) for record in records)
        if offset is None:
            return


def _languages(shard: Any, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    ids = [each.chunk_id for each in candidates]
    read = partial(shard.retrieve, ids, with_payload=[LANGUAGE], with_vector=False)
    return tuple(record.payload[LANGUAGE] for record in _guarded(read, "the index did not answer"))


def _in_documents(document_ids: Iterable[DocumentId]) -> Any:
    return edge.Filter(must=[_condition(AnyOf("document", tuple(document_ids)))])


def _guarded(call: Callable[[], T], failure: str) -> T:
    """Run an engine call; whatever the engine raises becomes our one error."""
    try:
        return call()
    except Exception as error:  # the engine raises plain Exception for everything: there is no narrower class
        raise IndexUnavailableError(f"{failure}: {error}") from error


def _to_edge(point: Point) -> Any:
    vectors = {DENSE: point.dense.tolist(), SPARSE: _sparse(point.sparse)}
    return edge.Point(point.chunk_id, vectors, payload_of(point))


def _sparse(vector: SparseVector) -> Any:
    return edge.SparseVector(list(vector.indices), list(vector.values))


def _condition(condition: Condition) -> Any:
    if isinstance(condition, AnyOf):
        values: Any = list(condition.values)
        return edge.FieldCondition(key=condition.key, match=edge.MatchAny(values))
    if isinstance(condition, Prefix):
        return edge.FieldCondition(key=condition.key, match=edge.MatchPrefix(condition.value))
    limits = edge.RangeFloat(gte=condition.since, lt=condition.until)
    return edge.FieldCondition(key=condition.key, range=limits)

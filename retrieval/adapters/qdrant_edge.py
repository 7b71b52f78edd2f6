"""`VectorIndex` on Qdrant Edge, the in-process build of the Qdrant engine: one folder, one owner process.

Facts this file rests on (docs/decisions/0003-qdrant-edge.md): updates are in the write-ahead log when `update`
returns, so they survive a killed process; queries release the GIL; `optimize()` holds it for its whole run and
is therefore never called here; a second process cannot open the folder.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as edge

from retrieval.adapters.qdrant_points import (
    DENSE,
    INTEGER_FIELDS,
    KEYWORD_FIELDS,
    LANGUAGE,
    PREFIX_FIELD,
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
from retrieval.query import Candidate, Legs, SearchMode

T = TypeVar("T")

_SCROLL_PAGE = 2000
_DELETE_BATCH = 1000


class QdrantEdgeIndex:
    """Implements `retrieval.ports.VectorIndex`. Safe to share between threads of its one process."""

    def __init__(self, folder: Path, *, dimension: int) -> None:
        """Open the index in a folder, or create it there.

        Raises:
            IndexUnavailableError: The folder cannot be opened; another process may hold it.
        """
        self._writing = threading.Lock()
        self._shard = _guarded(partial(_open, folder, dimension), "the index cannot be opened")

    def upsert(self, points: Sequence[Point]) -> None:
        """See `VectorIndex.upsert`."""
        self._update(edge.UpdateOperation.upsert_points([_to_edge(point) for point in points]))

    def delete(self, chunk_ids: Collection[ChunkId]) -> None:
        """See `VectorIndex.delete`."""
        ids = list(chunk_ids)
        for start in range(0, len(ids), _DELETE_BATCH):
            self._update(edge.UpdateOperation.delete_points(list(ids[start : start + _DELETE_BATCH])))

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
        self._update(edge.UpdateOperation.set_payload_by_filter(changed, payload))

    def set_sparse(self, vectors: Mapping[ChunkId, SparseVector]) -> None:
        """See `VectorIndex.set_sparse`."""
        changed = [
            edge.PointVectors(chunk_id, {SPARSE: _sparse(vector)}) for chunk_id, vector in vectors.items()
        ]
        self._update(edge.UpdateOperation.update_vectors(changed))

    def search(self, query: IndexQuery) -> Legs:
        """See `VectorIndex.search`."""
        condition = edge.Filter(
            must=[_condition(each) for each in must(query.access, query.filters)],
            must_not=[_condition(each) for each in must_not(query.access)],
        )

        def found(leg: Any) -> tuple[Candidate, ...]:
            request = edge.QueryRequest(
                limit=query.depth, query=leg, filter=condition, with_payload=[LANGUAGE]
            )
            points = _guarded(partial(self._shard.query, request), "the index did not answer")
            return tuple(
                Candidate(ChunkId(str(point.id)), point.score, point.payload[LANGUAGE]) for point in points
            )

        dense: tuple[Candidate, ...] = ()
        sparse: tuple[Candidate, ...] = ()
        if query.mode is not SearchMode.SPARSE:
            dense = found(edge.Query.Nearest(query.dense.tolist(), DENSE))
        if query.mode is not SearchMode.DENSE and query.sparse.indices:
            sparse = found(edge.Query.Nearest(_sparse(query.sparse), SPARSE))
        return Legs(dense, sparse)

    def dense_of(self, chunk_ids: Sequence[ChunkId]) -> dict[ChunkId, Embedding]:
        """See `VectorIndex.dense_of`."""
        read = partial(self._shard.retrieve, list(chunk_ids), with_payload=False, with_vector=[DENSE])
        records = _guarded(read, "the index did not answer")
        return {ChunkId(str(record.id)): np.asarray(record.vector[DENSE], np.float32) for record in records}

    def chunk_ids(self) -> Iterator[ChunkId]:
        """See `VectorIndex.chunk_ids`."""
        offset: Any = None
        while True:
            request = edge.ScrollRequest(
                offset=offset, limit=_SCROLL_PAGE, with_payload=False, with_vector=False
            )
            records, offset = _guarded(partial(self._shard.scroll, request), "the index did not answer")
            yield from (ChunkId(str(record.id)) for record in records)
            if offset is None:
                return

    def count(self) -> int:
        """See `VectorIndex.count`."""
        request = edge.CountRequest(exact=True)
        return int(_guarded(partial(self._shard.count, request), "the index did not answer"))

    def flush(self) -> None:
        """See `VectorIndex.flush`."""
        with self._writing:
            _guarded(self._shard.flush, "the index cannot be written")

    def close(self) -> None:
        """See `VectorIndex.close`."""
        with self._writing:
            _guarded(self._shard.close, "the index cannot be closed")

    def _update(self, operation: Any) -> None:
        with self._writing:
            _guarded(partial(self._shard.update, operation), "the index cannot be written")


def _open(folder: Path, dimension: int) -> Any:
    if (folder / "edge_config.json").exists() or (folder / "segments").exists():
        return edge.EdgeShard.load(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    shard = edge.EdgeShard.create(
        str(folder),
        edge.EdgeConfig(
            vectors={DENSE: edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Dot)},
            sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        ),
    )
    schemas: dict[str, Any] = {PREFIX_FIELD: edge.KeywordIndexParams(prefix=True)}
    schemas |= dict.fromkeys(KEYWORD_FIELDS, edge.PayloadSchemaType.Keyword)
    schemas |= dict.fromkeys(INTEGER_FIELDS, edge.PayloadSchemaType.Integer)
    for name, schema in schemas.items():  # before the first point: filters are cheap from the start
        shard.update(edge.UpdateOperation.create_field_index(name, schema))
    return shard


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

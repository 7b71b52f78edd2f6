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

import qdrant_edge as edge

from retrieval.access import AccessFilter
from retrieval.corpus import ChunkId, DocumentId
from retrieval.errors import IndexUnavailableError
from retrieval.ports import Embedding, IndexQuery, Point, SparseVector
from retrieval.query import Candidate, SearchFilters, SearchMode

T = TypeVar("T")

DENSE, SPARSE = "dense", "sparse"
_SCROLL_PAGE = 2000
_DELETE_BATCH = 1000

_PAYLOAD_INDEXES: dict[str, Any] = {
    "readers": edge.PayloadSchemaType.Integer,
    "denied": edge.PayloadSchemaType.Integer,
    "document": edge.PayloadSchemaType.Keyword,
    "source": edge.PayloadSchemaType.Keyword,
    "type": edge.PayloadSchemaType.Keyword,
    "language": edge.PayloadSchemaType.Keyword,
    "tags": edge.PayloadSchemaType.Keyword,
    "modified": edge.PayloadSchemaType.Integer,
    "path": edge.KeywordIndexParams(prefix=True),
}


class QdrantEdgeIndex:
    """Implements `retrieval.ports.VectorIndex`. Safe to share between threads of its one process."""

    def __init__(self, folder: Path, *, dimension: int) -> None:
        """Open the index in a folder, or create it there.

        Raises:
            IndexUnavailableError: The folder cannot be opened; another process may hold it.
        """
        self._writing = threading.Lock()
        self._shard = _guarded(lambda: _open(folder, dimension), "the index cannot be opened")

    def upsert(self, points: Sequence[Point]) -> None:
        """See `VectorIndex.upsert`."""
        self._update(edge.UpdateOperation.upsert_points([_to_edge(point) for point in points]))

    def delete(self, chunk_ids: Collection[ChunkId]) -> None:
        """See `VectorIndex.delete`."""
        ids = list(chunk_ids)
        for start in range(0, len(ids), _DELETE_BATCH):
            self._update(edge.UpdateOperation.delete_points(list(ids[start : start + _DELETE_BATCH])))

    def set_access(self, document_id: DocumentId, readers: Sequence[int], denied: Sequence[int]) -> None:
        """See `VectorIndex.set_access`."""
        of_document = edge.Filter(must=[_match("document", [document_id])])
        payload = {"readers": list(readers), "denied": list(denied)}
        self._update(edge.UpdateOperation.set_payload_by_filter(of_document, payload))

    def set_sparse(self, vectors: Mapping[ChunkId, SparseVector]) -> None:
        """See `VectorIndex.set_sparse`."""
        changed = [
            edge.PointVectors(chunk_id, {SPARSE: _sparse(vector)}) for chunk_id, vector in vectors.items()
        ]
        self._update(edge.UpdateOperation.update_vectors(changed))

    def search(self, query: IndexQuery) -> list[Candidate]:
        """See `VectorIndex.search`."""
        request = _request(query, _filter(query.access, query.filters))
        if request is None:
            return []
        points = _guarded(lambda: self._shard.query(request), "the index did not answer")
        return [Candidate(ChunkId(str(point.id)), point.score) for point in points]

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
        return int(
            _guarded(lambda: self._shard.count(edge.CountRequest(exact=True)), "the index did not answer")
        )

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
            _guarded(lambda: self._shard.update(operation), "the index cannot be written")


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
    for name, schema in _PAYLOAD_INDEXES.items():  # before the first point: filters are cheap from the start
        shard.update(edge.UpdateOperation.create_field_index(name, schema))
    return shard


def _guarded(call: Callable[[], T], failure: str) -> T:
    """Run an engine call; whatever the engine raises becomes our one error."""
    try:
        return call()
    except Exception as error:  # the engine raises plain Exception for everything: there is no narrower class
        raise IndexUnavailableError(f"{failure}: {error}") from error


def _to_edge(point: Point) -> Any:
    payload = {
        "readers": list(point.readers),
        "denied": list(point.denied),
        "document": point.document_id,
        "source": point.source_id,
        "type": point.media_type,
        "language": point.language,
        "tags": list(point.tags),
        "modified": int(point.modified_at.timestamp()),
        "path": point.path,
    }
    vectors = {DENSE: point.dense.tolist(), SPARSE: _sparse(point.sparse)}
    return edge.Point(point.chunk_id, vectors, payload)


def _sparse(vector: SparseVector) -> Any:
    return edge.SparseVector(list(vector.indices), list(vector.values))


def _request(query: IndexQuery, condition: Any) -> Any:
    """The engine's request, or None when no leg has anything to look for."""
    legs = []
    if query.mode is not SearchMode.SPARSE:
        legs.append((_nearest_dense(query.dense), DENSE))
    if query.mode is not SearchMode.DENSE and query.sparse.indices:
        legs.append((edge.Query.Nearest(_sparse(query.sparse), SPARSE), SPARSE))
    if not legs:
        return None
    if len(legs) == 1:
        return edge.QueryRequest(limit=query.limit, query=legs[0][0], filter=condition, with_payload=False)
    prefetches = [edge.Prefetch(limit=query.depth, query=leg, filter=condition) for leg, _ in legs]
    return edge.QueryRequest(
        limit=query.limit,
        prefetches=prefetches,
        query=edge.Fusion.Dbsf(),  # type: ignore[arg-type]  # the stubs forget that it is a Fusion
        with_payload=False,
    )


def _nearest_dense(vector: Embedding) -> Any:
    return edge.Query.Nearest(vector.tolist(), DENSE)


def _filter(access: AccessFilter, filters: SearchFilters) -> Any:
    principals = sorted(access.principals)
    must: list[Any] = [edge.FieldCondition(key="readers", match=edge.MatchAny(principals))]
    for key, values in (
        ("source", filters.sources),
        ("type", filters.media_types),
        ("language", filters.languages),
        ("tags", filters.tags),
        ("document", filters.documents),
    ):
        if values:
            must.append(_match(key, values))
    if filters.path_prefix:
        must.append(edge.FieldCondition(key="path", match=edge.MatchPrefix(filters.path_prefix)))
    if filters.modified_after or filters.modified_before:
        since = filters.modified_after.timestamp() if filters.modified_after else None
        until = filters.modified_before.timestamp() if filters.modified_before else None
        must.append(edge.FieldCondition(key="modified", range=edge.RangeFloat(gte=since, lt=until)))
    denied = edge.FieldCondition(key="denied", match=edge.MatchAny(principals))
    return edge.Filter(must=must, must_not=[denied])


def _match(key: str, values: Sequence[str]) -> Any:
    return edge.FieldCondition(key=key, match=edge.MatchAny(list(values)))

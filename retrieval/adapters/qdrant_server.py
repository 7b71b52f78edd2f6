"""`VectorIndex` on a Qdrant server, through qdrant-client: for a desk that is several processes.

The contract suite runs on the client's own in-process engine here; the true server's set-up is in compose.yaml.
Writes wait until they are applied (`wait=True`), so a document is published only when its points can be found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import httpx
import numpy as np
from grpc import RpcError
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from retrieval.adapters.qdrant_points import (
    DENSE,
    INTEGER_FIELDS,
    KEYWORD_FIELDS,
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
from retrieval.query import Candidate, SearchMode

_SCROLL_PAGE = 1000
_VENDOR_ERRORS = (ApiException, httpx.HTTPError, RpcError, RuntimeError, ValueError, ConnectionError)
"""What the client raises: REST, transport, gRPC, and the in-process engine's plain errors."""


class QdrantServerIndex:
    """Implements `retrieval.ports.VectorIndex`. Safe to share between threads and processes."""

    def __init__(self, client: QdrantClient, collection: str, *, dimension: int) -> None:
        """Use a collection, made with its payload indexes when absent.

        Args:
            client: Connected to a server; closed with the index.
            collection: Name of the collection.
            dimension: Length of the dense vectors.

        Raises:
            IndexUnavailableError: The server does not answer.
        """
        self._client = client
        self._collection = collection
        with _translated():
            if not client.collection_exists(collection):
                _create(client, collection, dimension)

    def upsert(self, points: Sequence[Point]) -> None:
        """See `VectorIndex.upsert`."""
        structures = [
            models.PointStruct(
                id=point.chunk_id,
                vector={DENSE: point.dense.tolist(), SPARSE: _sparse(point.sparse)},
                payload=payload_of(point),
            )
            for point in points
        ]
        with _translated():
            self._client.upsert(self._collection, structures, wait=True)

    def delete(self, chunk_ids: Collection[ChunkId]) -> None:
        """See `VectorIndex.delete`."""
        if chunk_ids:
            selector = models.PointIdsList(points=list(chunk_ids))
            with _translated():
                self._client.delete(self._collection, selector, wait=True)

    def set_access(self, document_id: DocumentId, readers: Sequence[int], denied: Sequence[int]) -> None:
        """See `VectorIndex.set_access`."""
        of_document = models.Filter(must=[_condition(AnyOf("document", (document_id,)))])
        payload = {"readers": list(readers), "denied": list(denied)}
        with _translated():
            self._client.set_payload(self._collection, payload, points=of_document, wait=True)

    def set_sparse(self, vectors: Mapping[ChunkId, SparseVector]) -> None:
        """See `VectorIndex.set_sparse`."""
        changed = [
            models.PointVectors(id=chunk_id, vector={SPARSE: _sparse(vector)})
            for chunk_id, vector in vectors.items()
        ]
        with _translated():
            self._client.update_vectors(self._collection, changed, wait=True)

    def search(self, query: IndexQuery) -> list[Candidate]:
        """See `VectorIndex.search`."""
        legs = _legs(query)
        if not legs:
            return []
        fused: dict[str, Any] = {
            "prefetch": legs,
            "query": models.FusionQuery(fusion=models.Fusion.DBSF),
        }
        (first, *others) = legs
        single: dict[str, Any] = {
            "query": first.query,
            "using": first.using,
            "query_filter": first.filter,
        }
        with _translated():
            found = self._client.query_points(
                self._collection,
                limit=query.limit,
                with_payload=False,
                **(fused if others else single),
            )
        return [Candidate(ChunkId(str(point.id)), point.score) for point in found.points]

    def dense_of(self, chunk_ids: Sequence[ChunkId]) -> dict[ChunkId, Embedding]:
        """See `VectorIndex.dense_of`."""
        ids: list[Any] = list(chunk_ids)
        with _translated():
            records = self._client.retrieve(
                self._collection, ids=ids, with_payload=False, with_vectors=[DENSE]
            )
        found: dict[ChunkId, Embedding] = {}
        for record in records:
            vectors = record.vector
            if isinstance(vectors, dict):
                found[ChunkId(str(record.id))] = np.asarray(vectors[DENSE], np.float32)
        return found

    def chunk_ids(self) -> Iterator[ChunkId]:
        """See `VectorIndex.chunk_ids`."""
        offset: Any = None
        while True:
            with _translated():
                records, offset = self._client.scroll(
                    self._collection,
                    limit=_SCROLL_PAGE,
                    offset=offset,
                    with_payload=False,
                    with_vectors=False,
                )
            yield from (ChunkId(str(record.id)) for record in records)
            if offset is None:
                return

    def count(self) -> int:
        """See `VectorIndex.count`."""
        with _translated():
            return self._client.count(self._collection, exact=True).count

    def flush(self) -> None:
        """See `VectorIndex.flush`; every write has waited, so there is nothing to do."""

    def close(self) -> None:
        """See `VectorIndex.close`."""
        self._client.close()


def connect(url: str, collection: str, *, api_key: str, dimension: int) -> QdrantServerIndex:
    """An index on the server at `url`.

    Raises:
        IndexUnavailableError: The server does not answer.
    """
    client = QdrantClient(url=url, api_key=api_key or None, check_compatibility=False)
    return QdrantServerIndex(client, collection, dimension=dimension)


def drop_collection(url: str, collection: str, *, api_key: str) -> None:
    """Delete a collection; one that is not there is ignored.

    Raises:
        IndexUnavailableError: The server does not answer.
    """
    client = QdrantClient(url=url, api_key=api_key or None, check_compatibility=False)
    with closing(client), _translated():
        client.delete_collection(collection)


def _create(client: QdrantClient, collection: str, dimension: int) -> None:
    client.create_collection(
        collection,
        vectors_config={DENSE: models.VectorParams(size=dimension, distance=models.Distance.DOT)},
        sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    schemas: dict[str, Any] = {
        PREFIX_FIELD: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True)
    }
    schemas |= dict.fromkeys(KEYWORD_FIELDS, models.PayloadSchemaType.KEYWORD)
    schemas |= dict.fromkeys(INTEGER_FIELDS, models.PayloadSchemaType.INTEGER)
    for name, schema in schemas.items():  # before the first point: filters are cheap from the start
        client.create_payload_index(collection, name, schema, wait=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _VENDOR_ERRORS as error:
        raise IndexUnavailableError(f"the index server did not answer: {type(error).__name__}") from error


def _legs(query: IndexQuery) -> list[models.Prefetch]:
    """One filtered search per leg that has anything to look for."""
    condition = models.Filter(
        must=[_condition(each) for each in must(query.access, query.filters)],
        must_not=[_condition(must_not(query.access))],
    )
    legs = []
    if query.mode is not SearchMode.SPARSE:
        legs.append(
            models.Prefetch(query=query.dense.tolist(), using=DENSE, limit=query.depth, filter=condition)
        )
    if query.mode is not SearchMode.DENSE and query.sparse.indices:
        sparse = _sparse(query.sparse)
        legs.append(models.Prefetch(query=sparse, using=SPARSE, limit=query.depth, filter=condition))
    return legs


def _sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=list(vector.indices), values=list(vector.values))


def _condition(condition: Condition) -> models.FieldCondition:
    if isinstance(condition, AnyOf):
        return models.FieldCondition(
            key=condition.key,
            match=models.MatchAny(any=list(condition.values)),
        )
    if isinstance(condition, Prefix):
        return models.FieldCondition(key=condition.key, match=models.MatchPrefix(prefix=condition.value))
    limits = models.Range(gte=condition.since, lt=condition.until)
    return models.FieldCondition(key=condition.key, range=limits)

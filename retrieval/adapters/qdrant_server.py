"""`VectorIndex` on a Qdrant server, through qdrant-client: for a desk that is several processes.

The contract suite runs on the client's own in-process engine here; the true server's set-up is in compose.yaml.
Writes wait until they are applied (`wait=True`), so a document is published only when its points can be found; on a
cluster, applied means on as many replicas as the write consistency asks for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
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
from retrieval.query import N_TELLING, Candidate, Legs, SearchMode

_log = logging.getLogger(__name__)

_TELLING = "telling"
"""Name of the search for what tells the language of the question."""

_SCROLL_PAGE = 1000
_WRITE_BATCH = 256
"""Most points in one request; the pipeline sends 128 at a time."""

_VENDOR_ERRORS = (ApiException, httpx.HTTPError, RpcError, RuntimeError, ValueError, ConnectionError)
"""What the client raises: REST, transport, gRPC, and the in-process engine's plain errors."""


@dataclass(frozen=True, slots=True)
class QdrantServer:
    """Where the server is.

    Attributes:
        url: Base URL of its REST interface; gRPC is on the same host.
        grpc_port: Port of its gRPC interface, 0 to use REST only.
        api_key: Empty where it wants none.
        timeout_s: Longest wait for one reply, seconds.
    """

    url: str
    grpc_port: int = 6334
    api_key: str = ""
    timeout_s: int = 30


@dataclass(frozen=True, slots=True)
class CollectionLayout:
    """How a new collection lies on the servers; one that exists keeps its own.

    Attributes:
        dimension: Length of the dense vectors.
        shards: Parts that the collection is split into.
        replicas: Copies of each part.
        write_consistency: Copies that have to confirm a write.
        quantization: `none`, `int8` (a quarter of the memory) or `binary` (a thirty-second).
    """

    dimension: int
    shards: int = 1
    replicas: int = 1
    write_consistency: int = 1
    quantization: str = "none"


class QdrantServerIndex:
    """Implements `retrieval.ports.VectorIndex`. Safe to share between threads and processes."""

    def __init__(self, client: QdrantClient, collection: str, layout: CollectionLayout) -> None:
        """Use a collection, made with its payload indexes when absent.

        Args:
            client: Connected to a server; closed with the index.
            collection: Name of the collection.
            layout: Of a new collection.

        Raises:
            IndexUnavailableError: The server does not answer.
        """
        self._client = client
        self._collection = collection
        with _translated():
            if not client.collection_exists(collection):
                _create(client, collection, layout)

    def upsert(self, points: Sequence[Point]) -> None:
        """See `VectorIndex.upsert`."""
        for start in range(0, len(points), _WRITE_BATCH):
            structures = [
                models.PointStruct(
                    id=point.chunk_id,
                    vector={DENSE: point.dense.tolist(), SPARSE: _sparse(point.sparse)},
                    payload=payload_of(point),
                )
                for point in points[start : start + _WRITE_BATCH]
            ]
            with _translated():
                self._client.upsert(self._collection, structures, wait=True)

    def delete(self, chunk_ids: Collection[ChunkId]) -> None:
        """See `VectorIndex.delete`."""
        if chunk_ids:
            selector = models.PointIdsList(points=list(chunk_ids))
            with _translated():
                self._client.delete(self._collection, selector, wait=True)

    def set_access(
        self,
        document_id: DocumentId,
        readers: Sequence[int],
        denied: Sequence[int],
        *,
        only: Collection[ChunkId] | None = None,
    ) -> None:
        """See `VectorIndex.set_access`."""
        named = [] if only is None else [models.HasIdCondition(has_id=list(only))]
        changed = models.Filter(must=[_condition(AnyOf("document", (document_id,))), *named])
        payload = {"readers": list(readers), "denied": list(denied)}
        with _translated():
            self._client.set_payload(self._collection, payload, points=changed, wait=True)

    def set_sparse(self, vectors: Mapping[ChunkId, SparseVector]) -> None:
        """See `VectorIndex.set_sparse`."""
        changed = [
            models.PointVectors(id=chunk_id, vector={SPARSE: _sparse(vector)})
            for chunk_id, vector in vectors.items()
        ]
        with _translated():
            self._client.update_vectors(self._collection, changed, wait=True)

    def search(self, query: IndexQuery) -> Legs:
        """See `VectorIndex.search`; the legs travel in one request."""
        requests = _requests(query)
        if not requests:
            return Legs()
        with _translated():
            answers = self._client.query_batch_points(self._collection, list(requests.values()))
        found = {name: answer.points for name, answer in zip(requests, answers, strict=True)}
        legs = {
            leg: tuple(Candidate(ChunkId(str(point.id)), point.score) for point in found.get(leg, ()))
            for leg in (DENSE, SPARSE)
        }
        languages = tuple((point.payload or {})[LANGUAGE] for point in found.get(_TELLING, ()))
        return Legs(languages=languages, **legs)

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

    def optimise(self, *, is_stopped: Callable[[], bool]) -> bool:
        """See `VectorIndex.optimise`: the server does it by itself."""
        return False

    def flush(self) -> None:
        """See `VectorIndex.flush`; every write has waited, so there is nothing to do."""

    def close(self) -> None:
        """See `VectorIndex.close`."""
        self._client.close()


def connect(server: QdrantServer, collection: str, layout: CollectionLayout) -> QdrantServerIndex:
    """An index on a server, over gRPC where that answers, else over REST.

    Raises:
        IndexUnavailableError: The server answers on neither.
    """
    return QdrantServerIndex(_client(server), collection, layout)


def drop_collection(server: QdrantServer, collection: str) -> None:
    """Delete a collection; one that is not there is ignored.

    Raises:
        IndexUnavailableError: The server does not answer.
    """
    with closing(_client(server)) as client, _translated():
        client.delete_collection(collection)


def _client(server: QdrantServer) -> QdrantClient:
    def opened(*, prefer_grpc: bool) -> QdrantClient:
        return QdrantClient(
            url=server.url,
            grpc_port=server.grpc_port,
            prefer_grpc=prefer_grpc,
            api_key=server.api_key or None,
            timeout=server.timeout_s,
            check_compatibility=False,
        )

    if not server.grpc_port:
        return opened(prefer_grpc=False)
    client = opened(prefer_grpc=True)
    try:
        client.collection_exists("refdesk")
    except RpcError as error:
        client.close()
        _log.warning("index over REST", extra={"reason": type(error).__name__})
        return opened(prefer_grpc=False)
    return client


def creation_of(layout: CollectionLayout) -> dict[str, Any]:
    """What a new collection is made with."""
    given: dict[str, Any] = {
        "vectors_config": {DENSE: models.VectorParams(size=layout.dimension, distance=models.Distance.DOT)},
        "sparse_vectors_config": {SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        "shard_number": layout.shards,
        "replication_factor": layout.replicas,
        "write_consistency_factor": layout.write_consistency,
    }
    if layout.quantization == "int8":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99)
        given["quantization_config"] = models.ScalarQuantization(scalar=scalar)
    elif layout.quantization == "binary":
        given["quantization_config"] = models.BinaryQuantization(binary=models.BinaryQuantizationConfig())
    return given


def _create(client: QdrantClient, collection: str, layout: CollectionLayout) -> None:
    try:
        client.create_collection(collection, **creation_of(layout))
    except _VENDOR_ERRORS:
        if not client.collection_exists(collection):  # else another process made it at the same moment
            raise
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


def _requests(query: IndexQuery) -> dict[str, models.QueryRequest]:
    """One filtered search by name of the leg, for each leg that has anything to look for.

    The best of the sparse leg are searched for twice, the second time with their languages.
    """
    condition = models.Filter(
        must=[_condition(each) for each in must(query.access, query.filters)],
        must_not=[_condition(each) for each in must_not(query.access)],
    )

    def nearest(
        using: str,
        wanted: list[float] | models.SparseVector,
        *,
        limit: int = query.depth,
        shows: Sequence[str] = (),
    ) -> models.QueryRequest:
        return models.QueryRequest(
            query=models.NearestQuery(nearest=wanted),
            using=using,
            limit=limit,
            filter=condition,
            with_payload=list(shows) or False,
        )

    requests = {}
    if query.mode is not SearchMode.SPARSE:
        requests[DENSE] = nearest(DENSE, query.dense.tolist())
    if query.mode is not SearchMode.DENSE and query.sparse.indices:
        terms = _sparse(query.sparse)
        requests[SPARSE] = nearest(SPARSE, terms)
        requests[_TELLING] = nearest(SPARSE, terms, limit=N_TELLING, shows=[LANGUAGE])
    return requests


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

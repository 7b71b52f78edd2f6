"""What search and ingestion need from the outside: the index, the embedder, the sparse encoder, the catalogue.

Every port is synchronous: the embedded engine, SQLite and Celery are, and FastAPI runs plain functions in its
thread pool (docs/decisions/0002-synchronous-ports.md). Implementations are safe to call from several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.access import AccessFilter, Principal
from retrieval.corpus import ChunkId, DocumentId, Passage, SourceId
from retrieval.query import Legs, SearchFilters, SearchMode

Embedding = NDArray[np.float32]
"""One dense vector, shape `(dimension,)`, unit length."""


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term weights by term id. Ids are distinct; order carries no meaning."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One chunk as the index stores it. Everything a filter may ask for is here; the text is not.

    Attributes:
        dense: Shape `(dimension,)`, float32, unit length.
        readers: Hashed principals who may read the chunk (`access.hashed_readers`).
        denied: Hashed principals who may not (`access.hashed_denied`).
    """

    chunk_id: ChunkId
    document_id: DocumentId
    source_id: SourceId
    path: str
    media_type: str
    language: str
    tags: tuple[str, ...]
    modified_at: datetime
    readers: tuple[int, ...]
    denied: tuple[int, ...]
    dense: Embedding
    sparse: SparseVector


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """A query in the index's terms. `access` is required: there is no search without it.

    Attributes:
        depth: Most candidates that each leg returns.
        mode: The legs that are asked.
    """

    access: AccessFilter
    dense: Embedding
    sparse: SparseVector
    depth: int
    filters: SearchFilters = SearchFilters()
    mode: SearchMode = SearchMode.HYBRID


class VectorIndex(Protocol):
    """Stores points and finds the nearest ones. A copy of the catalogue: it can be dropped and rebuilt.

    Every method raises `IndexUnavailableError` when the engine does not answer.
    """

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points; one with a known id is replaced. Durable against a killed process on return."""
        ...

    def delete(self, chunk_ids: Collection[ChunkId]) -> None:
        """Remove points; unknown ids are ignored."""
        ...

    def set_access(
        self,
        document_id: DocumentId,
        readers: Sequence[int],
        denied: Sequence[int],
        *,
        only: Collection[ChunkId] | None = None,
    ) -> None:
        """Replace the access lists of a document's points, without touching vectors.

        Args:
            document_id: The document.
            readers: Hashed principals who may read (`access.hashed_readers`).
            denied: Hashed principals who may not (`access.hashed_denied`).
            only: Points to change, at most 500; None for all of the document. Unknown ids, and those of other
                documents, are ignored.
        """
        ...

    def set_sparse(self, vectors: Mapping[ChunkId, SparseVector]) -> None:
        """Replace sparse vectors of existing points; used when the average length moved."""
        ...

    def search(self, query: IndexQuery) -> Legs:
        """The best candidates of each leg that pass `query.access` and `query.filters`.

        Access:
            Filtered by hashed principals; callers check each candidate again in the catalogue.
        """
        ...

    def dense_of(self, chunk_ids: Sequence[ChunkId]) -> dict[ChunkId, Embedding]:
        """Stored dense vectors by id; unknown ids are absent. For checking an index, not for search."""
        ...

    def chunk_ids(self) -> Iterator[ChunkId]:
        """Every point id, in no particular order; for reconciliation only."""
        ...

    def count(self) -> int:
        """Number of points."""
        ...

    def optimise(self, *, is_stopped: Callable[[], bool]) -> bool:
        """Rearrange what was written so that searches stay quick, where that is due; says whether it was done.

        May take minutes; searches and writes go on. Every point stays as it is. Engines that see to this
        themselves do nothing.

        Args:
            is_stopped: Asked several times a second; once it is true, the call gives up soon and changes nothing.
        """
        ...

    def flush(self) -> None:
        """Write everything to disk."""
        ...

    def close(self) -> None:
        """Flush and release the engine. The index cannot be used afterwards."""
        ...


class Embedder(Protocol):
    """Turns text into unit vectors whose dot product is their similarity."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever vectors would: model, weights, precision, pooling."""
        ...

    @property
    def languages(self) -> frozenset[str]:
        """ISO 639-1 codes of the languages it was trained for; empty when it is at home in all."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of passages, shape `(len(texts), dimension)`, in order.

        Raises:
            EmbedderUnavailableError: The model did not answer.
        """
        ...

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of passing texts, as `embed_documents`, but never remembered anywhere.

        Raises:
            EmbedderUnavailableError: The model did not answer.
        """
        ...

    def embed_query(self, text: str) -> Embedding:
        """Vector of a question, shape `(dimension,)`.

        Raises:
            EmbedderUnavailableError: The model did not answer.
        """
        ...


class Reranker(Protocol):
    """Scores how well passages answer a question by reading the two together. Search can do without one."""

    @property
    def fingerprint(self) -> str:
        """Names the model, for reports: another one where scores could be others."""
        ...

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """One score per passage, in the order of the passages; higher is better.

        Scores are finite and compare within one call only; their range is the model's, often 0 to 1. A
        passage's score does not depend on the other passages, rounding apart. What is longer than the model
        reads is cut at its end. The call takes no longer than the reranker was opened to take.

        Raises:
            RerankerUnavailableError: The model did not answer, not in time, or not with such scores.

        Access:
            A server's client sends the texts out of the process: hand over only what the asker may read.
        """
        ...


class SparseEncoder(Protocol):
    """Turns text into BM25 term weights; the index multiplies the inverse document frequency."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever term ids or weights would, the average length apart."""
        ...

    def encode_document(self, text: str, *, language: str, average_length: float) -> SparseVector:
        """Saturated term frequencies, normalised by length against the corpus's average (in terms).

        Args:
            text: The indexed text of a chunk.
            language: ISO 639-1 code of its document's language, or `und`: it decides how words are stemmed.
            average_length: Mean of `count_terms` over the corpus.
        """
        ...

    def encode_query(self, text: str, *, languages: Sequence[str] = ("en",)) -> SparseVector:
        """Each distinct term of a query, as documents in each of these languages would have it, with weight 1."""
        ...

    def count_terms(self, text: str, *, language: str) -> int:
        """Number of terms the encoder sees in a text; the average of this is the average length."""
        ...


class CorpusReader(Protocol):
    """The catalogue, as far as search reads it."""

    def passages(self, chunk_ids: Iterable[ChunkId]) -> dict[ChunkId, Passage]:
        """Chunks of current versions of live documents, with their access lists as committed now.

        Ids of replaced versions, deleted documents, documents of `outdated_sources` or nothing at all are
        absent from the result.

        Access:
            Unchecked: callers apply `permits` to each passage before use.

        Raises:
            CatalogueUnavailableError: The catalogue did not answer; nothing may be shown then.
        """
        ...

    def outdated_sources(self) -> frozenset[SourceId]:
        """Sources whose permission data are older than is allowed now: nobody is shown their documents.

        Raises:
            CatalogueUnavailableError: The catalogue did not answer.
        """
        ...

    def readable(self, document_ids: Collection[DocumentId], principal: Principal) -> frozenset[DocumentId]:
        """Those of the documents that are there and that the principal may read, as committed now.

        Raises:
            CatalogueUnavailableError: The catalogue did not answer.
        """
        ...


class BlobStore(Protocol):
    """Keeps bytes by key: extracted texts, and documents that clients pushed."""

    def put(self, key: str, content: bytes) -> None:
        """Store bytes under a key, atomically; an old value is replaced."""
        ...

    def get(self, key: str) -> bytes:
        """The bytes; `NotFoundError` when the key is unknown."""
        ...

    def delete(self, key: str) -> None:
        """Drop a key; an unknown one is ignored."""
        ...

"""`Embedder` on a server that speaks OpenAI's `POST /embeddings`, as vLLM and Text Embeddings Inference do.

The server decides about pooling; vectors are made unit length here. Texts longer than the model reads are cut by
vLLM because it is asked to, and by TEI because that is its default (`--auto-truncate`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from retrieval.adapters.model_server import MAX_TEXTS, ModelServer, ModelServerError, in_order
from retrieval.errors import EmbedderUnavailableError
from retrieval.ports import Embedding

_PROBE = "Which way to the reference desk?"
_CUT_TO_FIT = {"encoding_format": "float", "truncate_prompt_tokens": -1}


class _Item(BaseModel):
    index: int
    embedding: list[float]


class _Embeddings(BaseModel):
    data: list[_Item]


class HttpEmbedder:
    """Implements `retrieval.ports.Embedder`. Safe to share between threads."""

    def __init__(self, server: ModelServer, *, query_prefix: str = "", document_prefix: str = "") -> None:
        """Ask the server for one vector, to learn their dimension.

        Args:
            server: Stays the caller's to close.
            query_prefix: Put before every question: a server does not know which text is one.
            document_prefix: Put before every passage.

        Raises:
            EmbedderUnavailableError: The server gives no vector.
        """
        self._server = server
        self._query_prefix = query_prefix
        self._document_prefix = document_prefix
        self._dimension = 0
        self._dimension = self._embedded([_PROBE]).shape[1]

    @property
    def fingerprint(self) -> str:
        """See `Embedder.fingerprint`: name, dimension and prefixes. The weights are the server's own affair.

        Whoever serves other weights gives them another name; `retrieval.wiring` notices when that is forgotten.
        """
        prefixes = f"{self._query_prefix}\x1f{self._document_prefix}".encode()
        digest = hashlib.sha256(prefixes).hexdigest()[:8]
        return f"{self._server.settings.model.replace('|', '-')}/{self._dimension}/{digest}/server"

    @property
    def languages(self) -> frozenset[str]:
        """See `Embedder.languages`; models seldom say, so it counts as at home in all."""
        return frozenset()

    @property
    def dimension(self) -> int:
        """See `Embedder.dimension`."""
        return self._dimension

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`; sent in batches, each with its own limit of time."""
        vectors = np.empty((len(texts), self._dimension), np.float32)
        for start in range(0, len(texts), MAX_TEXTS):
            batch = [self._document_prefix + text for text in texts[start : start + MAX_TEXTS]]
            vectors[start : start + len(batch)] = self._embedded(batch)
        return vectors

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_texts`."""
        return self.embed_documents(texts)

    def embed_query(self, text: str) -> Embedding:
        """See `Embedder.embed_query`."""
        vector: Embedding = self._embedded([self._query_prefix + text])[0]
        return vector

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        due = time.monotonic() + self._server.settings.time_s
        try:
            body = {"input": list(texts), **_CUT_TO_FIT}
            reply = self._server.post("/embeddings", body, _Embeddings, due=due)
            rows = in_order(((item.index, item.embedding) for item in reply.data), len(texts))
            return _unit_vectors(rows, self._dimension or len(rows[0]))
        except ModelServerError as error:
            raise EmbedderUnavailableError(f"the embedding server is of no use: {error}") from error


def _unit_vectors(rows: Sequence[Sequence[float]], dimension: int) -> NDArray[np.float32]:
    """The rows as unit vectors, shape `(len(rows), dimension)`."""
    if dimension < 1 or any(len(row) != dimension for row in rows):
        raise ModelServerError(f"its vectors do not have {dimension} dimensions")
    vectors = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise ModelServerError("its vectors have no direction")
    unit: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return unit

"""Unit vectors from hashes of words: texts that share words lie near one another. Ready at once, costs nothing."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.ports import Embedding


class HashingEmbedder:
    """Implements `retrieval.ports.Embedder`."""

    fingerprint = "hashing-32"
    dimension = 32
    languages: frozenset[str] = frozenset()

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self.embed_query(text)
        return vectors

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_texts`."""
        return self.embed_documents(texts)

    def embed_query(self, text: str) -> Embedding:
        """See `Embedder.embed_query`."""
        vector = np.zeros(self.dimension, np.float32)
        for word in ["", *text.lower().split()]:
            vector[zlib.crc32(word.encode()) % self.dimension] += 1
        return vector / np.float32(np.linalg.norm(vector))

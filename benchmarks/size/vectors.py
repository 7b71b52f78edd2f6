"""Vectors of passages without the model, so that 300,000 of them are there in minutes, not in half a day.

A text's vector is the sum of fixed random vectors of its words, so texts that share words lie near one another and
no two are alike. What the model would cost is known from its own rate; questions do run through it, so that
a search costs what it costs.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from retrieval.adapters.bm25 import EdgeBm25
from retrieval.adapters.embedding_cache import CachedEmbedder
from retrieval.adapters.folder_blobs import FolderBlobs
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.adapters.sql.database import Database
from retrieval.indexes import Encoders
from retrieval.ports import Embedder, Embedding
from retrieval.settings import Settings
from retrieval.wiring import Corpus, indexes_of, model_folder

_MIN_LETTERS = 4
"""Shorter words stand in nearly every passage and would make all vectors alike."""


class MadeVectors:
    """Implements `retrieval.ports.Embedder`. Safe to share between threads."""

    fingerprint = "made-from-words/1"

    def __init__(self, model: Embedder, *, spends: bool) -> None:
        """Make vectors of the model's dimension.

        Args:
            model: Runs for every question, its vector unused.
            spends: Whether it runs for passages too, so that they cost what they cost.
        """
        self._model = model
        self._spends = spends

    @property
    def languages(self) -> frozenset[str]:
        """See `Embedder.languages`."""
        return self._model.languages

    @property
    def dimension(self) -> int:
        """See `Embedder.dimension`."""
        return self._model.dimension

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        if self._spends:
            self._model.embed_documents(texts)
        return np.stack([_vector_of(text, self.dimension) for text in texts])

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_texts`."""
        return self.embed_documents(texts)

    def embed_query(self, text: str) -> Embedding:
        """See `Embedder.embed_query`."""
        self._model.embed_query(text)
        return _vector_of(text, self.dimension)


@contextmanager
def open_made_corpus(settings: Settings, *, spends: bool) -> Iterator[Corpus]:
    """As `retrieval.wiring.open_corpus`, with made vectors."""
    settings.data.mkdir(parents=True, exist_ok=True)
    model = OnnxEmbedder(model_folder(settings))
    sparse = EdgeBm25()
    with (
        closing(Database(settings.database_url)) as database,
        closing(CachedEmbedder(MadeVectors(model, spends=spends), settings.embedding_cache_file)) as embedder,
    ):
        database.migrate()
        with closing(indexes_of(settings, database, [Encoders(embedder, sparse)])) as indexes:
            yield Corpus(database, FolderBlobs(settings.data / "blobs"), embedder, sparse, indexes)


def _vector_of(text: str, dimension: int) -> Embedding:
    words = [word for word in re.findall(r"\w+", text.lower()) if len(word) >= _MIN_LETTERS]
    summed = np.sum([_word(word, dimension) for word in words or [""]], axis=0)
    vector: Embedding = (summed / np.linalg.norm(summed)).astype(np.float32)
    return vector


@lru_cache(maxsize=20_000)
def _word(word: str, dimension: int) -> NDArray[np.float32]:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(dimension, np.float32)

"""A second embedding space of the same quality: the model's own vectors, turned by a fixed rotation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from retrieval.indexes import Encoders
from retrieval.ports import Embedder, Embedding
from retrieval.settings import Settings
from retrieval.wiring import Corpus, indexes_of, open_corpus

_SEED = 20261124


class RotatedEmbedder:
    """Implements `Embedder`. Angles between texts are those of the model, every single vector is another."""

    def __init__(self, embedder: Embedder) -> None:
        """Turn the vectors of `embedder`."""
        self._embedder = embedder
        noise = np.random.default_rng(_SEED).standard_normal((embedder.dimension, embedder.dimension))
        self._rotation = np.linalg.qr(noise)[0].astype(np.float32)

    @property
    def fingerprint(self) -> str:
        """See `Embedder.fingerprint`."""
        return f"rotated-{_SEED}/{self._embedder.fingerprint}"

    @property
    def languages(self) -> frozenset[str]:
        """See `Embedder.languages`."""
        return self._embedder.languages

    @property
    def dimension(self) -> int:
        """See `Embedder.dimension`."""
        return self._embedder.dimension

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        return self._turned(self._embedder.embed_documents(texts))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_texts`."""
        return self._turned(self._embedder.embed_texts(texts))

    def embed_query(self, text: str) -> Embedding:
        """See `Embedder.embed_query`."""
        return self._turned(self._embedder.embed_query(text))

    def _turned(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        turned: NDArray[np.float32] = vectors @ self._rotation
        return turned


def opening_rotated(*, keep_plain: bool = True) -> Callable[[Settings], AbstractContextManager[Corpus]]:
    """Opens the corpus of a desk whose model was changed to the rotated one.

    Args:
        keep_plain: Whether the model before is still there, so that its index answers meanwhile.
    """

    @contextmanager
    def opened(settings: Settings) -> Iterator[Corpus]:
        with open_corpus(settings) as corpus:
            rotated = RotatedEmbedder(corpus.embedder)
            embedders = (rotated, corpus.embedder) if keep_plain else (rotated,)
            encoders = [Encoders(each, corpus.sparse) for each in embedders]
            with closing(indexes_of(settings, corpus.database, encoders)) as indexes:
                yield replace(corpus, embedder=rotated, indexes=indexes)

    return opened

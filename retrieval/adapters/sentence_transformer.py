"""`Embedder` on sentence-transformers: any of its models, for those that have no exported form.

Slower than an exported graph (about 9 passages a second and core instead of 13 with all-MiniLM-L6-v2) and it
loads torch. A model's own prompts for questions and passages are used, and its own limit of length.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.adapters.model_folders import folder_fingerprint, load_model
from retrieval.errors import EmbedderUnavailableError
from retrieval.ports import Embedding


class SentenceTransformerEmbedder:
    """Implements `retrieval.ports.Embedder`. Safe to share between threads; one text is embedded at a time.

    Its tokenizer cannot be used by two threads, so they take turns. One text per call keeps a question from
    waiting for more than one passage, and a vector from depending on its neighbours.
    """

    def __init__(self, folder: Path, *, query_prefix: str = "", document_prefix: str = "") -> None:
        """Load a model.

        Args:
            folder: As `SentenceTransformer.save` writes it, with `modules.json`.
            query_prefix: Put before questions instead of the model's own prompt for them, unless empty.
            document_prefix: The same for passages.

        Raises:
            EmbedderUnavailableError: The library is not installed, or the folder holds no such model.
        """
        self._taking_turns = threading.Lock()
        self._query_prefix = query_prefix
        self._document_prefix = document_prefix
        try:
            self._fingerprint = fingerprint(
                folder, query_prefix=query_prefix, document_prefix=document_prefix
            )
            self._model = load_model("SentenceTransformer", folder)
        except Exception as error:  # see load_model
            raise EmbedderUnavailableError(f"the embedding model cannot be loaded: {error}") from error
        self._dimension = int(self._model.get_embedding_dimension())

    @property
    def fingerprint(self) -> str:
        """See `Embedder.fingerprint`."""
        return self._fingerprint

    @property
    def languages(self) -> frozenset[str]:
        """See `Embedder.languages`; models seldom say, so it counts as at home in all."""
        return frozenset()

    @property
    def dimension(self) -> int:
        """See `Embedder.dimension`."""
        return self._dimension

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        vectors = np.empty((len(texts), self._dimension), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._embedded(text, as_query=False)
        return vectors

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_texts`."""
        return self.embed_documents(texts)

    def embed_query(self, text: str) -> Embedding:
        """See `Embedder.embed_query`."""
        return self._embedded(text, as_query=True)

    def _embedded(self, text: str, *, as_query: bool) -> Embedding:
        encode = self._model.encode_query if as_query else self._model.encode_document
        prefix = self._query_prefix if as_query else self._document_prefix
        try:
            with self._taking_turns:
                output = encode(
                    text, prompt=prefix or None, normalize_embeddings=True, show_progress_bar=False
                )
        except Exception as error:  # torch's errors have no common base class
            raise EmbedderUnavailableError(f"the embedding model failed: {type(error).__name__}") from error
        vector: Embedding = np.asarray(output, np.float32)
        if not np.isfinite(vector).all():
            raise EmbedderUnavailableError("the embedding model gave a vector that is not finite")
        return vector


def fingerprint(folder: Path, *, query_prefix: str, document_prefix: str) -> str:
    """What `SentenceTransformerEmbedder.fingerprint` is for a folder, without loading the model.

    Raises:
        OSError: The folder cannot be read.
    """
    return folder_fingerprint(folder, query_prefix, document_prefix)

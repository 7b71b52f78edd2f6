"""Remembers embeddings by text and model, so that no text is ever embedded twice.

A file of its own beside the catalogue: it can be thrown away at any time. Documents only; questions are
somebody's words and are not kept.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.ports import Embedder, Embedding

_LOOKUP_BATCH = 500


class CachedEmbedder:
    """An `Embedder` that asks another one only for texts it has not seen. Safe to share between threads."""

    def __init__(self, embedder: Embedder, path: Path) -> None:
        """Remember the vectors of `embedder` in a SQLite file at `path`, made when absent."""
        self._embedder = embedder
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._using = threading.Lock()
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID"
        )

    @property
    def fingerprint(self) -> str:
        """See `Embedder.fingerprint`."""
        return self._embedder.fingerprint

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
        keys = [self._key(text) for text in texts]
        known = self._lookup(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            fresh = self._embedder.embed_documents(list(missing.values()))
            known |= dict(zip(missing, fresh, strict=True))
            self._remember({key: known[key] for key in missing})
        return np.stack([known[key] for key in keys]) if keys else np.empty((0, self.dimension), np.float32)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_texts`; passes the cache by."""
        return self._embedder.embed_texts(texts)

    def embed_query(self, text: str) -> Embedding:
        """See `Embedder.embed_query`."""
        return self._embedder.embed_query(text)

    def close(self) -> None:
        """Close the file."""
        with self._using:
            self._connection.close()

    def _key(self, text: str) -> bytes:
        return hashlib.blake2b(f"{self.fingerprint}\x1f{text}".encode(), digest_size=20).digest()

    def _lookup(self, keys: Sequence[bytes]) -> dict[bytes, Embedding]:
        found: dict[bytes, Embedding] = {}
        for start in range(0, len(keys), _LOOKUP_BATCH):
            batch = keys[start : start + _LOOKUP_BATCH]
            marks = ",".join("?" * len(batch))
            with self._using:
                rows = self._connection.execute(
                    f"SELECT key, vector FROM embeddings WHERE key IN ({marks})",  # noqa: S608 - only marks
                    batch,
                ).fetchall()
            found.update((key, np.frombuffer(vector, np.float32)) for key, vector in rows)
        return found

    def _remember(self, vectors: dict[bytes, Embedding]) -> None:
        rows = [(key, vector.tobytes()) for key, vector in vectors.items()]
        with self._using:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?)", rows)
            self._connection.execute("COMMIT")

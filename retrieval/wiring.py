"""Settings -> opened parts of the corpus: catalogue, embedder, sparse encoder, index. Closes them again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from retrieval.adapters.bm25 import EdgeBm25
from retrieval.adapters.embedding_cache import CachedEmbedder
from retrieval.adapters.folder_blobs import FolderBlobs
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.adapters.qdrant_edge import QdrantEdgeIndex
from retrieval.adapters.sql.database import Database
from retrieval.errors import AlreadyRunningError
from retrieval.ports import BlobStore, Embedder, SparseEncoder, VectorIndex
from retrieval.settings import InvalidSettingsError, Settings

MODEL_NAME = "all-MiniLM-L6-v2"
FIRST_INDEX = "index-1"


def utc_now() -> datetime:
    """The clock of a running desk."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The opened parts that both halves of a desk share."""

    database: Database
    blobs: BlobStore
    embedder: Embedder
    sparse: SparseEncoder


def model_folder(settings: Settings) -> Path:
    """Where the exported embedding model lies."""
    return settings.models / MODEL_NAME


@contextmanager
def open_corpus(settings: Settings) -> Iterator[Corpus]:
    """Open catalogue, blobs and models; the catalogue is migrated to the newest schema.

    Raises:
        CatalogueUnavailableError: The catalogue cannot be opened.
        EmbedderUnavailableError: The embedding model is not there; `make setup` makes it.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_url)
    database.migrate()
    embedder = CachedEmbedder(OnnxEmbedder(model_folder(settings)), settings.embedding_cache_file)
    try:
        yield Corpus(database, FolderBlobs(settings.data / "blobs"), embedder, EdgeBm25())
    finally:
        embedder.close()
        database.close()


@contextmanager
def owned_folder(folder: Path) -> Iterator[None]:
    """Hold a state folder for this process alone; the hold ends with the process, however it ends.

    Raises:
        AlreadyRunningError: Another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise AlreadyRunningError(f"another desk uses the state folder {folder}") from error
    try:
        yield
    finally:
        os.close(handle)


def open_index(settings: Settings, name: str, dimension: int) -> VectorIndex:
    """The index of this name: on the Qdrant server of the settings, else in the state folder.

    Raises:
        IndexUnavailableError: The server does not answer, or the folder is held by another process.
    """
    if not settings.index_url:
        return open_edge_index(settings, name, dimension)
    from retrieval.adapters.qdrant_server import connect  # an optional dependency (requirements/scale.in)

    key = settings.index_api_key.get_secret_value()
    return connect(settings.index_url, name, api_key=key, dimension=dimension)


def require_split(settings: Settings) -> None:
    """Check that a process of a split desk has what it shares with the others.

    Raises:
        InvalidSettingsError: The index, the catalogue or the queue would be this process's own.
    """
    for name, is_shared in (
        ("index_url", bool(settings.index_url)),
        ("catalogue_url", bool(settings.catalogue_url)),
        ("broker_url", not settings.broker_url.startswith("memory:")),
    ):
        if not is_shared:
            raise InvalidSettingsError(f"{name}: a desk of several processes needs a server here")


def open_edge_index(settings: Settings, name: str, dimension: int) -> QdrantEdgeIndex:
    """Open or create the index of this name in the state folder."""
    return QdrantEdgeIndex(settings.data / "indexes" / name, dimension=dimension)

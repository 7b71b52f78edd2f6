"""Settings -> opened parts of the corpus: catalogue, embedder, sparse encoder, index. Closes them again."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from retrieval.adapters.bm25 import EdgeBm25
from retrieval.adapters.embedding_cache import CachedEmbedder
from retrieval.adapters.folder_blobs import FolderBlobs
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.adapters.qdrant_edge import QdrantEdgeIndex
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.errors import AlreadyRunningError
from retrieval.indexes import Encoders, OpenIndexes
from retrieval.ports import BlobStore, Embedder, SparseEncoder, VectorIndex
from retrieval.settings import InvalidSettingsError, Settings

FIRST_INDEX = "index-1"


def utc_now() -> datetime:
    """The clock of a running desk."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The opened parts that both halves of a desk share.

    `embedder` and `sparse` are those that new indexes are built by; each of `indexes` comes with its own.
    """

    database: Database
    blobs: BlobStore
    embedder: Embedder
    sparse: SparseEncoder
    indexes: OpenIndexes


def model_folder(settings: Settings) -> Path:
    """Where the exported embedding model lies that new indexes are built by."""
    return settings.models / settings.model


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
    sparse = EdgeBm25()
    with ExitStack() as stack:
        stack.callback(database.close)
        embedder = stack.enter_context(_open_embedder(settings, model_folder(settings)))
        others = [
            stack.enter_context(_open_embedder(settings, folder))
            for folder in _folders_of_earlier_models(settings, database, embedder)
        ]
        encoders = [Encoders(each, sparse) for each in (embedder, *others)]
        indexes = indexes_of(settings, database, encoders)
        stack.callback(indexes.close)
        yield Corpus(database, FolderBlobs(settings.data / "blobs"), embedder, sparse, indexes)


def indexes_of(settings: Settings, database: Database, encoders: Sequence[Encoders]) -> OpenIndexes:
    """The indexes on record, none of them opened yet. Those of other encoders than these cannot be used."""
    return OpenIndexes(
        SqlIndexBuilds(database, utc_now),
        open_index=partial(open_index, settings),
        discard=partial(discard_index, settings),
        encoders=encoders,
    )


@contextmanager
def _open_embedder(settings: Settings, folder: Path) -> Iterator[Embedder]:
    with closing(CachedEmbedder(OnnxEmbedder(folder), settings.embedding_cache_file)) as embedder:
        yield embedder


def _folders_of_earlier_models(settings: Settings, database: Database, embedder: Embedder) -> list[Path]:
    """Folders of models whose index is on record: it answers, or can be gone back to."""
    wanted = {record.fingerprint.split("|")[0] for record in SqlIndexBuilds(database, utc_now).records()} - {
        embedder.fingerprint
    }
    found: dict[str, Path] = {}
    for facts in sorted(settings.models.glob("*/model.json")) if wanted else ():
        fingerprint = json.loads(facts.read_text(encoding="utf-8")).get("fingerprint", "")
        if fingerprint in wanted:
            found[fingerprint] = facts.parent
    return list(found.values())


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
    from retrieval.adapters.qdrant_server import (
        CollectionLayout,
        QdrantServer,
        connect,
    )  # optional (scale.in)

    layout = CollectionLayout(
        dimension,
        shards=settings.index_shards,
        replicas=settings.index_replicas,
        write_consistency=settings.index_write_consistency,
        quantization=settings.index_quantization,
    )
    key = settings.index_api_key.get_secret_value()
    return connect(QdrantServer(settings.index_url, settings.index_grpc_port, key), name, layout)


def discard_index(settings: Settings, name: str) -> None:
    """Delete what an index left on the server or in the state folder; nothing, where it left nothing."""
    if not settings.index_url:
        shutil.rmtree(settings.data / "indexes" / name, ignore_errors=True)
        return
    from retrieval.adapters.qdrant_server import QdrantServer, drop_collection

    key = settings.index_api_key.get_secret_value()
    drop_collection(QdrantServer(settings.index_url, settings.index_grpc_port, key), name)


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

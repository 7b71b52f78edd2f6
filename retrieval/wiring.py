"""Settings -> opened parts of the corpus: catalogue, embedder, sparse encoder, index. Closes them again."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from retrieval.adapters.bm25 import EdgeBm25
from retrieval.adapters.embedding_cache import CachedEmbedder
from retrieval.adapters.folder_blobs import FolderBlobs
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.adapters.qdrant_edge import QdrantEdgeIndex
from retrieval.adapters.resting_reranker import RestingReranker
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.adapters.sql.visibility import Presence
from retrieval.errors import AlreadyRunningError
from retrieval.indexes import Encoders, OpenIndexes
from retrieval.labels import retention_from
from retrieval.ports import BlobStore, Embedder, Reranker, SparseEncoder, VectorIndex
from retrieval.settings import InvalidSettingsError, Settings

_PROBE = "Which way to the reference desk?"
_SAME_SPACE = 0.99
"""Cosine of a text's vector with the one it had before; half precision and other hardware stay above."""


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
    """Where the exported embedding model lies.

    Its tokenizer measures chunks whatever embeds them, so that another embedder gets the same chunks.
    """
    return settings.models / settings.model


@contextmanager
def open_corpus(settings: Settings) -> Iterator[Corpus]:
    """Open catalogue, blobs and models; the catalogue is migrated to the newest schema.

    Raises:
        CatalogueUnavailableError: The catalogue cannot be opened.
        EmbedderUnavailableError: The embedding model is not there (`make setup` makes it), or its server
            does not answer.
        InvalidSettingsError: Two embedders are named, or the server's vectors are not those of before.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_url)
    database.migrate()
    sparse = EdgeBm25()
    with ExitStack() as stack:
        stack.callback(database.close)
        embedder = _cached(stack.enter_context(open_embedder(settings)), settings, stack)
        if settings.embedder_url:
            _require_same_space(embedder)
        others = [_cached(each, settings, stack) for each in _earlier_embedders(settings, database, embedder)]
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


def presence_of(settings: Settings, clock: Callable[[], datetime]) -> Presence:
    """What decides whether a document is there: the classes of retention in the settings, by this clock.

    Raises:
        InvalidSettingsError: The classes cannot be understood.
    """
    try:
        return Presence(retention_from(settings.retention), clock)
    except ValueError as error:
        raise InvalidSettingsError(f"retention: {error}") from error


@contextmanager
def open_embedder(settings: Settings) -> Iterator[Embedder]:
    """The embedder that the settings name, without a cache: a server's, a folder's, or the exported model.

    Raises:
        EmbedderUnavailableError: It cannot be loaded, or its server does not answer.
        InvalidSettingsError: Two are named.
    """
    _require_at_most_one(settings, "embedder_url", "embedder_folder")
    if settings.embedder_url:
        from retrieval.adapters.http_embedder import HttpEmbedder
        from retrieval.adapters.model_server import ModelServer, ModelServerSettings

        key = settings.embedder_api_key.get_secret_value()
        place = ModelServerSettings(
            settings.embedder_url, settings.embedder_model, key, settings.embedder_time_s
        )
        with closing(ModelServer(place)) as server:
            yield HttpEmbedder(
                server,
                query_prefix=settings.embedder_query_prefix,
                document_prefix=settings.embedder_document_prefix,
            )
    elif settings.embedder_folder is not None:
        yield _sentence_transformer(settings, settings.models / settings.embedder_folder)
    else:
        yield OnnxEmbedder(model_folder(settings))


@contextmanager
def open_reranker(settings: Settings) -> Iterator[Reranker | None]:
    """The reranker that the settings name, None without one. One that failed is left alone for a while.

    Raises:
        RerankerUnavailableError: The folder holds no model that can be loaded. A server is not asked yet.
        InvalidSettingsError: Two are named.
    """
    _require_at_most_one(settings, "reranker_url", "reranker_folder")
    if settings.reranker_url:
        from retrieval.adapters.http_reranker import HttpReranker, Protocol
        from retrieval.adapters.model_server import ModelServer, ModelServerSettings

        key = settings.reranker_api_key.get_secret_value()
        place = ModelServerSettings(
            settings.reranker_url, settings.reranker_model, key, settings.reranker_time_s
        )
        with closing(ModelServer(place)) as server:
            reranker = HttpReranker(server, Protocol(settings.reranker_protocol))
            yield RestingReranker(reranker, clock=time.monotonic)
    elif settings.reranker_folder is not None:
        from retrieval.adapters.cross_encoder import CrossEncoderReranker

        folder = settings.models / settings.reranker_folder
        local = CrossEncoderReranker(folder, time_s=settings.reranker_time_s)
        yield RestingReranker(local, clock=time.monotonic)
    else:
        yield None


def _require_at_most_one(settings: Settings, *names: str) -> None:
    given = [name for name in names if getattr(settings, name)]
    if len(given) > 1:
        raise InvalidSettingsError(f"{' and '.join(given)}: only one of them can be set")


def _sentence_transformer(settings: Settings, folder: Path) -> Embedder:
    from retrieval.adapters.sentence_transformer import SentenceTransformerEmbedder

    return SentenceTransformerEmbedder(
        folder,
        query_prefix=settings.embedder_query_prefix,
        document_prefix=settings.embedder_document_prefix,
    )


def _cached(embedder: Embedder, settings: Settings, stack: ExitStack) -> CachedEmbedder:
    return stack.enter_context(closing(CachedEmbedder(embedder, settings.embedding_cache_file)))


def _require_same_space(embedder: CachedEmbedder) -> None:
    """Compare a fresh vector with the one that the cache remembers under the same name.

    Raises:
        InvalidSettingsError: They differ: other weights are served under the old name, and an index of both
            would be worth nothing.
    """
    remembered, fresh = embedder.embed_documents([_PROBE])[0], embedder.embed_texts([_PROBE])[0]
    if float(np.dot(remembered, fresh)) < _SAME_SPACE:
        raise InvalidSettingsError(
            "embedder_model: the server gives other vectors under this name than before; serve the new model "
            "under a name of its own"
        )


def _earlier_embedders(settings: Settings, database: Database, embedder: Embedder) -> list[Embedder]:
    """Embedders below REFDESK_MODELS whose index is on record: it answers, or can be gone back to."""
    wanted = {record.fingerprint.split("|")[0] for record in SqlIndexBuilds(database, utc_now).records()} - {
        embedder.fingerprint
    }
    found: dict[str, Embedder] = {}
    for facts in sorted(settings.models.glob("*/model.json")) if wanted else ():
        fingerprint = json.loads(facts.read_text(encoding="utf-8")).get("fingerprint", "")
        if fingerprint in wanted:
            found[fingerprint] = OnnxEmbedder(facts.parent)
    for modules in sorted(settings.models.glob("*/modules.json")) if wanted - found.keys() else ():
        fingerprint = _fingerprint_of_folder(settings, modules.parent)
        if fingerprint in wanted:
            found[fingerprint] = _sentence_transformer(settings, modules.parent)
    return list(found.values())


def _fingerprint_of_folder(settings: Settings, folder: Path) -> str:
    from retrieval.adapters import sentence_transformer

    return sentence_transformer.fingerprint(
        folder,
        query_prefix=settings.embedder_query_prefix,
        document_prefix=settings.embedder_document_prefix,
    )


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
    return QdrantEdgeIndex(
        settings.data / "indexes" / name,
        dimension=dimension,
        optimise_above=settings.index_optimise_above,
        quantization=settings.index_quantization,
    )

"""Settings -> opened parts of ingestion: extractor, pipeline, syncer, and the tasks that use them."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ingest.adapters.sql_build_store import SqlBuildStore
from ingest.adapters.sql_store import SqlDocumentStore
from ingest.connector_memory import BlobMemory
from ingest.errors import SourceUnavailableError
from ingest.indexing import Indexer
from ingest.pipeline import PARSER_RECIPE, Pipeline, PipelineSettings
from ingest.ports import Connector, ConnectorParts, Reach, reach_nothing
from ingest.rebuilding import IndexBuilder, Recipes
from ingest.sandbox import SandboxExtractor
from ingest.sandbox_budgets import SandboxSettings
from ingest.settings import ChunkingSettings
from ingest.sources import confluence_export, folder, mail, push, s3, slack_export, web
from ingest.syncing import Syncer
from retrieval.adapters.sql.expiry import SqlExpiry
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import Source
from retrieval.indexes import ASSUMED_CALIBRATION, fingerprint_of
from retrieval.ports import BlobStore
from retrieval.settings import InvalidSettingsError, Settings, read_secret
from retrieval.wiring import Corpus, model_folder, open_index, presence_of
from workers.pressure import Pressure
from workers.relay import RECONCILE_REQUEST
from workers.running import JobRunner
from workers.schedule import Schedule
from workers.settings import WorkerSettings
from workers.tasks import Toolbox


@contextmanager
def open_toolbox(
    settings: Settings, corpus: Corpus, worker: WorkerSettings, reach: Reach = reach_nothing
) -> Iterator[Toolbox]:
    """Everything that tasks need, with the active index opened by this process."""
    clock = corpus.database.clock()
    store = SqlDocumentStore(corpus.database, clock)
    jobs = SqlJobs(corpus.database, clock)
    chunking = ChunkingSettings(model_folder(settings) / "tokenizer.json")
    fingerprint = index_fingerprint(settings, corpus)
    builds = SqlIndexBuilds(corpus.database, clock)
    builds.begin_first(fingerprint, ASSUMED_CALIBRATION)
    indexer = Indexer(store=store, indexes=corpus.indexes, builds=builds)
    recipe = f"{PARSER_RECIPE}|{chunking.fingerprint}"
    builder = IndexBuilder(
        store=store,
        build_store=SqlBuildStore(corpus.database, clock),
        indexer=indexer,
        indexes=corpus.indexes,
        builds=builds,
        recipes=Recipes(fingerprint, recipe),
    )
    scratch = _own_scratch(settings.data / "scratch")
    extractor = SandboxExtractor(
        SandboxSettings(
            scratch_dir=scratch,
            chunking=chunking,
            max_children=settings.workers,
            wall_s=settings.parser_time_s,
            memory_bytes=settings.parser_memory_mb * 2**20,
            max_file_bytes=settings.max_file_mb * 2**20,
        )
    )
    connector_for = connectors(settings, corpus.blobs, lambda name: read_secret(settings, name))
    pipeline = Pipeline(
        store=store,
        blobs=corpus.blobs,
        extractor=extractor,
        sparse=corpus.sparse,
        indexer=indexer,
        connector_for=connector_for,
        settings=PipelineSettings(scratch, recipe),
        reach=reach,
    )
    presence = presence_of(settings, clock)
    pressure = Pressure(
        settings.data,
        min_free_bytes=settings.min_free_mb * 2**20,
        probe=lambda: _mend_index(settings, corpus, jobs),
    )
    try:
        yield Toolbox(
            jobs=jobs,
            store=store,
            pipeline=pipeline,
            indexer=indexer,
            builder=builder,
            syncer=Syncer(
                store, indexer, reach, is_over=lambda labels, changed: not presence.shows(labels, changed)
            ),
            connector_for=connector_for,
            runner=JobRunner(jobs, worker, pressure, note_reading=store.note_reading),
            schedule=Schedule(SqlSources(corpus.database, clock), clock),
            expiry=SqlExpiry(corpus.database, presence),
            concurrency=worker.concurrency,
        )
    finally:
        extractor.close()
        shutil.rmtree(scratch, ignore_errors=True)
        corpus.indexes.close()


def _mend_index(settings: Settings, corpus: Corpus, jobs: SqlJobs) -> None:
    """Ask an index that failed whether it answers again; then have it compared with the catalogue.

    A server that lost its collection gets an empty one, which the comparison fills.

    Raises:
        IndexUnavailableError: It does not answer.
    """
    with corpus.indexes.answering() as opened:
        if settings.index_url:
            open_index(settings, opened.record.name, opened.encoders.embedder.dimension).close()
        opened.index.count()
    jobs.accept(RECONCILE_REQUEST)


def _own_scratch(folder: Path) -> Path:
    """A scratch folder for this process; those of processes of this machine that are gone are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    host = socket.gethostname()
    for other in folder.iterdir():
        name, _, pid = other.name.rpartition("-")
        if name == host and (int(pid) == os.getpid() or not Path(f"/proc/{pid}").exists()):
            shutil.rmtree(other, ignore_errors=True)
    own = folder / f"{host}-{os.getpid()}"
    own.mkdir(exist_ok=True)
    return own


def index_fingerprint(settings: Settings, corpus: Corpus) -> str:
    """What an index built now is stamped with: embedder, chunker and sparse encoder."""
    chunking = ChunkingSettings(model_folder(settings) / "tokenizer.json")
    return fingerprint_of(corpus.embedder, chunking.fingerprint, corpus.sparse)


def _git(source: Source, parts: ConnectorParts) -> Connector:
    from ingest.sources import git  # a second of imports that only desks with such a source need

    return git.connector(source, parts)


CONNECTORS: Mapping[str, Callable[[Source, ConnectorParts], Connector]] = {
    "folder": folder.connector,
    "push": push.connector,
    "web": web.connector,
    "git": _git,
    "s3": s3.connector,
    "mail": mail.connector,
    "slack_export": slack_export.connector,
    "confluence_export": confluence_export.connector,
}
"""What makes the connector of each kind in `retrieval.corpus.SOURCE_KINDS`."""


def connectors(
    settings: Settings, blobs: BlobStore, secret: Callable[[str], str]
) -> Callable[[Source], Connector]:
    """The connector of a source, by its kind.

    Args:
        secret: Reads a secret by its name; handed in by the composition root.
    """

    def looked_up(name: str) -> str:
        try:
            return secret(name)
        except InvalidSettingsError as error:
            raise SourceUnavailableError(error.message) from error

    def connector_for(source: Source) -> Connector:
        make = CONNECTORS.get(source.kind)
        if make is None:
            raise SourceUnavailableError(f"this desk reads no sources of the kind {source.kind}")
        parts = ConnectorParts(
            blobs=blobs,
            memory=BlobMemory(blobs, source.id),
            work_folder=settings.data / "connectors" / source.id,
            max_file_bytes=settings.max_file_mb * 2**20,
            secret=looked_up,
        )
        return make(source, parts)

    return connector_for

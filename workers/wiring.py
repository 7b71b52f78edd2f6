"""Settings -> opened parts of ingestion: extractor, pipeline, syncer, and the tasks that use them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.adapters.sql_store import SqlDocumentStore
from ingest.indexing import Indexer, OpenIndex, initial_index
from ingest.pipeline import PARSER_RECIPE, Pipeline, PipelineSettings
from ingest.ports import Connector
from ingest.sandbox import SandboxExtractor
from ingest.sandbox_budgets import SandboxSettings
from ingest.settings import ChunkingSettings
from ingest.sources.folder import FolderConnector
from ingest.sources.push import PushConnector
from ingest.syncing import Syncer
from retrieval.adapters.sql.index_builds import IndexBuild, SqlIndexBuilds
from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.corpus import Source
from retrieval.ports import BlobStore
from retrieval.settings import Settings
from retrieval.wiring import FIRST_INDEX, Corpus, model_folder, open_index, utc_now
from workers.running import JobRunner
from workers.settings import WorkerSettings
from workers.tasks import Toolbox


@contextmanager
def open_toolbox(settings: Settings, corpus: Corpus, worker: WorkerSettings) -> Iterator[Toolbox]:
    """Everything that tasks need, with the active index opened by this process."""
    store = SqlDocumentStore(corpus.database, utc_now)
    jobs = SqlJobs(corpus.database, utc_now)
    chunking = ChunkingSettings(model_folder(settings) / "tokenizer.json")
    fingerprint = index_fingerprint(settings, corpus)
    records = _Records(SqlIndexBuilds(corpus.database, utc_now))
    indexer = Indexer(
        store=store,
        embedder=corpus.embedder,
        sparse=corpus.sparse,
        opened=_open_active(settings, records, fingerprint, corpus.embedder.dimension),
        records=records,
        fingerprint=fingerprint,
    )
    scratch = settings.data / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed desk left behind
    scratch.mkdir(parents=True)
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
    connector_for = connectors(settings, corpus.blobs)
    pipeline = Pipeline(
        store=store,
        blobs=corpus.blobs,
        extractor=extractor,
        embedder=corpus.embedder,
        sparse=corpus.sparse,
        indexer=indexer,
        connector_for=connector_for,
        settings=PipelineSettings(scratch, f"{PARSER_RECIPE}|{chunking.fingerprint}"),
    )
    try:
        yield Toolbox(
            jobs=jobs,
            store=store,
            pipeline=pipeline,
            indexer=indexer,
            syncer=Syncer(store, indexer),
            connector_for=connector_for,
            runner=JobRunner(jobs, lease_s=worker.lease_s),
            concurrency=worker.concurrency,
        )
    finally:
        extractor.close()
        indexer.active().close()


def index_fingerprint(settings: Settings, corpus: Corpus) -> str:
    """What an index built now is stamped with: embedder, chunker and sparse encoder."""
    chunking = ChunkingSettings(model_folder(settings) / "tokenizer.json")
    return "|".join((corpus.embedder.fingerprint, chunking.fingerprint, corpus.sparse.fingerprint))


def connectors(settings: Settings, blobs: BlobStore) -> Callable[[Source], Connector]:
    """The connector of a source, by its kind."""

    def connector_for(source: Source) -> Connector:
        if source.kind == "push":
            return PushConnector(source.id, blobs)
        return FolderConnector(
            Path(source.location),
            default_owner=source.default_acl.owner,
            max_file_bytes=settings.max_file_mb * 2**20,
        )

    return connector_for


class _Records:
    """`IndexRecords` on the catalogue's table."""

    def __init__(self, builds: SqlIndexBuilds) -> None:
        self._builds = builds

    def save(self, opened: OpenIndex) -> None:
        """See `IndexRecords.save`."""
        self._builds.activate(IndexBuild(opened.name, opened.fingerprint, opened.average_length))

    def active(self) -> IndexBuild | None:
        """The recorded active index."""
        return self._builds.active()


def _open_active(settings: Settings, records: _Records, fingerprint: str, dimension: int) -> OpenIndex:
    build = records.active()
    if build is not None:
        index = open_index(settings, build.name, dimension)
        return OpenIndex(build.name, build.fingerprint, build.average_length, index)
    opened = initial_index(FIRST_INDEX, fingerprint, open_index(settings, FIRST_INDEX, dimension))
    records.save(opened)
    return opened

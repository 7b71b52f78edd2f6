"""Composition root of the embedded desk: query service and workers in one process, on one state folder.

The one module of `serving` that may import `ingest` and `workers` (import contract, ARCHITECTURE.md).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ingest.adapters.sql_store import SqlDocumentStore
from ingest.indexing import Indexer, OpenIndex, initial_index
from ingest.sandbox import SandboxExtractor
from ingest.sandbox_budgets import SandboxSettings
from ingest.settings import ChunkingSettings
from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.index_builds import IndexBuild, SqlIndexBuilds
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import Source, SourceId
from retrieval.errors import ConflictError, IndexUnavailableError, NotFoundError
from retrieval.jobs import Job, JobKind
from retrieval.settings import InvalidSettingsError, Settings
from retrieval.wiring import (
    model_folder,
    open_corpus,
    open_edge_index,
    owned_folder,
    utc_now,
)
from serving.desk import Desk
from serving.wiring import open_desk
from workers.queue import IN_PROCESS_BROKER, InProcessWorker, make_app
from workers.relay import Relay
from workers.settings import WorkerSettings
from workers.tasks import Toolbox, register
from workers.wiring import index_fingerprint, open_toolbox

_log = logging.getLogger(__name__)

_CLEAN_MARK = "closed"
"""File that says the last desk on this folder closed its index in order."""


@dataclass(frozen=True, slots=True)
class EmbeddedDesk:
    """Both halves of a desk in one process."""

    desk: Desk
    toolbox: Toolbox


@contextmanager
def open_embedded(settings: Settings) -> Iterator[EmbeddedDesk]:
    """A running desk: answers questions and works on jobs until the block ends.

    Work that a killed desk left unfinished goes on by itself; after such an end the index is compared with
    the catalogue first.

    Raises:
        AlreadyRunningError: Another process holds the state folder.
        CatalogueUnavailableError, EmbedderUnavailableError, IndexUnavailableError: A part does not open.
    """
    worker_settings = WorkerSettings(concurrency=settings.workers)
    with ExitStack() as stack:
        stack.enter_context(owned_folder(settings.data))
        corpus = stack.enter_context(open_corpus(settings))
        toolbox = stack.enter_context(open_toolbox(settings, corpus, worker_settings))
        stack.enter_context(_clean_index(settings.data / _CLEAN_MARK, toolbox))
        toolbox.jobs.requeue_lost(everything=True)
        desk = stack.enter_context(open_desk(settings, corpus, toolbox.indexer.active))
        _load_directory(settings.directory, desk)
        stack.enter_context(_working(toolbox, worker_settings))
        yield EmbeddedDesk(desk, toolbox)


@contextmanager
def _clean_index(mark: Path, toolbox: Toolbox) -> Iterator[None]:
    """Reconcile the index unless the last desk closed it in order."""
    if not mark.exists():
        repair = toolbox.indexer.reconcile()
        _log.info("index reconciled", extra={"missing": repair.missing, "surplus": repair.surplus})
    mark.unlink(missing_ok=True)
    yield
    toolbox.indexer.active().flush()
    mark.touch()


@contextmanager
def _working(toolbox: Toolbox, settings: WorkerSettings) -> Iterator[None]:
    app = make_app(IN_PROCESS_BROKER)
    register(app, toolbox)
    worker = InProcessWorker(app, concurrency=settings.concurrency)
    relay = Relay(app, toolbox.jobs, settings)
    worker.start()
    relay.start()
    try:
        yield
    finally:
        relay.stop()
        worker.stop()


def _load_directory(path: Path | None, desk: Desk) -> None:
    """Put the users of a TOML file into the directory: `[users."id"] name = …, groups = […]`."""
    if path is None:
        return
    try:
        users = tomllib.loads(path.read_text(encoding="utf-8"))["users"]
        for user_id, facts in users.items():
            groups = [PrincipalId(f"group:{name}") for name in facts["groups"] if name != "everyone"]
            desk.directory.put_user(UserId(user_id), name=facts["name"], groups=groups)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidSettingsError(f"directory: {path} cannot be understood: {error}") from error


def docs_source(settings: Settings, desk: Desk) -> Source | None:
    """The source for the folder in the settings, made when absent; None without a folder.

    Its id is derived from the folder's path: another folder is another source, and none loses documents.
    """
    if settings.docs is None:
        return None
    folder = settings.docs.absolute()
    source_id = SourceId(str(uuid.uuid5(uuid.NAMESPACE_URL, folder.as_uri())))
    try:
        return desk.corpus.source(source_id)
    except NotFoundError:
        pass
    sources = SqlSources(desk.database, utc_now)
    owner = UserId(settings.owner)
    for name in (folder.name, str(folder)):
        try:
            return sources.create(source_id, name=name, kind="folder", location=str(folder), owner=owner)
        except ConflictError:
            continue
    raise ConflictError(f"the source of {folder} cannot be made")


def request_docs_sync(settings: Settings, desk: Desk) -> Job | None:
    """Ask for a sync of the folder in the settings; None without one."""
    source = docs_source(settings, desk)
    if source is None:
        return None
    request = JobRequest(JobKind.SYNC, requested_by=settings.owner, reason="start", source_id=source.id)
    return desk.jobs.accept(request)


@dataclass(frozen=True, slots=True)
class IndexComparison:
    """The active index against the catalogue.

    Attributes:
        fingerprint: Of what built the index, empty when there is none.
        expected: Of the embedder, chunker and sparse encoder in use now.
        missing: Live chunks that the index lacks.
        surplus: Points that are no live chunk.
    """

    fingerprint: str
    expected: str
    missing: int
    surplus: int


def rebuild_index(settings: Settings, *, progress: Callable[[int, int], None]) -> IndexBuild:
    """Build a new index from the catalogue's live chunks, let it answer, and drop the ones before.

    The index before is never opened, so one that is damaged or of another embedder is no obstacle, and it
    stays the active one until the new one is complete. Text that was embedded before comes from the cache.

    Raises:
        AlreadyRunningError: A desk runs on this folder.
        IndexUnavailableError: The new index does not hold what the catalogue does.
    """
    with owned_folder(settings.data), open_corpus(settings) as corpus:
        store = SqlDocumentStore(corpus.database, utc_now)
        builds = SqlIndexBuilds(corpus.database, utc_now)
        name, fingerprint = f"index-{uuid.uuid4().hex[:12]}", index_fingerprint(settings, corpus)
        index = open_edge_index(settings, name, corpus.embedder.dimension)
        opened = initial_index(name, fingerprint, index)
        measured, count = store.average_terms()
        if count:
            opened = replace(opened, average_length=measured)
        indexer = Indexer(
            store=store,
            embedder=corpus.embedder,
            sparse=corpus.sparse,
            opened=opened,
            records=_Unrecorded(),
            fingerprint=fingerprint,
        )
        try:
            indexer.reconcile(progress=progress)
            if set(index.chunk_ids()) != store.live_chunk_ids():
                raise IndexUnavailableError("the new index does not hold what the catalogue does")
        finally:
            index.close()
        build = IndexBuild(name, fingerprint, opened.average_length)
        builds.activate(build)
        (settings.data / _CLEAN_MARK).touch()
        _drop_other_indexes(settings.data / "indexes", name)
        return build


def compare_index(settings: Settings) -> IndexComparison:
    """Compare the active index with the catalogue, changing neither.

    Raises:
        AlreadyRunningError: A desk runs on this folder.
        IndexUnavailableError: The index cannot be opened.
    """
    with owned_folder(settings.data), open_corpus(settings) as corpus:
        wanted = SqlDocumentStore(corpus.database, utc_now).live_chunk_ids()
        expected = index_fingerprint(settings, corpus)
        build = SqlIndexBuilds(corpus.database, utc_now).active()
        if build is None or not (settings.data / "indexes" / build.name).is_dir():
            return IndexComparison(build.fingerprint if build else "", expected, len(wanted), 0)
        index = open_edge_index(settings, build.name, corpus.embedder.dimension)
        try:
            present = set(index.chunk_ids())
        finally:
            index.close()
        return IndexComparison(build.fingerprint, expected, len(wanted - present), len(present - wanted))


def probe_parser(settings: Settings) -> tuple[str, dict[str, bool]]:
    """Parse a few words in the sandbox, as every file is.

    Returns:
        What was read, and the layers of the sandbox with whether this machine has them.

    Raises:
        IngestError: The sandbox does not start, or does not read them.
    """
    words = "The parser answers."
    with tempfile.TemporaryDirectory(prefix="refdesk-probe-") as folder:
        file = Path(folder) / "probe.txt"
        file.write_text(words, encoding="utf-8")
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        chunking = ChunkingSettings(model_folder(settings) / "tokenizer.json")
        extractor = SandboxExtractor(SandboxSettings(scratch_dir=scratch, chunking=chunking, max_children=1))
        try:
            read = extractor.extract(file, name=file.name, title="probe").document.text
            return read, extractor.protections()
        finally:
            extractor.close()


class _Unrecorded:
    """`IndexRecords` for an index that does not answer yet."""

    def save(self, opened: OpenIndex) -> None:
        """See `IndexRecords.save`; there is nothing to record before the index is complete."""


def _drop_other_indexes(folder: Path, kept: str) -> None:
    for other in folder.iterdir():
        if other.name != kept:
            shutil.rmtree(other, ignore_errors=True)

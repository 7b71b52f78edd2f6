"""Composition root of the embedded desk: query service and workers in one process, on one state folder.

With `serving.upkeep` the one module of `serving` that may import `ingest` and `workers` (import contract).
"""

from __future__ import annotations

import logging
import shutil
import threading
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import Source, SourceId
from retrieval.errors import ConflictError, IndexMismatchError, IndexUnavailableError, NotFoundError
from retrieval.indexes import OpenIndexes
from retrieval.jobs import Job, JobKind
from retrieval.settings import InvalidSettingsError, Settings
from retrieval.wiring import Corpus, open_corpus, owned_folder, utc_now
from serving.desk import Desk
from serving.wiring import open_desk
from workers.optimising import optimising
from workers.queue import IN_PROCESS_BROKER, InProcessWorker, make_app
from workers.relay import Relay
from workers.settings import WorkerSettings
from workers.tasks import Toolbox, register
from workers.watching import WATCH, Watchers
from workers.wiring import open_toolbox

_log = logging.getLogger(__name__)

CLEAN_MARK = "closed"
"""File that says the last desk on this folder closed its indexes in order."""

CorpusOpener = Callable[[Settings], AbstractContextManager[Corpus]]


@dataclass(frozen=True, slots=True)
class EmbeddedDesk:
    """Both halves of a desk in one process."""

    desk: Desk
    toolbox: Toolbox


@contextmanager
def open_embedded(
    settings: Settings, *, watch: bool = False, opener: CorpusOpener = open_corpus
) -> Iterator[EmbeddedDesk]:
    """A running desk: answers questions and works on jobs until the block ends.

    Work that a killed desk left unfinished goes on by itself; after such an end the index is compared with
    the catalogue first. An index that cannot be opened, or that belongs to a model which is not there, does
    not keep the desk from starting: searches say so, and `refdesk rebuild` mends it.

    Args:
        settings: Of the desk.
        opener: Opens catalogue, models and indexes.
        watch: Also take changes of the folders in at once that have the option `watch`.

    Raises:
        AlreadyRunningError: Another process holds the state folder.
        CatalogueUnavailableError, EmbedderUnavailableError: A part does not open.
    """
    worker_settings = WorkerSettings(concurrency=settings.workers)
    with ExitStack() as stack:
        stack.enter_context(owned_folder(settings.data))
        corpus = stack.enter_context(opener(settings))
        _sweep(settings.data / "indexes", corpus)
        toolbox = stack.enter_context(open_toolbox(settings, corpus, worker_settings))
        if not toolbox.jobs.unfinished_of(JobKind.REBUILD):
            toolbox.builder.abandon()
        stack.enter_context(_clean_index(settings.data / CLEAN_MARK, toolbox, corpus.indexes))
        toolbox.jobs.requeue_lost(everything=True)
        desk = stack.enter_context(open_desk(settings, corpus))
        _load_directory(settings.directory, desk)
        stack.enter_context(_working(toolbox, corpus.indexes, worker_settings))
        if watch:
            warming = threading.Thread(target=toolbox.pipeline.warm_up, name="warm-up", daemon=True)
            warming.start()  # the first edit is to be searchable as quickly as the next ones
            stack.callback(warming.join)
            watchers = Watchers(desk.corpus.every_source, toolbox.jobs)
            watchers.start()
            stack.callback(watchers.stop)
        yield EmbeddedDesk(desk, toolbox)


@contextmanager
def _clean_index(mark: Path, toolbox: Toolbox, indexes: OpenIndexes) -> Iterator[None]:
    """Reconcile the indexes unless the last desk closed them in order."""
    is_clean = mark.exists() or _reconciled(toolbox)
    mark.unlink(missing_ok=True)
    yield
    indexes.flush()
    if is_clean:
        mark.touch()


def _reconciled(toolbox: Toolbox) -> bool:
    try:
        repair = toolbox.indexer.reconcile()
    except (IndexUnavailableError, IndexMismatchError) as error:
        _log.warning("index not reconciled", extra={"code": error.code})
        return False
    _log.info("index reconciled", extra={"missing": repair.missing, "surplus": repair.surplus})
    return True


def _sweep(folder: Path, corpus: Corpus) -> None:
    """Delete folders of indexes that are not on record: a kill came between the record and the folder."""
    known = {record.name for record in SqlIndexBuilds(corpus.database, utc_now).records()}
    for other in folder.iterdir() if folder.exists() else ():
        if other.name not in known:
            shutil.rmtree(other, ignore_errors=True)


@contextmanager
def _working(toolbox: Toolbox, indexes: OpenIndexes, settings: WorkerSettings) -> Iterator[None]:
    app = make_app(IN_PROCESS_BROKER)
    register(app, toolbox)
    worker = InProcessWorker(app, concurrency=settings.concurrency)
    relay = Relay(app, toolbox.jobs, settings, toolbox.schedule, toolbox.expiry)
    worker.start()
    relay.start()
    try:
        with optimising(indexes):
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
            return sources.create(
                source_id,
                name=name,
                kind="folder",
                location=str(folder),
                owner=owner,
                options={WATCH: True},
            )
        except ConflictError:
            continue
    raise ConflictError(f"the source of {folder} cannot be made")


def request_docs_sync(settings: Settings, desk: Desk) -> Job | None:
    """Ask for a sync of the folder in the settings; None without one, and while it is paused."""
    source = docs_source(settings, desk)
    if source is None or source.paused_at is not None:
        return None
    request = JobRequest(JobKind.SYNC, requested_by=settings.owner, reason="start", source_id=source.id)
    return desk.jobs.accept(request)

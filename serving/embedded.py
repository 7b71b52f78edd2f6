"""Composition root of the embedded desk: query service and workers in one process, on one state folder.

The one module of `serving` that may import `ingest` and `workers` (import contract, ARCHITECTURE.md).
"""

from __future__ import annotations

import logging
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import Source, SourceId
from retrieval.errors import ConflictError, NotFoundError
from retrieval.jobs import Job, JobKind
from retrieval.settings import InvalidSettingsError, Settings
from retrieval.wiring import open_corpus, owned_folder, utc_now
from serving.desk import Desk
from serving.wiring import open_desk
from workers.queue import IN_PROCESS_BROKER, InProcessWorker, make_app
from workers.relay import Relay
from workers.settings import WorkerSettings
from workers.tasks import Toolbox, register
from workers.wiring import open_toolbox

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

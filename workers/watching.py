"""Folders are watched: a change is taken in within seconds, by a sync of just the paths that changed.

Watching makes a desk quick, never right or wrong by itself: a whole sync follows when a watch begins, when more
changed at once than is sensible to name, when rules changed, and every half hour in case an event was lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ingest.sources.rules import RULES_FILE
from retrieval.adapters.sql.jobs import JobRequest, SqlJobs
from retrieval.corpus import Source, SourceId
from retrieval.errors import RefdeskError
from retrieval.jobs import PATHS, JobKind

_log = logging.getLogger(__name__)

WATCH = "watch"
"""Option of a folder: take its changes in at once."""

_MAX_PATHS = 500
"""More changes than this at once are a whole sync; the system's queue of events may have run over, too."""

_QUIET_MS = 300
_DEBOUNCE_MS = 1000
_TICK_MS = 2000
_WHOLE_EVERY_S = 1800.0
_LOOK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Burst:
    """What changed at once.

    Attributes:
        paths: Changed external ids, or folders of them.
        whole: Whether only a whole sync can tell what changed.
    """

    paths: tuple[str, ...] = ()
    whole: bool = False

    @property
    def is_nothing(self) -> bool:
        """Whether no document can have changed."""
        return not self.whole and not self.paths


def burst_of(root: Path, changed: Iterable[str]) -> Burst:
    """What changed paths mean for the source whose folder is `root`.

    A changed `.refdesk.toml` may change the access lists of everything below it; hidden files are no documents.
    """
    paths: set[str] = set()
    for each in changed:
        path = Path(each)
        if path.name == RULES_FILE or path == root or not path.is_relative_to(root):
            return Burst(whole=True)
        relative = PurePosixPath(path.relative_to(root).as_posix())
        if not any(part.startswith(".") for part in relative.parts):
            paths.add(str(relative))
    return Burst(whole=True) if len(paths) > _MAX_PATHS else Burst(tuple(sorted(paths)))


def wants_watching(source: Source) -> bool:
    """Whether the changes of a source are to be taken in at once."""
    return source.kind == "folder" and source.options.get(WATCH) is True and source.paused_at is None


class Watchers:
    """Keeps a watch on every folder that wants one, as sources come, change and go."""

    def __init__(self, sources: Callable[[], Sequence[Source]], jobs: SqlJobs) -> None:
        """Watch what `sources` gives, and ask `jobs` for syncs; call `start` to begin."""
        self._sources = sources
        self._jobs = jobs
        self._stopped = threading.Event()
        self._watches: dict[tuple[SourceId, str], _Watch] = {}
        self._thread = threading.Thread(target=self._run, name="watchers", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End every watch."""
        self._stopped.set()
        self._thread.join()
        for watch in self._watches.values():
            watch.stop()

    def _run(self) -> None:
        while True:
            try:
                self._look()
            except RefdeskError as error:
                _log.warning("sources cannot be looked up", extra={"code": error.code})
            if self._stopped.wait(_LOOK_EVERY_S):
                return

    def _look(self) -> None:
        wanted = {(each.id, each.location): each for each in self._sources() if wants_watching(each)}
        for key in self._watches.keys() - wanted.keys():
            self._watches.pop(key).stop()
        for key in wanted.keys() - self._watches.keys():
            self._watches[key] = _Watch(wanted[key], self._jobs)


class _Watch:
    """A thread that watches one folder."""

    def __init__(self, source: Source, jobs: SqlJobs) -> None:
        self._source = source
        self._root = Path(source.location)
        self._jobs = jobs
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{source.id}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._watch()
            except (OSError, RuntimeError) as error:  # watchfiles: the folder is gone, or no watches are left
                _log.warning(
                    "folder cannot be watched", extra={"source_id": self._source.id, "error": str(error)}
                )
            self._stopped.wait(_LOOK_EVERY_S)

    def _watch(self) -> None:
        """Ask for syncs until the folder is replaced by another one or the watch ends."""
        import watchfiles  # 0.2 s, for desks that watch only

        identity = _identity(self._root)
        pending = Burst(whole=True)  # what changed before the watch began
        whole_at = time.monotonic()
        for changes in watchfiles.watch(
            self._root,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_QUIET_MS,
            rust_timeout=_TICK_MS,
            yield_on_timeout=True,
            stop_event=self._stopped,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            pending = _joined(pending, burst_of(self._root, (path for _, path in changes)))
            if time.monotonic() - whole_at >= _WHOLE_EVERY_S:
                pending = Burst(whole=True)
            if not pending.is_nothing and self._ask(pending):
                whole_at = time.monotonic() if pending.whole else whole_at
                pending = Burst()
            if _identity(self._root) != identity:
                return

    def _ask(self, burst: Burst) -> bool:
        """Accept a sync; False when the catalogue does not answer, and it has to be asked for again."""
        request = JobRequest(
            JobKind.SYNC,
            self._source.default_acl.owner,
            "folder changed",
            source_id=self._source.id,
            parameters={} if burst.whole else {PATHS: list(burst.paths)},
        )
        try:
            self._jobs.accept(request)
        except RefdeskError as error:
            _log.warning("sync not accepted", extra={"source_id": self._source.id, "code": error.code})
            return False
        return True


def _joined(one: Burst, other: Burst) -> Burst:
    paths = {*one.paths, *other.paths}
    if one.whole or other.whole or len(paths) > _MAX_PATHS:
        return Burst(whole=True)
    return Burst(tuple(sorted(paths)))


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode of a folder: another folder under the same name is not watched by the old watch."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

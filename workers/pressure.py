"""Back-pressure: indexing waits while the disk is nearly full or the index is silent, then goes on by itself."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ingest.errors import StorageFullError
from retrieval.errors import IndexUnavailableError, RefdeskError

_LOOK_EVERY_S = 1.0


class Pressure:
    """Tells whether work makes sense now. Safe to share between worker threads."""

    def __init__(self, folder: Path, *, min_free_bytes: int, probe: Callable[[], object]) -> None:
        """Watch the disk of `folder`, and after a failure of the index ask it with `probe`.

        Args:
            folder: Where the desk writes.
            min_free_bytes: Room that has to be left on its disk.
            probe: Asks the index anything; raises `IndexUnavailableError` when it does not answer.
        """
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._probe = probe
        self._looking = threading.Lock()
        self._looked_at = float("-inf")
        self._index_failed = False
        self._problem: RefdeskError | None = None

    def heard(self, error: RefdeskError) -> None:
        """Note what a job failed of: after an index failure jobs wait until it answers again."""
        if isinstance(error, IndexUnavailableError):
            with self._looking:
                self._index_failed, self._looked_at = True, float("-inf")

    def problem(self) -> RefdeskError | None:
        """What stands in the way of work, None when nothing does; looked at once a second at most."""
        with self._looking:
            if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
                self._problem = self._disk() or self._index()
                self._looked_at = time.monotonic()
            return self._problem

    def _disk(self) -> RefdeskError | None:
        free = shutil.disk_usage(self._folder).free
        if free >= self._min_free_bytes:
            return None
        return StorageFullError(
            f"{free // 2**20} MiB are free, indexing waits for {self._min_free_bytes // 2**20}"
        )

    def _index(self) -> RefdeskError | None:
        if not self._index_failed:
            return None
        try:
            self._probe()
        except IndexUnavailableError as error:
            return error
        self._index_failed = False
        return None

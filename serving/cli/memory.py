"""The most memory that a process and its children held together, by sampling."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

INTERVAL_S = 0.25
MEASURE = f"proportional set size (PSS) of the whole process tree, sampled every {INTERVAL_S} s"


class MemoryWatch:
    """Samples the process tree from a thread of its own while its block runs."""

    def __init__(self, pid: int | None = None) -> None:
        """Watch a process, the present one unless told otherwise. One that has ended counts nothing."""
        self._root = psutil.Process(pid)
        self._stopped = threading.Event()
        self._peak = 0
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, after one last sample."""
        self._stopped.set()
        self._thread.join()

    @property
    def peak_mb(self) -> float:
        """The highest sum so far, MiB."""
        return self._peak / 2**20

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, self._sample())
            if self._stopped.wait(INTERVAL_S):
                return

    def _sample(self) -> int:
        try:
            tree = (self._root, *self._root.children(recursive=True))
        except psutil.NoSuchProcess:
            return 0
        return sum(_held(process) for process in tree)


def _held(process: psutil.Process) -> int:
    """Bytes of one process: pages shared by several count in shares where the system can tell, else whole."""
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or getattr(full, "uss", 0) or full.rss)
    except psutil.Error:  # it ended meanwhile, or belongs to somebody else
        return 0

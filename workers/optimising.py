"""Keeps the index in the state folder quick: looks now and then whether it should be optimised."""

from __future__ import annotations

import logging
import threading

from retrieval.errors import RefdeskError
from retrieval.indexes import OpenIndexes

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 30.0


class Optimiser:
    """A thread that has the index optimised where that is due."""

    def __init__(self, indexes: OpenIndexes) -> None:
        """Look after the one of `indexes` that answers; call `start` to begin."""
        self._indexes = indexes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="optimiser", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is going on is given up, and begun anew by the next desk."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_EVERY_S):
            try:
                self._indexes.optimise(is_stopped=self._stopped.is_set)
            except (RefdeskError, OSError) as error:  # a full disk: the index stays as it is
                _log.warning("index not optimised", extra={"error": type(error).__name__})

"""Keeps the index in the state folder quick: looks now and then whether it should be optimised."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from retrieval.errors import RefdeskError
from retrieval.indexes import OpenIndexes

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 30.0


@contextmanager
def optimising(indexes: OpenIndexes) -> Iterator[None]:
    """Have the index that answers optimised where that is due, until the block ends.

    What is going on then is given up, and begun anew by the next desk.
    """
    stopped = threading.Event()
    thread = threading.Thread(target=_look, args=(indexes, stopped), name="optimiser", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _look(indexes: OpenIndexes, stopped: threading.Event) -> None:
    while not stopped.wait(_LOOK_EVERY_S):
        try:
            indexes.optimise(is_stopped=stopped.is_set)
        except (RefdeskError, OSError) as error:  # a full disk: the index stays as it is
            _log.warning("index not optimised", extra={"error": type(error).__name__})

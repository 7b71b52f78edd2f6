"""Event loops for tests that are no coroutines themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio

T = TypeVar("T")


def on_a_loop(work: Callable[[], Awaitable[T]]) -> T:
    """What the coroutine gives, on a thread of its own: in this one a browser test may have left a loop running."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(anyio.run, work).result()

"""How much one caller may ask for: a token bucket per principal, in this process."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_CALLERS = 10_000
"""Buckets kept; the one unused for longest is forgotten first, which only ever fills it."""


@dataclass(frozen=True, slots=True)
class RequestBudget:
    """What one caller may do.

    Attributes:
        burst: Requests at once after a pause.
        per_second: Requests per second in the long run.
    """

    burst: float = 600.0
    per_second: float = 100.0


class RateLimiter:
    """Token buckets by caller. Safe to share between threads."""

    def __init__(self, budget: RequestBudget, clock: Callable[[], float]) -> None:
        """Allow each caller `budget`; `clock` gives monotonic seconds."""
        self._budget = budget
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> int:
        """Count one request: 0 when it is within the budget, else whole seconds to wait, at least 1."""
        now = self._clock()
        with self._lock:
            tokens, since = self._buckets.pop(caller, (self._budget.burst, now))
            tokens = min(self._budget.burst, tokens + (now - since) * self._budget.per_second)
            allowed = tokens >= 1
            self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
            if len(self._buckets) > _MAX_CALLERS:
                self._buckets.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1 - tokens) / self._budget.per_second))

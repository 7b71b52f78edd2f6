"""A circuit breaker: after a few failures in a row a dead server is left alone for a while.

Without it every question waits for the model's time-outs before extracts answer. The breaker does no I/O
and never sleeps; the caller asks before it tries and reports how it went.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether attempts are let through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Opens after consecutive failures, lets one trial through after a cool-down. Safe to share by threads.

    A server that refuses a request as malformed is alive: report that as a success. An attempt that the
    asker cancelled says nothing and need not be reported; a trial without a report is given up after
    another cool-down.
    """

    def __init__(
        self, *, clock: Callable[[], float], failures_to_open: int = 3, cool_down_s: float = 15.0
    ) -> None:
        """Start closed.

        Args:
            clock: Monotonic seconds, for example `time.monotonic`.
            failures_to_open: Failures in a row that open the breaker, at least 1.
            cool_down_s: Seconds without attempts before a trial, above 0.

        Raises:
            ValueError: A number is out of its range.
        """
        if failures_to_open < 1 or cool_down_s <= 0:
            raise ValueError(
                f"need failures_to_open >= 1 and cool_down_s > 0, got {failures_to_open} and {cool_down_s}"
            )
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._cool_down_s = cool_down_s
        self._lock = threading.Lock()
        self._n_failures = 0
        self._no_trial_before_s = 0.0

    @property
    def state(self) -> BreakerState:
        """Where the breaker stands now; half-open means that the next attempt is a trial."""
        with self._lock:
            return self._state()

    def allows(self) -> bool:
        """Whether to try now. While half-open, the first caller is told yes and the others no."""
        with self._lock:
            state = self._state()
            if state is BreakerState.HALF_OPEN:
                self._no_trial_before_s = self._clock() + self._cool_down_s
            return state is not BreakerState.OPEN

    def succeeded(self) -> None:
        """Close: the server is well."""
        with self._lock:
            self._n_failures = 0

    def failed(self) -> None:
        """Count a failure; the last one that is allowed, or a failed trial, starts a cool-down."""
        with self._lock:
            self._n_failures += 1
            if self._n_failures >= self._failures_to_open:
                self._no_trial_before_s = self._clock() + self._cool_down_s

    def _state(self) -> BreakerState:
        if self._n_failures < self._failures_to_open:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < self._no_trial_before_s else BreakerState.HALF_OPEN

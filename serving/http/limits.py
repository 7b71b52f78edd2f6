"""Requests -> what `serving.limits` counts, and its rulings -> replies."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import Request

from serving.errors import UnauthenticatedError
from serving.http.callers import Caller
from serving.limits import AnswerSlots, Buckets, Limits, Quota, Ruling, refusal

_NO_GUESS = frozenset({"no_credential", "not_this_machine"})
"""Reasons of refusals that say nothing of a credential, because none was shown."""


class Counter:
    """Counts the requests of one application against its limits."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """Count from now on; `clock` gives monotonic seconds."""
        self.limits = limits
        self.answers = AnswerSlots(per_user=limits.answers_per_user, total=limits.answers_total)
        self._clock = clock
        self._buckets = Buckets()

    def admit_address(self, peer: str) -> None:
        """Count a request from an address.

        Raises:
            RateLimitedError: The address is over its quota.
        """
        address = self.limits.address_of(peer)
        if address is not None and self.limits.address is not None:
            _pass(self._buckets.take([(self.limits.address, address)], self._clock()))

    def admit_credential(self, peer: str) -> None:
        """Let a credential be looked at.

        Raises:
            RateLimitedError: Too many from there were not valid; nobody learns whether this one is.
        """
        address = self.limits.address_of(peer)
        if address is not None and self.limits.failures is not None:
            _pass(self._buckets.look(self.limits.failures, address, self._clock()))

    def note_refusal(self, peer: str, error: UnauthenticatedError) -> None:
        """Count a credential that was not valid against the address it came from."""
        address = self.limits.address_of(peer)
        if address is not None and self.limits.failures is not None and error.reason not in _NO_GUESS:
            self._buckets.take([(self.limits.failures, address)], self._clock())

    def admit_caller(self, caller: Caller, user: str) -> Ruling:
        """Count a request of a caller, with its key where it has one, on behalf of a user.

        Raises:
            RateLimitedError: One of the two is over its quota.
        """
        wanted = ((self.limits.key, caller.key_id), (self.limits.user, user))
        counted: list[tuple[Quota, str]] = [
            (quota, who) for quota, who in wanted if quota is not None and who
        ]
        return _pass(self._buckets.take(counted, self._clock()))


def counter_of(request: Request) -> Counter:
    """The application's counter."""
    counter = request.app.state.counter
    assert isinstance(counter, Counter)
    return counter


def _pass(ruling: Ruling) -> Ruling:
    if ruling.exceeded is not None:
        raise refusal(ruling)
    return ruling

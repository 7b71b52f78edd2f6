"""The circuit breaker opens, tries again, and lets one trial through at a time."""

from __future__ import annotations

import pytest

from serving.breaker import BreakerState, CircuitBreaker


class Clock:
    """Seconds that pass when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """Opens after three failures, for ten seconds."""
    return CircuitBreaker(clock=clock, failures_to_open=3, cool_down_s=10)


def fail(breaker: CircuitBreaker, n_times: int) -> None:
    """Report failures."""
    for _ in range(n_times):
        breaker.failed()


def test_opens_after_failures_in_a_row(breaker: CircuitBreaker) -> None:
    """The third failure opens, two do not, and a success in between starts the count anew."""
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.allows()
    breaker.failed()
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allows()


def test_one_trial_after_the_cool_down(breaker: CircuitBreaker, clock: Clock) -> None:
    """After the cool-down exactly one caller may try."""
    fail(breaker, 3)
    clock.now_s += 10
    assert breaker.state is BreakerState.HALF_OPEN
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_trial_decides(breaker: CircuitBreaker, clock: Clock) -> None:
    """A failed trial starts another cool-down, a good one closes."""
    fail(breaker, 3)
    clock.now_s += 10
    assert breaker.allows()
    breaker.failed()
    clock.now_s += 9
    assert not breaker.allows()
    clock.now_s += 1
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert all(breaker.allows() for _ in range(3))


def test_lost_trial_is_given_up(breaker: CircuitBreaker, clock: Clock) -> None:
    """A trial that nobody reports on does not keep the breaker open for ever."""
    fail(breaker, 3)
    clock.now_s += 10
    assert breaker.allows()
    clock.now_s += 10
    assert breaker.allows()


@pytest.mark.parametrize(("failures_to_open", "cool_down_s"), [(0, 1.0), (1, 0.0)])
def test_numbers_are_checked(clock: Clock, failures_to_open: int, cool_down_s: float) -> None:
    """Numbers out of range are named."""
    with pytest.raises(ValueError, match=str(failures_to_open)):
        CircuitBreaker(clock=clock, failures_to_open=failures_to_open, cool_down_s=cool_down_s)

"""Token buckets."""

from __future__ import annotations

from serving.http.limits import RateLimiter, RequestBudget


def test_a_bucket_empties_and_fills_again() -> None:
    """After the burst there is a wait; after the wait there is one request more."""
    now = [0.0]
    limiter = RateLimiter(RequestBudget(burst=2, per_second=0.5), lambda: now[0])
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 2]
    assert limiter.take("b") == 0
    now[0] = 2.0
    assert [limiter.take("a"), limiter.take("a")] == [0, 2]

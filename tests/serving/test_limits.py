"""Quotas empty and fill again, slots are held and given back, and nothing grows without end."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.settings import InvalidSettingsError, load_settings
from serving.errors import BusyError, RateLimitedError
from serving.limits import (
    AnswerSlots,
    Buckets,
    Limits,
    Quota,
    level_field,
    limits_of,
    policy_field,
    refusal,
)

USER = Quota("user", burst=2, per_second=0.5)
KEY = Quota("key", burst=10, per_second=1)


def test_a_bucket_empties_and_fills_again() -> None:
    """After the burst there is a wait; after the wait there is one request more."""
    buckets = Buckets()
    rulings = [buckets.take([(USER, "a")], 0.0) for _ in range(3)]
    assert [ruling.exceeded is None for ruling in rulings] == [True, True, False]
    assert refusal(rulings[-1]).retry_after_s == 2
    assert buckets.take([(USER, "b")], 0.0).exceeded is None
    assert buckets.take([(USER, "a")], 2.0).exceeded is None
    assert buckets.take([(USER, "a")], 2.0).exceeded is not None


def test_a_refused_request_costs_no_quota() -> None:
    """A request that one quota refuses takes nothing from the others."""
    buckets = Buckets()
    for _ in range(50):
        buckets.take([(KEY, "k"), (USER, "a")], 0.0)
    last = buckets.take([(KEY, "k"), (USER, "a")], 0.0)
    assert last.exceeded is not None
    assert last.exceeded.quota is USER
    assert [standing.left for standing in last.standings] == [8, 0]


def test_the_longest_wait_is_told() -> None:
    """Where two quotas are used up, the time to wait is that of the slower one."""
    slow = Quota("key", burst=1, per_second=0.1)
    buckets = Buckets()
    buckets.take([(slow, "k"), (Quota("user", 1, 1), "a")], 0.0)
    last = buckets.take([(slow, "k"), (Quota("user", 1, 1), "a")], 0.0)
    assert refusal(last).retry_after_s == 10


@given(gaps=st.lists(st.floats(0, 5), max_size=60))
def test_never_more_than_burst_and_refill(gaps: list[float]) -> None:
    """Whatever the rhythm, no more pass than the burst and what was refilled since."""
    buckets, now, passed = Buckets(), 0.0, 0
    for gap in gaps:
        now += gap
        passed += buckets.take([(USER, "a")], now).exceeded is None
    assert passed <= USER.burst + now * USER.per_second + 1e-6


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """Time before the last request refills nothing and takes nothing."""
    buckets = Buckets()
    buckets.take([(USER, "a")], 100.0)
    assert buckets.take([(USER, "a")], 50.0).standings[0].left == 0


def test_buckets_do_not_grow_without_end() -> None:
    """Of too many callers, the one unused for longest is forgotten."""
    buckets = Buckets(most=3)
    for caller in ("a", "b", "c", "a", "d"):
        buckets.take([(USER, caller)], 0.0)
    assert len(buckets) == 3
    assert buckets.look(USER, "a", 0.0).exceeded is not None
    assert buckets.look(USER, "b", 0.0).standings[0].left == 2


def test_fields_are_those_of_the_draft() -> None:
    """Policies and levels are written as lists of strings with parameters."""
    ruling = Buckets().take([(KEY, "k"), (USER, "a")], 0.0)
    assert policy_field(ruling) == '"key";q=10;w=10, "user";q=2;w=4'
    assert level_field(ruling) == '"key";r=9;t=1, "user";r=1;t=2'


def test_slots_are_given_back() -> None:
    """A user has so many answers under way, others are not concerned, and an end makes room."""
    slots = AnswerSlots(per_user=1, total=2)
    with slots.slot("a"):
        with pytest.raises(RateLimitedError) as refused, slots.slot("a"):
            pass
        assert refused.value.policy == '"answers";q=1;qu="concurrent-requests"'
        with slots.slot("b"):
            assert slots.under_way() == 2
            with pytest.raises(BusyError), slots.slot("c"):
                pass
        with slots.slot("c"):
            pass
    with pytest.raises(ValueError, match="fails"), slots.slot("a"):
        raise ValueError("fails")
    assert slots.under_way() == 0


def test_slots_hold_under_threads() -> None:
    """However many ask at once, no more get in than there are slots."""
    slots, together, most = AnswerSlots(per_user=None, total=3), threading.Barrier(12), []

    def ask() -> None:
        together.wait()
        try:
            with slots.slot("a"):
                most.append(slots.under_way())
        except BusyError:
            pass

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most
    assert max(most) <= 3
    assert slots.under_way() == 0


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        ("10.0.3.4", None),
        ("", None),
    ],
)
def test_whom_an_address_counts_for(peer: str, counted: str | None) -> None:
    """An IPv6 subscriber counts as one; this machine and proxies do not count."""
    limits = limits_of(load_settings(limit_exempt_addresses="10.0.3.0/24"))
    assert limits.address_of(peer) == counted


def test_proxies_that_name_users_are_exempt() -> None:
    """They carry everybody's requests."""
    settings = load_settings(identity="proxy", proxy_addresses="10.9.0.1")
    assert limits_of(settings).address_of("10.9.0.1") is None
    assert limits_of(settings).address_of("10.9.0.2") == "10.9.0.2"


def test_zero_means_no_bound() -> None:
    """Each limit can be switched off."""
    names = (
        "user_per_s",
        "key_per_s",
        "address_per_s",
        "failures_per_min",
        "answers_per_user",
        "answers_total",
    )
    limits = limits_of(load_settings(**{f"limit_{name}": 0 for name in names}))
    assert limits == Limits()


def test_an_address_that_is_none_stops_the_desk() -> None:
    """The setting is named."""
    with pytest.raises(InvalidSettingsError, match="limit_exempt_addresses"):
        limits_of(load_settings(limit_exempt_addresses="proxy.example.org"))

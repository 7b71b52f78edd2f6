"""How much one caller may ask for: token buckets for requests, slots for answers. No clock, no I/O.

Each request is counted against up to three quotas: its API key's, its user's and its address's. Credentials that
are not valid count against a fourth, of the address they come from. What is counted stands in this process: a
desk of n query services lets n times as much through.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from retrieval.settings import InvalidSettingsError, Settings
from serving.errors import BusyError, RateLimitedError
from serving.identity import Network, is_loopback, listed, proxies_of

_MAX_BUCKETS = 30_000
"""Buckets kept; the one unused for longest is forgotten first, which only ever fills it."""

_IPV6_SITE_BITS = 64
"""One subscriber has as many IPv6 addresses as fit below this prefix, so they count as one."""

_ANSWER_WAIT_S = 2
"""What a caller with too many answers under way is told to wait: about as long as an answer takes."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A token bucket's size and refill.

    Attributes:
        name: What is counted: `key`, `user`, `address`, `failures`; the policy's name in `RateLimit-Policy`.
        burst: Requests at once after a pause, at least 1.
        per_second: Requests per second in the long run.
    """

    name: str
    burst: float
    per_second: float

    @property
    def window_s(self) -> int:
        """Seconds in which an empty bucket is full again, at least 1."""
        return max(1, math.ceil(self.burst / self.per_second))


@dataclass(frozen=True, slots=True)
class Level:
    """What a bucket held at a moment (monotonic seconds)."""

    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands with a quota.

    Attributes:
        left: Whole requests that are left.
        wait_s: Seconds until there is one more, at least 1.
    """

    quota: Quota
    left: int
    wait_s: int


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a request may pass, and where its caller stands with each quota that it counts against."""

    standings: tuple[Standing, ...]
    exceeded: Standing | None = None


def refilled(level: Level | None, quota: Quota, now: float) -> float:
    """The tokens of a bucket now; a bucket that was never used is full."""
    if level is None:
        return quota.burst
    return min(quota.burst, level.tokens + max(0.0, now - level.at) * quota.per_second)


def standing_of(tokens: float, quota: Quota) -> Standing:
    """Where the caller stands whose bucket holds these tokens."""
    left = math.floor(tokens)
    return Standing(quota, left, max(1, math.ceil((left + 1 - tokens) / quota.per_second)))


class Buckets:
    """Token buckets of many callers, at most `_MAX_BUCKETS`. Safe to share between threads."""

    def __init__(self, most: int = _MAX_BUCKETS) -> None:
        """Start with all buckets full."""
        self._most = most
        self._lock = threading.Lock()
        self._levels: OrderedDict[tuple[str, str], Level] = OrderedDict()

    def __len__(self) -> int:
        """How many buckets are remembered."""
        return len(self._levels)

    def take(self, counted: Sequence[tuple[Quota, str]], now: float) -> Ruling:
        """Count one request against all of these quotas, or, where one is used up, against none.

        Args:
            counted: Quotas, each with whom it is counted for.
            now: Monotonic seconds.
        """
        with self._lock:
            held = [(quota, who, self._tokens(quota, who, now)) for quota, who in counted]
            passes = all(tokens >= 1 for _, _, tokens in held)
            standings = []
            for quota, who, tokens in held:
                rest = tokens - 1 if passes else tokens
                self._keep((quota.name, who), Level(rest, now))
                standings.append(standing_of(rest, quota))
        exceeded = None if passes else max((s for s in standings if not s.left), key=lambda s: s.wait_s)
        return Ruling(tuple(standings), exceeded)

    def look(self, quota: Quota, who: str, now: float) -> Ruling:
        """What `take` would say, without counting."""
        with self._lock:
            standing = standing_of(self._tokens(quota, who, now), quota)
        return Ruling((standing,), None if standing.left else standing)

    def _tokens(self, quota: Quota, who: str, now: float) -> float:
        return refilled(self._levels.get((quota.name, who)), quota, now)

    def _keep(self, bucket: tuple[str, str], level: Level) -> None:
        self._levels[bucket] = level
        self._levels.move_to_end(bucket)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)


class AnswerSlots:
    """Answers under way, bounded by user and in all. Safe to share between threads."""

    def __init__(self, *, per_user: int | None, total: int | None) -> None:
        """Let this many be under way; None for no bound."""
        self._per_user = per_user
        self._total = total
        self._lock = threading.Lock()
        self._by_user: Counter[str] = Counter()

    @contextmanager
    def slot(self, user: str) -> Iterator[None]:
        """Hold a slot while the block runs. Nobody waits for one: the model server has the queue.

        Raises:
            RateLimitedError: The user has as many under way as one user may.
            BusyError: So have all together.
        """
        self._enter(user)
        try:
            yield
        finally:
            self._leave(user)

    def under_way(self) -> int:
        """How many slots are held."""
        with self._lock:
            return self._by_user.total()

    def _enter(self, user: str) -> None:
        with self._lock:
            if self._per_user is not None and self._by_user[user] >= self._per_user:
                raise RateLimitedError(
                    f"{self._per_user} answers of this user are under way",
                    retry_after_s=_ANSWER_WAIT_S,
                    policy=f'"answers";q={self._per_user};qu="concurrent-requests"',
                    level='"answers";r=0',
                )
            if self._total is not None and self._by_user.total() >= self._total:
                raise BusyError("the desk works on as many answers as it can")
            self._by_user[user] += 1

    def _leave(self, user: str) -> None:
        with self._lock:
            self._by_user[user] -= 1
            if not self._by_user[user]:
                del self._by_user[user]


def refusal(ruling: Ruling) -> RateLimitedError:
    """What is told to a caller over a quota."""
    assert ruling.exceeded is not None
    return RateLimitedError(
        f"too many requests: {_MEANINGS[ruling.exceeded.quota.name]}",
        retry_after_s=ruling.exceeded.wait_s,
        policy=policy_field(ruling),
        level=level_field(ruling),
    )


_MEANINGS = {
    "key": "the API key's quota is used up",
    "user": "the user's quota is used up",
    "address": "the quota of the address that they come from is used up",
    "failures": "too many credentials from this address were not valid",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What callers may do; None for no bound.

    Attributes:
        failures: Of one address: requests whose credential is not valid.
        exempt: Networks whose requests are not counted by address. This machine never is.
        request_s: Longest time until a reply begins, seconds.
    """

    key: Quota | None = None
    user: Quota | None = None
    address: Quota | None = None
    failures: Quota | None = None
    exempt: tuple[Network, ...] = ()
    answers_per_user: int | None = None
    answers_total: int | None = None
    request_s: float = 120.0

    def address_of(self, peer: str) -> str | None:
        """What a connection's other end is counted as; None when it is not counted.

        An end without an address is a socket file, so a proxy on this machine.
        """
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return None
        address = getattr(address, "ipv4_mapped", None) or address
        if is_loopback(str(address)) or any(address in network for network in self.exempt):
            return None
        if address.version == 4:
            return str(address)
        return str(ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False))


UNLIMITED = Limits()


def limits_of(settings: Settings) -> Limits:
    """The limits in the settings.

    Raises:
        InvalidSettingsError: An address cannot be understood.
    """
    return Limits(
        key=_quota("key", settings.limit_key_per_s, settings.limit_burst_s),
        user=_quota("user", settings.limit_user_per_s, settings.limit_burst_s),
        address=_quota("address", settings.limit_address_per_s, settings.limit_burst_s),
        failures=_quota("failures", settings.limit_failures_per_min / 60, 60.0),
        exempt=_networks(settings),
        answers_per_user=settings.limit_answers_per_user or None,
        answers_total=settings.limit_answers_total or None,
        request_s=settings.limit_request_s,
    )


def policy_field(ruling: Ruling) -> str:
    """`RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11): each quota with its size and window."""
    quotas = (standing.quota for standing in ruling.standings)
    return ", ".join(f'"{quota.name}";q={int(quota.burst)};w={quota.window_s}' for quota in quotas)


def level_field(ruling: Ruling) -> str:
    """`RateLimit` of the same draft: what is left of each quota, and the seconds until there is more."""
    return ", ".join(f'"{each.quota.name}";r={each.left};t={each.wait_s}' for each in ruling.standings)


def _quota(name: str, per_second: float, burst_s: float) -> Quota | None:
    return Quota(name, max(1.0, per_second * burst_s), per_second) if per_second else None


def _networks(settings: Settings) -> tuple[Network, ...]:
    """Proxies carry everybody's requests, so they are not counted by address."""
    naming = proxies_of(settings) if settings.identity == "proxy" else ()
    try:
        return (*map(ipaddress.ip_network, listed(settings.limit_exempt_addresses)), *naming)
    except ValueError as error:
        raise InvalidSettingsError(f"limit_exempt_addresses: {error}") from error

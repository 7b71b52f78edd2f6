"""A small HTTP client for reading strangers' sites: bounded in time, bytes, redirects and attempts.

It sends no cookies, reads no proxy settings, and keeps credentials to the one origin they are for.
"""

from __future__ import annotations

import email.utils
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import httpcore

from ingest.sources.web_guard import (
    AllowedHosts,
    GuardedBackend,
    Resolver,
    Target,
    parse_target,
    resolve,
)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({429, 500, 502, 503, 504})


class UnreadableError(Exception):
    """The server did not answer, or answered something that is no HTTP response."""


class BodyTooLargeError(Exception):
    """The body is over the cap, as sent or unpacked."""


class TooPatientError(Exception):
    """The server asks to come back later than the client is willing to wait."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """How much one request may cost.

    Attributes:
        connect_s: Longest wait for a connection, seconds.
        read_s: Longest silence, seconds.
        request_s: Longest one request may take with its body, seconds.
        n_redirects: Most redirects of one request.
        n_attempts: Attempts where the failure may pass (429, 5xx, no answer).
        backoff_s: Wait before the second attempt, seconds; doubled for each further one.
        wait_s: Longest wait that `Retry-After` is followed for, seconds.
        delay_s: Pause between two requests, seconds.
    """

    connect_s: float = 10.0
    read_s: float = 20.0
    request_s: float = 120.0
    n_redirects: int = 5
    n_attempts: int = 3
    backoff_s: float = 1.0
    wait_s: float = 60.0
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. `headers` have lower-case names; `target` is where it came from after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    target: Target


@dataclass(frozen=True, slots=True)
class Credential:
    """A header that goes to one origin and nowhere else."""

    origin: tuple[str, str, int]
    name: str
    value: str = field(repr=False)


class WebClient:
    """Reads pages. One at a time: make another for another thread."""

    def __init__(
        self,
        allowed: AllowedHosts,
        limits: ClientLimits,
        *,
        user_agent: str,
        credential: Credential | None = None,
        resolver: Resolver = resolve,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open no connection yet.

        Args:
            allowed: Addresses permitted besides public ones.
            user_agent: Sent with each request, so that a site's owner knows who reads.
            resolver: Finds the addresses of a host.
            sleep: Waits, seconds.
        """
        self._limits = limits
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "gzip"}
        self._credential = credential
        self._sleep = sleep
        self._backend = GuardedBackend(allowed, resolver)
        self._pool = httpcore.ConnectionPool(network_backend=self._backend, max_connections=2)
        self._delay_s = limits.delay_s
        self._last_request = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def slow_down(self, delay_s: float) -> None:
        """Pause at least this long between two requests, seconds."""
        self._delay_s = max(self._delay_s, delay_s)

    def get(
        self,
        target: Target,
        *,
        max_bytes: int,
        may_visit: Callable[[Target], bool],
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Read a page, following redirects.

        Args:
            max_bytes: Cap of the body, both as sent and unpacked.
            may_visit: Whether a redirect to this place may be followed; the redirect is the reply where not.
            headers: Sent in addition; conditions of a conditional request.

        Raises:
            RefusedAddressError: The host, or one that it redirects to, has an address that is not permitted.
            UnreadableError: No answer after all attempts, too many redirects, or not HTTP.
            BodyTooLargeError: The body is over `max_bytes`.
            TooPatientError: The server asks for a longer wait than `ClientLimits.wait_s`.
        """
        for _ in range(self._limits.n_redirects + 1):
            reply = self._persistently(target, max_bytes, headers or {})
            location = reply.headers.get("location", "")
            if reply.status not in _REDIRECTS or not location:
                return reply
            target = parse_target(location, base=reply.target.url)
            if not may_visit(target):
                return reply
        raise UnreadableError(f"more than {self._limits.n_redirects} redirects")

    def _persistently(self, target: Target, max_bytes: int, headers: Mapping[str, str]) -> Reply:
        for attempt in range(1, self._limits.n_attempts + 1):
            is_last = attempt == self._limits.n_attempts
            try:
                reply = self._once(target, max_bytes, headers)
            except UnreadableError:
                if is_last:
                    raise
                self._sleep(self._limits.backoff_s * 2 ** (attempt - 1))
                continue
            if reply.status not in _PASSING or is_last:
                return reply
            self._sleep(self._wait_s(reply, attempt))
        raise UnreadableError("no attempt was made")

    def _wait_s(self, reply: Reply, attempt: int) -> float:
        backoff = self._limits.backoff_s * 2 ** (attempt - 1)
        asked = retry_after_s(reply.headers.get("retry-after", ""), datetime.now(UTC))
        if asked > self._limits.wait_s:
            raise TooPatientError(f"the server asks to come back in {asked:.0f} s")
        return float(max(backoff, asked))

    def _once(self, target: Target, max_bytes: int, headers: Mapping[str, str]) -> Reply:
        pause = self._last_request + self._delay_s - time.monotonic()
        if pause > 0:
            self._sleep(pause)
        self._backend.deadline = time.monotonic() + self._limits.request_s
        timeouts = {"connect": self._limits.connect_s, "pool": self._limits.connect_s}
        timeouts |= {"read": self._limits.read_s, "write": self._limits.read_s}
        try:
            with self._pool.stream(
                "GET",
                httpcore.URL(
                    scheme=target.scheme.encode(),
                    host=target.host.encode(),
                    port=target.port,
                    target=target.path.encode(),
                ),
                headers=self._all_headers(target, headers),
                extensions={"timeout": timeouts},
            ) as response:
                return _read(response, target, max_bytes)
        except (
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
            zlib.error,
        ) as error:
            raise UnreadableError(str(error) or type(error).__name__) from error
        finally:
            self._last_request = time.monotonic()

    def _all_headers(self, target: Target, extra: Mapping[str, str]) -> list[tuple[bytes | str, bytes | str]]:
        host = target.url.removeprefix(f"{target.scheme}://").partition("/")[0]
        headers = {"Host": host, **self._headers, **extra}
        if self._credential is not None and self._credential.origin == target.origin:
            headers[self._credential.name] = self._credential.value
        return [*headers.items()]


def _read(response: httpcore.Response, target: Target, max_bytes: int) -> Reply:
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, value in response.headers
    }
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise BodyTooLargeError(f"the body has {length} bytes")
    encoding = headers.get("content-encoding", "identity").lower()
    stream: Iterator[bytes] = capped(response.iter_stream(), max_bytes)
    if encoding in ("gzip", "x-gzip"):
        stream = capped(gunzip(stream), max_bytes)
    elif encoding not in ("identity", ""):
        raise UnreadableError(f"the content encoding {encoding} was not asked for")
    return Reply(response.status, headers, b"".join(stream), target)


def capped(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Pass chunks on until there are too many bytes.

    Raises:
        BodyTooLargeError: There are more than `max_bytes`.
    """
    n_bytes = 0
    for chunk in chunks:
        n_bytes += len(chunk)
        if n_bytes > max_bytes:
            raise BodyTooLargeError(f"the body has more than {max_bytes} bytes")
        yield chunk


def gunzip(chunks: Iterable[bytes], *, step: int = 2**16) -> Iterator[bytes]:
    """Unpack gzip in steps of at most `step` bytes, so that a bomb is noticed before it has gone off.

    Raises:
        zlib.error: The data are damaged or end too early.
    """
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for chunk in chunks:
        rest = chunk
        while rest:
            if unpacker.eof:
                unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
            yield unpacker.decompress(rest, step)
            rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    while not unpacker.eof:
        more = unpacker.decompress(b"", step)
        if not more:
            raise zlib.error("the compressed data end too early")
        yield more


def retry_after_s(value: str, now: datetime) -> float:
    """Seconds that a `Retry-After` header asks for (a number or a date), 0 when it says nothing."""
    if value.isdigit():
        return float(value)
    when = http_date(value)
    return max(0.0, (when - now).total_seconds()) if when else 0.0


def http_date(value: str) -> datetime | None:
    """A date as HTTP headers write it, None when it cannot be read."""
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)

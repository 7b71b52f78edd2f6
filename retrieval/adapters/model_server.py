"""POST to a server of small models, and a reply that can be relied on, or one error that says what was wrong.

Shared by the HTTP embedder and the HTTP reranker. A server's own words never get into an error: they may quote
what was sent. Proxy variables of the environment are ignored.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

T = TypeVar("T")
Reply = TypeVar("Reply", bound=BaseModel)

MAX_TEXTS = 32
"""Texts per request: what TEI takes at most unless told otherwise (`--max-client-batch-size`)."""

_ATTEMPTS = 3
_BACKOFF_S = 0.2
_CONNECT_S = 2.0
_MAX_REPLY_BYTES = 64 * 2**20
_BUSY = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Answers after which the same request may well succeed in a moment."""


class ModelServerError(Exception):
    """The server did not give a usable reply in time."""


class _BusyError(Exception):
    """Worth another attempt. `pause_s` is what the server asked for, None when it did not."""

    def __init__(self, reason: str, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class ModelServerSettings:
    """Where a model is served.

    Attributes:
        base_url: What stands before the route, for example `http://models:8000/v1`.
        model: Name that the server knows it by; TEI serves one model and needs none.
        api_key: Sent as a bearer token unless empty.
        time_s: Longest time for one request, further attempts and pauses included.
    """

    base_url: str
    model: str = ""
    api_key: str = field(default="", repr=False)
    time_s: float = 20.0


class ModelServer:
    """A client of one server. Safe to share between threads."""

    def __init__(self, settings: ModelServerSettings) -> None:
        """Connect to nothing yet."""
        self.settings = settings
        headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        self._client = httpx.Client(headers=headers, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def post(self, route: str, body: Mapping[str, object], reply: type[Reply], *, due: float) -> Reply:
        """The server's reply to one request, which has no effect on the server.

        Tried again after "too many requests", "unavailable" and broken connections, never after a time-out.

        Args:
            route: Put after the base URL, with its slash.
            body: Sent as JSON, with the model's name unless that is empty.
            reply: What the reply has to look like.
            due: Monotonic seconds at which the caller gives up.

        Raises:
            ModelServerError: See there.
        """
        named = {"model": self.settings.model} if self.settings.model else {}
        url = self.settings.base_url.rstrip("/") + route
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return _understood(reply, self._attempt(url, {**named, **body}, due))
            except _BusyError as error:
                backoff_s = _BACKOFF_S * 2**attempt * random.uniform(0.5, 1)  # noqa: S311 - spreads retries
                pause_s = backoff_s if error.pause_s is None else error.pause_s
                if attempt == _ATTEMPTS or time.monotonic() + pause_s >= due:
                    raise ModelServerError(str(error)) from error
            time.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, url: str, body: Mapping[str, object], due: float) -> bytes:
        left_s = due - time.monotonic()
        if left_s <= 0:
            raise ModelServerError("it did not answer in time")
        limits = httpx.Timeout(left_s, connect=min(_CONNECT_S, left_s))
        try:
            with self._client.stream("POST", url, json=dict(body), timeout=limits) as response:
                _require_ok(response)
                return _read(response, due)
        except httpx.TimeoutException as error:
            raise ModelServerError("it did not answer in time") from error
        except httpx.TransportError as error:
            raise _BusyError(f"it cannot be reached ({type(error).__name__})") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ModelServerError(f"it cannot be asked ({type(error).__name__})") from error


def in_order(answered: Iterable[tuple[int, T]], count: int) -> list[T]:
    """What was answered, in the order that was asked in.

    Args:
        answered: Position in the request, and what belongs to it; in any order.
        count: How many were asked for.

    Raises:
        ModelServerError: A position is missing, there twice, or was never asked for.
    """
    pairs = list(answered)
    if sorted(position for position, _ in pairs) != list(range(count)):
        raise ModelServerError(f"it did not answer each of {count} texts once")
    return [value for _, value in sorted(pairs, key=lambda pair: pair[0])]


def _require_ok(response: httpx.Response) -> None:
    if response.status_code in _BUSY:
        raise _BusyError(f"it answered HTTP {response.status_code}", _asked_pause_s(response))
    if response.status_code != HTTPStatus.OK:
        raise ModelServerError(f"it answered HTTP {response.status_code}")


def _asked_pause_s(response: httpx.Response) -> float | None:
    """Seconds in `Retry-After`; a date there is left aside."""
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else None


def _read(response: httpx.Response, due: float) -> bytes:
    """The body; reading in pieces bounds also a server that sends byte by byte."""
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if time.monotonic() > due:
            raise ModelServerError("it did not answer in time")
        if len(body) > _MAX_REPLY_BYTES:
            raise ModelServerError("its reply is too large")
    return bytes(body)


def _understood(reply: type[Reply], body: bytes) -> Reply:
    try:
        return reply.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "reply"
        raise ModelServerError(f"its reply is not understood ({where}: {problem['type']})") from None

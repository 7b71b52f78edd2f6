"""Around every request: id, limits of size, number and time, browser checks, security headers, metrics, access log.

Plain ASGI, so that streams pass through unbuffered. The log holds events with ids and counts, never a
question, a query string or a header.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval.errors import RefdeskError
from serving.http.browsers import check_local
from serving.http.callers import peer_of
from serving.http.errors import (
    Problem,
    RequestTimeoutError,
    encoded,
    headers_of,
    problem_of,
    unexpected_problem,
)
from serving.http.limits import Counter
from serving.http.metrics import Metrics
from serving.limits import Ruling, level_field, policy_field

_log = logging.getLogger(__name__)
_access = logging.getLogger("refdesk.access")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

UPLOAD_PATH = "/api/v1/documents"

_OTHER_BODY_S = 15.0
"""Longest time for such a body to arrive; it is one packet or a few."""

_BODYS_SHARE = 0.75
"""Of a request's time, what an upload may use up; the rest is for the desk."""

_MAX_OTHER_BODY = 2 * 2**20
"""Largest body of everything but a pushed document: questions, lists and histories are small."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Largest request bodies, in bytes."""

    upload: int
    other: int = _MAX_OTHER_BODY

    def of(self, method: str, path: str) -> int:
        """The limit for a request."""
        return self.upload if (method, path) == ("PUT", UPLOAD_PATH) else self.other


class Envelope:
    """The outermost layer of the application."""

    def __init__(
        self, app: ASGIApp, *, limits: BodyLimits, is_local: bool, metrics: Metrics, counter: Counter
    ) -> None:
        """Wrap `app`; a local desk also refuses what other sites make a browser send."""
        self._app = app
        self._limits = limits
        self._is_local = is_local
        self._metrics = metrics
        self._counter = counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(scope, send, request_id, time.perf_counter())
        try:
            self._counter.admit_address(peer_of(HTTPConnection(scope)))
            if self._is_local:
                check_local(Headers(scope=scope), scope["method"])
            await self._serve_in_time(scope, self._bounded(receive, scope), exchange)
        except RefdeskError as error:
            await exchange.refuse(problem_of(error), headers_of(error))
        except Exception as error:  # the edge of the process: logged once, then answered
            if exchange.has_begun:
                raise
            _log.error("request failed unexpectedly", extra={"request_id": request_id}, exc_info=error)
            await exchange.refuse(unexpected_problem())
        finally:
            exchange.record(self._metrics)

    def _bounded(self, receive: Receive, scope: Scope) -> Receive:
        is_upload = (scope["method"], scope["path"]) == ("PUT", UPLOAD_PATH)
        longest_s = self._counter.limits.request_s * _BODYS_SHARE
        return _limited(
            receive,
            scope,
            limit=self._limits.of(scope["method"], scope["path"]),
            longest_s=longest_s if is_upload else min(longest_s, _OTHER_BODY_S),
        )

    async def _serve_in_time(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        """Serve the request, or refuse it when its time is up and no reply has begun.

        What works on it in a thread cannot be stopped; its reply is dropped.
        """
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._refuse_late, exchange, group.cancel_scope)
            try:
                await self._app(scope, receive, exchange.send)
            except Exception as error:  # noqa: BLE001  # raised below, out of the group, which would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None and not exchange.is_over:
            raise failure

    async def _refuse_late(self, exchange: _Exchange, serving: anyio.CancelScope) -> None:
        await anyio.sleep(self._counter.limits.request_s)
        if not exchange.has_begun:
            error = RequestTimeoutError("no reply was ready in time")
            await exchange.refuse(problem_of(error), headers_of(error))
            serving.cancel()


class _Exchange:
    """One request and what was sent for it."""

    def __init__(self, scope: Scope, send: Send, request_id: str, began: float) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._began = began
        self._status = 500
        self.has_begun = False
        self.is_over = False

    async def refuse(self, problem: Problem, more: Mapping[str, str] | None = None) -> None:
        """Reply with a problem, in the shape that the route's clients read; nothing else is sent afterwards."""
        self.is_over = True
        status, told, media_type = encoded(self._scope["path"], problem, self._request_id)
        body = json.dumps(told)
        headers = Headers(
            {
                "content-type": media_type,
                "content-length": str(len(body.encode())),
                **(more or {}),
            }
        )
        await self._pass_on({"type": "http.response.start", "status": status, "headers": headers.raw})
        await self._pass_on({"type": "http.response.body", "body": body.encode()})

    async def send(self, message: Message) -> None:
        """Send a message of the application on, unless the request was refused meanwhile."""
        if not self.is_over:
            await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        """Send a message, the first one with our headers."""
        if message["type"] == "http.response.start":
            self._status, self.has_begun = message["status"], True
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self._scope["path"].startswith(("/api/", "/v1/", "/scim/")):
                headers.setdefault("Cache-Control", "no-store")
            self._tell_quotas(headers)
        await self._send(message)

    def _tell_quotas(self, headers: MutableHeaders) -> None:
        """Say what is left of the caller's quotas, where the request did what it was to do.

        An error says it only where a quota is the reason: what is refused looks the same whatever came before.
        """
        ruling: Ruling | None = self._scope["state"].get("ruling")
        if ruling is not None and ruling.standings and self._status < 400:
            headers["RateLimit-Policy"] = policy_field(ruling)
            headers["RateLimit"] = level_field(ruling)

    def record(self, metrics: Metrics) -> None:
        """Count the request and write its line in the access log."""
        spent_s = time.perf_counter() - self._began
        route = getattr(self._scope.get("route"), "path", "none")
        method = self._scope["method"]
        metrics.observe(method, route, self._status, spent_s)
        principal = self._scope["state"].get("principal")
        _access.info(
            "request",
            extra={
                "request_id": self._request_id,
                "method": method,
                "route": route,
                "status": self._status,
                "ms": round(spent_s * 1000, 1),
                "user": getattr(principal, "user_id", ""),
            },
        )


def _limited(receive: Receive, scope: Scope, *, limit: int, longest_s: float) -> Receive:
    """`receive` that stops a body over the limit, announced or not, and one that takes too long to arrive."""
    announced = Headers(scope=scope).get("content-length", "")
    due = anyio.current_time() + longest_s
    received = 0
    is_whole = False

    async def limited() -> Message:
        nonlocal received, is_whole
        if announced.isdecimal() and int(announced) > limit:
            raise HTTPException(413)
        if is_whole:  # what comes now is only that the client went away, at any time
            return await receive()
        with anyio.move_on_at(due) as waiting:
            message = await receive()
        if waiting.cancelled_caught:
            raise HTTPException(408)
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413)
        is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    return limited

"""Around every request: id, limit on the body, browser checks, security headers, metrics, access log.

Plain ASGI, so that streams pass through unbuffered. The log holds events with ids and counts, never a
question, a query string or a header.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval.errors import RefdeskError
from serving.http.browsers import check_local
from serving.http.errors import (
    Problem,
    encoded,
    problem_of,
    unexpected_problem,
)
from serving.http.metrics import Metrics

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

    def __init__(self, app: ASGIApp, *, limits: BodyLimits, is_local: bool, metrics: Metrics) -> None:
        """Wrap `app`; a local desk also refuses what other sites make a browser send."""
        self._app = app
        self._limits = limits
        self._is_local = is_local
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(scope, send, request_id, time.perf_counter())
        try:
            if self._is_local:
                check_local(Headers(scope=scope), scope["method"])
            limit = self._limits.of(scope["method"], scope["path"])
            await self._app(scope, _limited(receive, scope, limit), exchange.send)
        except RefdeskError as error:
            await _refuse(problem_of(error), request_id, scope, exchange)
        except Exception as error:  # the edge of the process: logged once, then answered
            if exchange.has_begun:
                raise
            _log.error("request failed unexpectedly", extra={"request_id": request_id}, exc_info=error)
            await _refuse(unexpected_problem(), request_id, scope, exchange)
        finally:
            exchange.record(self._metrics)


class _Exchange:
    """One request and what was sent for it."""

    def __init__(self, scope: Scope, send: Send, request_id: str, began: float) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._began = began
        self._status = 500
        self.has_begun = False

    async def send(self, message: Message) -> None:
        """Send a message on, the first one with our headers."""
        if message["type"] == "http.response.start":
            self._status, self.has_begun = message["status"], True
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self._scope["path"].startswith(("/api/", "/v1/", "/scim/")):
                headers.setdefault("Cache-Control", "no-store")
        await self._send(message)

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


def _limited(receive: Receive, scope: Scope, limit: int) -> Receive:
    """`receive` that stops a body over the limit, announced or not."""
    announced = Headers(scope=scope).get("content-length", "")
    received = 0

    async def limited() -> Message:
        nonlocal received
        if announced.isdecimal() and int(announced) > limit:
            raise HTTPException(413)
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413)
        return message

    return limited


async def _refuse(problem: Problem, request_id: str, scope: Scope, exchange: _Exchange) -> None:
    status, told, media_type = encoded(scope["path"], problem, request_id)
    body = json.dumps(told).encode()
    headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await exchange.send({"type": "http.response.start", "status": status, "headers": headers})
    await exchange.send({"type": "http.response.body", "body": body})

"""Idempotency-Key on writes: the same key with the same body gets the same reply; nothing is done twice."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from retrieval.access import Principal
from retrieval.adapters.sql.idempotency import SqlIdempotency, StoredReply
from retrieval.errors import ConflictError, InvalidQueryError
from retrieval.wiring import utc_now
from serving.errors import IdempotencyConflictError
from serving.http.identity import declared_scopes, identify
from serving.scopes import require

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_MAX_KEY_CHARS = 255
_NOT_KEPT = frozenset({"secret"})
"""Fields of replies that are shown once and never stored."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class IdempotentRoute(APIRoute):
    """A route whose writes honour Idempotency-Key. A reply is kept for a day, unless it is an error."""

    def get_route_handler(self) -> Handler:
        """The route's handler, with keys looked up before and kept after it."""
        handle = super().get_route_handler()
        scopes = declared_scopes(self) or ()

        async def once(request: Request) -> Response:
            key = request.headers.get(KEY_HEADER)
            if key is None or request.method not in _WRITES:
                return await handle(request)
            if not 1 <= len(key) <= _MAX_KEY_CHARS:
                raise InvalidQueryError(f"{KEY_HEADER} must have 1 to {_MAX_KEY_CHARS} characters")
            principal = await run_in_threadpool(identify, request)
            require(principal, scopes)
            return await _once(request, handle, _storage_key(principal, request, key))

        return once


async def _once(request: Request, handle: Handler, key: str) -> Response:
    stored = SqlIdempotency(request.app.state.desk.database, utc_now)
    request_hash = _request_hash(request, await request.body())
    before = await run_in_threadpool(stored.claim, key, request_hash)
    if before is not None:
        return _replay(before, request_hash)
    try:
        response = await handle(request)
    except BaseException:
        await run_in_threadpool(stored.release, key)
        raise
    if response.status_code >= 400:
        await run_in_threadpool(stored.release, key)
        return response
    content = json.loads(bytes(response.body) or b"{}")
    kept = {name: value for name, value in content.items() if name not in _NOT_KEPT}
    await run_in_threadpool(lambda: stored.keep(key, status=response.status_code, body=kept))
    return response


def _replay(before: StoredReply, request_hash: str) -> Response:
    if before.request_hash != request_hash:
        raise IdempotencyConflictError("this key came with another request before")
    if not before.is_finished:
        raise ConflictError("the first request with this key is not done yet")
    headers = {REPLAYED_HEADER: "true"}
    if not before.body:
        return Response(status_code=before.status, headers=headers)
    return JSONResponse(dict(before.body), status_code=before.status, headers=headers)


def _storage_key(principal: Principal, request: Request, key: str) -> str:
    """A key counts for one principal and one route."""
    parts = (principal.user_id, str(principal.acting_for), request.method, request.url.path, key)
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _request_hash(request: Request, body: bytes) -> str:
    """Hash of what was asked, without the multipart boundary, which clients draw anew for a repeat."""
    media_type = request.headers.get("content-type", "")
    boundary = re.search(r'boundary="?([^";,\s]+)', media_type)
    if boundary is not None:
        body = body.replace(boundary.group(1).encode("latin-1"), b"boundary")
    digest = hashlib.sha256(f"{request.url.query}\n{media_type.partition(';')[0]}\n".encode())
    digest.update(body)
    return digest.hexdigest()

"""The HTTP application without a socket: an httpx transport that calls it in this process, streams included.

httpx's own `ASGITransport` is for asyncio only and hands a reply over when it is complete; a streamed answer
would appear all at once.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

BASE_URL = "http://127.0.0.1"


class InProcessTransport(httpx.BaseTransport):
    """Runs an ASGI application on an event loop in a thread of its own."""

    def __init__(self, app: ASGIApp) -> None:
        """Start the loop; `close` ends it."""
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="app", daemon=True)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.BaseTransport.handle_request`."""
        exchange = _Exchange(request.read())
        exchange.task = self._submit(exchange.run(self._app, _scope(request)))
        status, headers = exchange.head.result()
        return httpx.Response(status, headers=headers, stream=_Body(exchange), request=request)

    def close(self) -> None:
        """End the loop."""
        self._submit(self._loop.shutdown_default_executor()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _submit(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


class _Exchange:
    """One request and its reply on their way between two threads."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._gone = asyncio.Event()
        self.head: Future[tuple[int, list[tuple[bytes, bytes]]]] = Future()
        self.pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.task: Future[None] = Future()

    async def run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:  # whatever it is, the thread that waits for the head gets it
            if not self.head.done():
                self.head.set_exception(error)
                return
            raise
        finally:
            self.pieces.put(None)

    async def _receive(self) -> Message:
        if self._body is None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.head.set_result((message["status"], list(message.get("headers", []))))
        elif message["type"] == "http.response.body" and message.get("body"):
            self.pieces.put(message["body"])


class _Body(httpx.SyncByteStream):
    """The reply's body as it is written."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._exchange.pieces.get()) is not None:
            yield piece

    def close(self) -> None:
        self._exchange.task.cancel()


def _scope(request: httpx.Request) -> dict[str, Any]:
    path, _, query = request.url.raw_path.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 80),
        "state": {},
    }

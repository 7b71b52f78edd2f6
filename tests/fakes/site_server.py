"""A real web server on loopback whose pages are changed by tests, and which remembers every request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived."""

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """An answer. With an `etag`, the condition of a conditional request is honoured."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""


class SiteServer:
    """Serves `pages` by path; everything else is a 404."""

    def __init__(self, host: str) -> None:
        """Listen on a free port of `host`, an address of 127.0.0.0/8."""
        self.pages: dict[str, Page | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.seen: list[Seen] = []
        self.n_body_bytes = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site._answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: clients hang up on purpose."""

        self._server = Server((host, 0), Handler)
        self._server.daemon_threads = True
        self.host, self.port = host, self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Stop; nothing listens on the port afterwards."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def paths(self) -> list[str]:
        """Paths asked for since the last `forget`."""
        return [request.path for request in self.seen]

    def forget(self) -> None:
        """Count requests and bytes from here on."""
        self.seen.clear()
        self.n_body_bytes = 0

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.seen.append(Seen(handler.path, headers))
        page = self.pages.get(handler.path, Page(b"nothing here", status=404))
        if callable(page):
            page(handler)
            return
        if page.etag and headers.get("if-none-match") == page.etag:
            page = Page(status=304, etag=page.etag)
        handler.send_response(page.status)
        for name, value in page.headers.items():
            handler.send_header(name, value)
        if page.etag:
            handler.send_header("ETag", page.etag)
        if page.status != 304:
            handler.send_header("Content-Length", str(len(page.body)))
        handler.end_headers()
        self.n_body_bytes += len(page.body)  # before it is sent: the client may be done with it at once
        handler.wfile.write(page.body)


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[SiteServer]:
    """A site, stopped at the end."""
    site = SiteServer(host)
    try:
        yield site
    finally:
        site.close()


def sitemap(*urls: str, lastmod: str = "") -> bytes:
    """A sitemap of these addresses."""
    date = f"<lastmod>{lastmod}</lastmod>" if lastmod else ""
    lines = "".join(f"<url><loc>{url}</loc>{date}</url>" for url in urls)
    return f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{lines}</urlset>'.encode()

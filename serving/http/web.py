"""The web page: HTML shells and their assets.

The shells hold no document, no user and no setting of the desk: everything that is shown comes from the JSON
API with the caller's own permissions, so there is one place that decides who sees what. The policy in
`_HEADERS` lets the page load nothing from elsewhere and run no inline script.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

_HERE = Path(__file__).parent

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Stricter than what `serving.http.middleware` sends with every reply; the rest of its headers apply too."""

_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Assets:
    """The page's own files. `digest` names them all at once, so that they can be cached for ever."""

    digest: str
    contents: Mapping[str, bytes]


def web_router() -> APIRouter:
    """Routes of the page and its assets, at the root."""
    router = APIRouter(include_in_schema=False)
    assets = read_assets(_HERE / "static")
    pages = _render_pages(assets.digest)

    @router.get("/")
    def ask() -> HTMLResponse:
        return _page(pages["ask"])

    @router.get("/search")
    def search() -> HTMLResponse:
        return _page(pages["search"])

    @router.get("/documents")
    def documents() -> HTMLResponse:
        return _page(pages["documents"])

    @router.get("/sources")
    def sources() -> HTMLResponse:
        return _page(pages["sources"])

    @router.get("/documents/{document_id}")
    def document(document_id: str) -> HTMLResponse:  # noqa: ARG001  # the page's script reads the address
        return _page(pages["document"])

    @router.get("/favicon.ico")
    def favicon() -> Response:
        return _asset(assets, "favicon.svg", assets.digest)

    @router.get("/static/{digest}/{name}")
    def asset(digest: str, name: str) -> Response:
        return _asset(assets, name, digest)

    return router


def read_assets(folder: Path) -> Assets:
    """All files of a folder that the page may load, in memory: they are few and small."""
    files = sorted(path for path in folder.iterdir() if path.suffix in _MEDIA_TYPES)
    contents = {path.name: path.read_bytes() for path in files}
    total = hashlib.sha256()
    for name, content in contents.items():
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return Assets(total.hexdigest()[:12], contents)


def _render_pages(digest: str) -> dict[str, str]:
    """The shells, which are the same for everybody."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("ask", "search", "documents", "document", "sources")
    return {
        name: environment.get_template(f"{name}.html").render(assets=f"/static/{digest}") for name in names
    }


def _page(html: str) -> HTMLResponse:
    return HTMLResponse(html, headers={**_HEADERS, "Cache-Control": "no-cache"})


def _asset(assets: Assets, name: str, digest: str) -> Response:
    """One file, or 404. A page from before an update still gets its files, but may not keep them."""
    content = assets.contents.get(name)
    if content is None:
        return Response(status_code=404, headers=_HEADERS)
    caching = _FOR_EVER if digest == assets.digest else "no-store"
    headers = {**_HEADERS, "Cache-Control": caching, "ETag": f'"{assets.digest}"'}
    return Response(content, media_type=_MEDIA_TYPES[Path(name).suffix], headers=headers)

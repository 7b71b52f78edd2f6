"""The web page: HTML shells and their assets.

The shells hold no document and no user, and of the desk only whether one signs in at a provider: everything that
is shown comes from the JSON API with the caller's own permissions, so there is one place that decides who sees
what. The policy in `_HEADERS` lets the page load nothing from elsewhere and run no inline script.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

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


def web_router(*, signs_in: bool) -> APIRouter:
    """Routes of the page and its assets, at the root.

    Args:
        signs_in: Whether people sign in at a provider, at `/sign-in`.
    """
    router = APIRouter(include_in_schema=False)
    assets = read_assets(_HERE / "static")
    pages = _render_pages(assets.digest, signs_in=signs_in)

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


class SignInPages:
    """What a browser sees when signing in does not work. Nobody is told why; the log has it."""

    def __init__(self) -> None:
        """Read the template."""
        self._assets = f"/static/{read_assets(_HERE / 'static').digest}"
        self._template = _environment().get_template("sign_in.html")

    def refused(self, request_id: str, path: str) -> HTMLResponse:
        """The provider or the desk did not let the person in."""
        return self._page(
            401,
            "Signing in did not work",
            "You may have waited too long, or your account may not be allowed here.",
            request_id,
            path,
        )

    def unavailable(self, request_id: str, path: str) -> HTMLResponse:
        """The provider does not answer."""
        return self._page(
            503,
            "Signing in is not possible right now",
            "The sign-in service of your organisation does not answer. Whoever has an API key can still use it.",
            request_id,
            path,
        )

    def _page(self, status: int, title: str, words: str, request_id: str, path: str) -> HTMLResponse:
        again = f"/sign-in?next={quote(path, safe='')}"
        html = self._template.render(
            assets=self._assets, title=title, words=words, request_id=request_id, again=again
        )
        headers = {**_HEADERS, "Cache-Control": "no-store"}
        return HTMLResponse(html, status_code=status, headers=headers)


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render_pages(digest: str, *, signs_in: bool) -> dict[str, str]:
    """The shells, which are the same for everybody."""
    environment = _environment()
    names = ("ask", "search", "documents", "document", "sources")
    return {
        name: environment.get_template(f"{name}.html").render(assets=f"/static/{digest}", signs_in=signs_in)
        for name in names
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

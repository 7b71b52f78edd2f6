"""What a web source reads in strangers' files to find pages: sitemaps and links.

Pure, and plain Python on purpose: these bytes are read outside the parsers' sandbox.
"""

from __future__ import annotations

import html.parser
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.parsers import expat

from ingest.sources.web_client import capped, gunzip

_GZIP = b"\x1f\x8b"
_MAX_LINKS = 5000


class SitemapError(Exception):
    """The bytes are no sitemap."""


@dataclass(frozen=True, slots=True)
class SitemapEntry:
    """A place that a sitemap names, `modified` as it is written there."""

    url: str
    modified: str


@dataclass(frozen=True, slots=True)
class Sitemap:
    """A sitemap's entries: pages, or in an index further sitemaps."""

    is_index: bool
    entries: tuple[SitemapEntry, ...]


def read_sitemap(body: bytes, *, max_bytes: int) -> Sitemap:
    """Read a sitemap, an index of sitemaps, or a plain list of addresses; each may be gzipped.

    Args:
        max_bytes: Cap of the unpacked size.

    Raises:
        SitemapError: It is none of these, is cut off, or declares a document type (no sitemap does).
        BodyTooLargeError: It unpacks to more than `max_bytes`.
    """
    if body.startswith(_GZIP):
        try:
            body = b"".join(capped(gunzip([body]), max_bytes))
        except zlib.error as error:
            raise SitemapError(f"the compressed sitemap is damaged: {error}") from error
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:100]
    if not start.startswith(b"<"):
        return _plain_list(body)
    return _SitemapReader().read(body)


def _plain_list(body: bytes) -> Sitemap:
    try:
        lines = [line.strip() for line in body.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise SitemapError("neither XML nor text") from error
    urls = [line for line in lines if line]
    if not urls or not all(url.startswith(("http://", "https://")) for url in urls):
        raise SitemapError("neither XML nor a list of addresses")
    return Sitemap(is_index=False, entries=tuple(SitemapEntry(url, "") for url in urls))


class _SitemapReader:
    """Collects `loc` and `lastmod`, and refuses everything that could expand."""

    def __init__(self) -> None:
        self._root = ""
        self._path: list[str] = []
        self._texts: dict[str, str] = {}
        self._entries: list[SitemapEntry] = []

    def read(self, body: bytes) -> Sitemap:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(body, True)
        except expat.ExpatError as error:
            raise SitemapError(f"the sitemap is no well-formed XML: {error}") from error
        if self._root not in ("urlset", "sitemapindex"):
            raise SitemapError(f"the document is a {self._root}, no sitemap")
        return Sitemap(self._root == "sitemapindex", tuple(self._entries))

    def _doctype(self, *declared: object) -> None:
        raise SitemapError("the sitemap declares a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        if not self._path:
            self._root = local
        self._path.append(local)
        if len(self._path) == 2:
            self._texts = {}

    def _text(self, text: str) -> None:
        if len(self._path) == 3:
            self._texts[self._path[-1]] = self._texts.get(self._path[-1], "") + text

    def _end(self, name: str) -> None:
        if len(self._path) == 2 and self._path[-1] in ("url", "sitemap"):
            url = self._texts.get("loc", "").strip()
            if url:
                self._entries.append(SitemapEntry(url, self._texts.get("lastmod", "").strip()))
        self._path.pop()


def links_of(body: bytes, content_type: str) -> tuple[str, ...]:
    """The `href`s of a page's links as written, in order, each once.

    Links with `rel="nofollow"` are left out; a body that is no HTML has none. `<base>` is not read.
    """
    if "html" not in content_type.lower():
        return ()
    collector = _LinkCollector()
    collector.feed(body.decode("utf-8", "replace"))
    return tuple(dict.fromkeys(collector.links))[:_MAX_LINKS]


class _LinkCollector(html.parser.HTMLParser):
    """Collects links."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the target of a link."""
        if tag != "a":
            return
        attributes = dict(attrs)
        href = (attributes.get("href") or "").strip()
        if href and "nofollow" not in (attributes.get("rel") or "").lower().split():
            self.links.append(href)


def sitemap_date(text: str) -> datetime | None:
    """A sitemap's date (ISO 8601, with or without a time), None when it cannot be read."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)

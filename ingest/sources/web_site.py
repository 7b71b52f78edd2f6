"""Which pages belong to a web source: its rules, its robots.txt, its sitemaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from protego import Protego

from ingest.errors import SourceUnavailableError
from ingest.sources.patterns import PathPatterns
from ingest.sources.web_client import Reply, WebClient
from ingest.sources.web_guard import RefusedAddressError, Target, parse_target
from ingest.sources.web_pages import Sitemap, SitemapError, read_sitemap

ROBOT = "Refdesk"
"""Name that robots.txt addresses the desk by, whatever its User-Agent says besides."""

_MAX_ROBOTS_BYTES = 512 * 1024
_MAX_SITEMAP_BYTES = 50 * 2**20
_MAX_SITEMAPS = 500
_MAX_CRAWL_DELAY_S = 30.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A page that a sitemap names, `modified` as it is written there (may be empty)."""

    target: Target
    modified: str


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What belongs to the site: the same origin, in the folder of `start` or below, and wanted by the patterns."""

    start: Target
    patterns: PathPatterns

    def is_same_site(self, target: Target) -> bool:
        """Whether a redirect to this place stays on the site; from http to https it does."""
        upgraded = self.start.scheme == "http" and self.start.port == 80
        secure = (target.scheme, target.host, target.port) == ("https", self.start.host, 443)
        return target.origin == self.start.origin or (upgraded and secure)

    def is_below_start(self, target: Target) -> bool:
        """Whether the page lies where the source begins, or below."""
        folder = _path(self.start).rpartition("/")[0] + "/"
        path = _path(target)
        has_dots = any(part in (".", "..") for part in path.split("/"))
        return target.origin == self.start.origin and path.startswith(folder) and not has_dots

    def wants(self, target: Target) -> bool:
        """Whether the patterns ask for the page."""
        return self.patterns.want(_path(target).lstrip("/"))

    def holds(self, target: Target) -> bool:
        """Whether the page can be a document of the source."""
        return self.is_below_start(target) and self.wants(target)


@dataclass(frozen=True, slots=True)
class Site:
    """A site whose robots.txt and sitemaps were read.

    Attributes:
        may_read: What robots.txt says of a page.
        candidates: The pages of the sitemaps, None where there is no sitemap.
    """

    may_read: Callable[[Target], bool]
    candidates: tuple[Candidate, ...] | None


def open_site(client: WebClient, rules: SiteRules, sitemap: str, max_pages: int) -> Site:
    """Read robots.txt and, unless `sitemap` is `none`, the sitemaps.

    Args:
        sitemap: `auto`, `none`, or the address of one.
        max_pages: Most pages that the sitemaps may name.

    Raises:
        SourceUnavailableError: One of these files is there but cannot be read, or names too many pages.
    """
    robots = _read_robots(client, rules)
    client.slow_down(min(robots.crawl_delay(ROBOT) or 0.0, _MAX_CRAWL_DELAY_S))

    def may_read(target: Target) -> bool:
        return bool(robots.can_fetch(target.url, ROBOT))

    if sitemap == "none":
        return Site(may_read, None)
    entries = _SitemapWalk(client, rules, max_pages)
    if sitemap != "auto":
        found = entries.read(sitemap, must_exist=True)
    else:
        named = [url for url in robots.sitemaps if _is_on_site(url, rules)]
        for url in named:
            entries.read(url, must_exist=True)
        found = bool(named) or entries.read("/sitemap.xml", must_exist=False)
    if not found:
        return Site(may_read, None)
    return Site(may_read, tuple(c for c in entries.candidates.values() if may_read(c.target)))


def _read_robots(client: WebClient, rules: SiteRules) -> Protego:
    target = parse_target("/robots.txt", base=rules.start.url)
    reply = client.get(target, max_bytes=_MAX_ROBOTS_BYTES, may_visit=rules.is_same_site)
    if reply.status == 200:
        return Protego.parse(reply.body.decode("utf-8", "replace"))
    if reply.status >= 500 or reply.status == 429:  # RFC 9309: as long as it fails, nothing may be read
        raise SourceUnavailableError(f"robots.txt answers with status {reply.status}")
    return Protego.parse("")


def _is_on_site(url: str, rules: SiteRules) -> bool:
    try:
        return rules.is_same_site(parse_target(url, base=rules.start.url))
    except RefusedAddressError:
        return False


class _SitemapWalk:
    """Reads sitemaps and the sitemaps that they name."""

    def __init__(self, client: WebClient, rules: SiteRules, max_pages: int) -> None:
        self._client = client
        self._rules = rules
        self._max_pages = max_pages
        self._seen: set[str] = set()
        self.candidates: dict[str, Candidate] = {}

    def read(self, url: str, *, must_exist: bool) -> bool:
        """Collect the pages of a sitemap; False when there is none and none has to be."""
        waiting = [url]
        while waiting:
            target = self._target(waiting.pop(0))
            if target.url in self._seen:
                continue
            self._seen.add(target.url)
            if len(self._seen) > _MAX_SITEMAPS:
                raise SourceUnavailableError(f"the site has more than {_MAX_SITEMAPS} sitemaps")
            reply = self._client.get(target, max_bytes=_MAX_SITEMAP_BYTES, may_visit=self._rules.is_same_site)
            if reply.status in (404, 410) and not must_exist:
                return False
            sitemap = self._parsed(target, reply)
            must_exist = True
            if sitemap.is_index:
                waiting.extend(entry.url for entry in sitemap.entries)
            else:
                self._collect(sitemap)
        return True

    def _target(self, url: str) -> Target:
        try:
            target = parse_target(url, base=self._rules.start.url)
        except RefusedAddressError as error:
            raise SourceUnavailableError(f"a sitemap's address cannot be used: {error}") from error
        if not self._rules.is_same_site(target):
            raise SourceUnavailableError(f"the sitemap {target.url} lies on another site")
        return target

    def _parsed(self, target: Target, reply: Reply) -> Sitemap:
        if reply.status != 200:
            raise SourceUnavailableError(f"the sitemap {target.url} answers with status {reply.status}")
        try:
            return read_sitemap(reply.body, max_bytes=_MAX_SITEMAP_BYTES)
        except SitemapError as error:
            raise SourceUnavailableError(f"the sitemap {target.url} cannot be read: {error}") from error

    def _collect(self, sitemap: Sitemap) -> None:
        for entry in sitemap.entries:
            try:
                target = parse_target(entry.url, base=self._rules.start.url)
            except RefusedAddressError:  # one odd line is no page of this site
                continue
            if self._rules.holds(target):
                self.candidates.setdefault(target.url, Candidate(target, entry.modified))
        if len(self.candidates) > self._max_pages:
            raise SourceUnavailableError(f"the sitemap names more than {self._max_pages} pages (max_pages)")


def _path(target: Target) -> str:
    """The path without its query, with its escapes read."""
    return unquote(target.path.partition("?")[0])

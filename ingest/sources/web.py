"""A web site as a source: the pages of its sitemap, or those that links lead to.

The listing asks for each page with the conditions (`If-None-Match`, `If-Modified-Since`) of the last visit, so
that a site that did not change sends no bodies. A fingerprint is the hash of the page's bytes: a server's ETag
may change with every restart.

What a reply means for the listing:

    200, 304                      listed
    404, 410                      gone, left out
    401, 403, other 4xx,          listed as before, or as unread: a fetch then says why; a page behind a login
    a redirect off the site       must not look deleted
    5xx, no answer                the same for a few; more in a row mean that the site is unwell: an error
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingest.errors import FetchFailedError, InvalidSourceError, SourceUnavailableError, TooLargeError
from ingest.ports import ConnectorParts, ListedDocument
from ingest.sources.options import SourceOptions
from ingest.sources.patterns import PathPatterns
from ingest.sources.web_client import (
    BodyTooLargeError,
    ClientLimits,
    Credential,
    Reply,
    TooPatientError,
    UnreadableError,
    WebClient,
    http_date,
)
from ingest.sources.web_guard import (
    AllowedHosts,
    RefusedAddressError,
    Resolver,
    Target,
    parse_target,
    resolve,
)
from ingest.sources.web_pages import links_of, sitemap_date
from ingest.sources.web_site import Candidate, Site, SiteRules, open_site
from retrieval.corpus import Source

OPTIONS = (
    *("allow_hosts", "bearer", "crawl_depth", "delay_s", "exclude", "include", "max_pages", "sitemap"),
    *("trust_lastmod", "user_agent"),
)
_MAX_FAILURES_IN_A_ROW = 5
_UNREAD = "unread"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What to read of a site.

    Attributes:
        start: Where the site begins; pages of the same origin in the same folder or below belong to it.
        sitemap: `auto` (robots.txt, then /sitemap.xml, then links), `none` (links), or a sitemap's address.
        crawl_depth: Most links between `start` and a page, where there is no sitemap.
        max_pages: More pages than this are an error: a listing that is cut off is not complete.
        trust_lastmod: Believe a sitemap's date and do not ask for pages whose date is the same.
    """

    start: Target
    patterns: PathPatterns
    allowed: AllowedHosts
    limits: ClientLimits
    credential: Credential | None
    user_agent: str
    sitemap: str
    crawl_depth: int
    max_pages: int
    max_file_bytes: int
    trust_lastmod: bool


def connector(source: Source, parts: ConnectorParts) -> WebConnector:
    """The connector of a `web` source; `InvalidSourceError` when an option is wrong."""
    options = SourceOptions(source, OPTIONS)
    try:
        start = parse_target(source.location)
        allowed = AllowedHosts.read(options.texts("allow_hosts"))
        sitemap = options.text("sitemap", "auto")
        if sitemap not in ("auto", "none"):
            sitemap = parse_target(sitemap, base=start.url).url
    except (RefusedAddressError, ValueError) as error:
        raise InvalidSourceError(f"the address or allow_hosts cannot be used: {error}") from error
    bearer = options.text("bearer")
    settings = WebSettings(
        start=start,
        patterns=PathPatterns(options.texts("include"), options.texts("exclude")),
        allowed=allowed,
        limits=ClientLimits(delay_s=options.number("delay_s", 0.2, low=0, high=60)),
        credential=Credential(start.origin, "Authorization", f"Bearer {parts.secret(bearer)}")
        if bearer
        else None,
        user_agent=options.text("user_agent", "Refdesk/0.1"),
        sitemap=sitemap,
        crawl_depth=int(options.number("crawl_depth", 3, low=0, high=20)),
        max_pages=int(options.number("max_pages", 5000, low=1, high=200_000)),
        max_file_bytes=parts.max_file_bytes,
        trust_lastmod=options.flag("trust_lastmod"),
    )
    return WebConnector(settings, parts)


class WebConnector:
    """Implements `ingest.ports.Connector` for a web site. External ids are addresses without fragments."""

    def __init__(self, settings: WebSettings, parts: ConnectorParts, *, resolver: Resolver = resolve) -> None:
        """Read the site that `settings` describe; facts about its pages go to the memory of `parts`."""
        self._settings = settings
        self._memory = parts.memory
        self._resolver = resolver
        self._rules = SiteRules(settings.start, settings.patterns)

    def list_documents(self) -> Iterator[ListedDocument]:
        """See `Connector.list_documents`."""
        before = self._memory.load()
        visit = _Visit(before)
        try:
            with self._client() as client:
                site = open_site(client, self._rules, self._settings.sitemap, self._settings.max_pages)
                visit.keeps_links = site.candidates is None
                if site.candidates is None:
                    yield from self._crawl(client, site, visit)
                else:
                    yield from self._visit_all(client, site.candidates, visit)
        except (RefusedAddressError, UnreadableError, BodyTooLargeError, TooPatientError) as error:
            raise SourceUnavailableError(f"{self._settings.start.url} cannot be read: {error}") from error
        finally:  # an interrupted listing keeps what it learned beside what was known
            self._memory.save(visit.facts if visit.is_complete else {**before, **visit.facts})

    def fetch(self, external_id: str) -> bytes:
        """See `Connector.fetch`. Only addresses that can belong to the site are asked for."""
        try:
            target = parse_target(external_id)
            if target.url != external_id or not self._rules.holds(target):
                raise FetchFailedError(f"{external_id} does not belong to the site")
            with self._client() as client:
                reply = client.get(
                    target, max_bytes=self._settings.max_file_bytes, may_visit=self._rules.is_same_site
                )
        except BodyTooLargeError as error:
            raise self._too_large(external_id) from error
        except (RefusedAddressError, UnreadableError, TooPatientError) as error:
            raise FetchFailedError(f"{external_id} cannot be read: {error}") from error
        if reply.status != 200:
            raise FetchFailedError(f"{external_id} answers with status {reply.status}")
        return reply.body

    def _client(self) -> WebClient:
        settings = self._settings
        return WebClient(
            settings.allowed,
            settings.limits,
            user_agent=settings.user_agent,
            credential=settings.credential,
            resolver=self._resolver,
        )

    def _too_large(self, external_id: str) -> TooLargeError:
        return TooLargeError(f"{external_id} is larger than {self._settings.max_file_bytes // 2**20} MB")

    def _visit_all(
        self, client: WebClient, candidates: tuple[Candidate, ...], visit: _Visit
    ) -> Iterator[ListedDocument]:
        for candidate in candidates:
            facts = self._page(client, candidate, visit)
            if facts is not None:
                yield _listed(candidate.target, facts)
        visit.is_complete = True

    def _crawl(self, client: WebClient, site: Site, visit: _Visit) -> Iterator[ListedDocument]:
        """Follow links from the start, nearest pages first."""
        if not site.may_read(self._settings.start):
            raise SourceUnavailableError(f"robots.txt does not allow {self._settings.start.url}")
        waiting = deque([(self._settings.start, 0)])
        seen = {self._settings.start.url}
        while waiting:
            target, depth = waiting.popleft()
            facts = self._page(client, Candidate(target, ""), visit)
            if facts is None:
                if depth == 0:
                    raise SourceUnavailableError(f"{target.url} does not exist")
                continue
            if facts["fingerprint"].startswith(_UNREAD) and facts.get("is_unwell"):
                raise SourceUnavailableError(f"{target.url} does not answer, and its links are not known")
            if self._rules.wants(target):
                yield _listed(target, facts)
            for link in self._links(target, facts, site) if depth < self._settings.crawl_depth else ():
                if link.url not in seen:
                    seen.add(link.url)
                    waiting.append((link, depth + 1))
            if len(seen) > self._settings.max_pages:
                raise SourceUnavailableError(
                    f"the site has more than {self._settings.max_pages} pages (max_pages)"
                )
        visit.is_complete = True

    def _links(self, page: Target, facts: dict[str, Any], site: Site) -> Iterator[Target]:
        for href in facts.get("links", ()):
            try:
                target = parse_target(href, base=page.url)
            except RefusedAddressError:  # a mailto: or a typo; nothing to visit
                continue
            if self._rules.is_below_start(target) and site.may_read(target):
                yield target

    def _page(self, client: WebClient, candidate: Candidate, visit: _Visit) -> dict[str, Any] | None:
        """What is known of a page after asking for it; None when it is gone."""
        url = candidate.target.url
        before = visit.known(url)
        is_same_date = bool(candidate.modified) and before.get("lastmod") == candidate.modified
        if self._settings.trust_lastmod and is_same_date and before.get("is_read"):
            return visit.note(url, before)
        try:
            reply = client.get(
                candidate.target,
                max_bytes=self._settings.max_file_bytes,
                may_visit=self._rules.is_same_site,
                headers=_conditions(before) if "links" in before or not visit.keeps_links else {},
            )
        except (
            BodyTooLargeError
        ):  # not as before: the page has changed, and its fetch says why it is not taken in
            return visit.note(url, _unread({}, "too large"))
        except (RefusedAddressError, UnreadableError, TooPatientError) as error:
            return visit.note_failure(url, before, str(error))
        if reply.status >= 500 or reply.status == 429:
            return visit.note_failure(url, before, f"status {reply.status}")
        if reply.status in (404, 410):
            visit.forget()
            return None
        if reply.status == 304 and before.get("is_read"):
            return visit.note(url, {**before, "lastmod": candidate.modified})
        if reply.status != 200:
            return visit.note(url, _unread(before, f"status {reply.status}"))
        return visit.note(url, _read_facts(reply, before, candidate, keep_links=visit.keeps_links))


class _Visit:
    """What one listing has learned so far."""

    def __init__(self, before: dict[str, Any]) -> None:
        self._before = before
        self._n_failures = 0
        self.facts: dict[str, Any] = {}
        self.is_complete = False
        self.keeps_links = False

    def known(self, url: str) -> dict[str, Any]:
        """Facts of the last visit, empty when there was none."""
        facts = self._before.get(url, {})
        return facts if isinstance(facts, dict) and isinstance(facts.get("fingerprint"), str) else {}

    def note(self, url: str, facts: dict[str, Any]) -> dict[str, Any]:
        """Take over what a page's reply said."""
        self._n_failures = 0
        self.facts[url] = facts
        return facts

    def forget(self) -> None:
        """The page is gone."""
        self._n_failures = 0

    def note_failure(self, url: str, before: dict[str, Any], reason: str) -> dict[str, Any]:
        """The server did not manage to answer for this page.

        Raises:
            SourceUnavailableError: The same happened to the pages before it: the site is unwell.
        """
        self._n_failures += 1
        if self._n_failures >= _MAX_FAILURES_IN_A_ROW:
            raise SourceUnavailableError(f"{self._n_failures} pages in a row failed, the last with {reason}")
        self.facts[url] = before or {"fingerprint": f"{_UNREAD}: {reason}", "is_unwell": True}
        return dict(self.facts[url])


def _conditions(before: dict[str, Any]) -> dict[str, str]:
    if not before.get("is_read"):
        return {}
    named = {"If-None-Match": before.get("etag", ""), "If-Modified-Since": before.get("modified", "")}
    return {name: value for name, value in named.items() if value}


def _unread(before: dict[str, Any], reason: str) -> dict[str, Any]:
    return before or {"fingerprint": f"{_UNREAD}: {reason}"}


def _read_facts(
    reply: Reply, before: dict[str, Any], candidate: Candidate, *, keep_links: bool
) -> dict[str, Any]:
    fingerprint = hashlib.sha256(reply.body).hexdigest()
    is_changed = fingerprint != before.get("fingerprint")
    dated = http_date(reply.headers.get("last-modified", "")) or sitemap_date(candidate.modified)
    seen = datetime.now(UTC).isoformat() if is_changed else before.get("at", _EPOCH.isoformat())
    content_type = reply.headers.get("content-type", "")
    links = {"links": list(links_of(reply.body, content_type))} if keep_links else {}
    return {
        "fingerprint": fingerprint,
        "is_read": True,
        "size": len(reply.body),
        "etag": reply.headers.get("etag", ""),
        "modified": reply.headers.get("last-modified", ""),
        "lastmod": candidate.modified,
        "at": dated.isoformat() if dated else seen,
        **links,
    }


def _listed(target: Target, facts: dict[str, Any]) -> ListedDocument:
    return ListedDocument(
        external_id=target.url,
        fingerprint=facts["fingerprint"],
        title="",  # the page's own
        url=target.url,
        modified_at=sitemap_date(str(facts.get("at", ""))) or _EPOCH,
        size_bytes=int(facts.get("size", 0)),
    )

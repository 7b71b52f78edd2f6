"""A web site is listed from its sitemap or its links, politely, and never half."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import FetchFailedError, InvalidSourceError, SourceUnavailableError, TooLargeError
from ingest.ports import ListedDocument
from ingest.sources.web import WebConnector, connector
from ingest.sources.web_client import BodyTooLargeError, gunzip, http_date, retry_after_s
from ingest.sources.web_pages import SitemapError, read_sitemap
from tests.fakes.connector_parts import JsonMemory, make_parts
from tests.fakes.site_server import Page, SiteServer, serving, sitemap
from tests.make import NOON, make_source


@pytest.fixture
def site() -> Iterator[SiteServer]:
    """A site with a sitemap of three pages."""
    with serving("127.0.0.1") as site:
        site.pages = {
            "/sitemap.xml": Page(sitemap(*(f"{site.url}/{name}" for name in "abc"), lastmod="2026-01-02")),
            **{f"/{name}": Page(f"page {name}".encode(), etag=f'"{name}1"') for name in "abc"},
        }
        yield site


@pytest.fixture
def memory() -> JsonMemory:
    """What the connector remembers."""
    return JsonMemory()


def _connector(
    site: SiteServer, memory: JsonMemory | None = None, path: str = "/", **options: Any
) -> WebConnector:
    options = {"allow_hosts": ["127.0.0.1"], "delay_s": 0, **options}
    parts = make_parts(Path(), memory=memory, secrets={"READ_TOKEN": "word"})
    made = connector(make_source("web", site.url + path, **options), parts)
    limits = replace(made._settings.limits, backoff_s=0.0, read_s=1.0)
    return WebConnector(replace(made._settings, limits=limits), parts)


def _listed(connector: WebConnector) -> dict[str, ListedDocument]:
    return {
        item.external_id.partition("//")[2].partition("/")[2]: item for item in connector.list_documents()
    }


def test_an_unchanged_site_costs_no_bodies(site: SiteServer, memory: JsonMemory) -> None:
    """The second listing asks with ETags and gets 304 for every page; the fingerprints are the same."""
    first = _listed(_connector(site, memory))
    assert set(first) == {"a", "b", "c"}
    site.forget()
    assert _listed(_connector(site, memory)) == first
    listing = site.pages["/sitemap.xml"]
    assert isinstance(listing, Page)
    assert site.n_body_bytes == len(listing.body) + len(b"nothing here")
    site.pages["/b"] = Page(b"new", etag='"b2"')
    second = _listed(_connector(site, memory))
    assert [name for name in second if second[name].fingerprint != first[name].fingerprint] == ["b"]


def test_lost_memory_costs_time_only(site: SiteServer, memory: JsonMemory) -> None:
    """Fingerprints are of the content, not of what is remembered."""
    first = _listed(_connector(site, memory))
    again = _listed(_connector(site, JsonMemory()))
    assert {name: item.fingerprint for name, item in again.items()} == {
        name: item.fingerprint for name, item in first.items()
    }


def test_trusted_dates_cost_no_requests(site: SiteServer, memory: JsonMemory) -> None:
    """With trust_lastmod a page whose date in the sitemap is the same is not asked for."""
    first = _listed(_connector(site, memory, trust_lastmod=True))
    site.forget()
    assert _listed(_connector(site, memory, trust_lastmod=True)) == first
    assert site.paths() == ["/robots.txt", "/sitemap.xml"]
    assert first["a"].modified_at.date().isoformat() == "2026-01-02"


@pytest.mark.parametrize("status", [404, 410])
def test_a_page_that_is_gone_is_left_out(site: SiteServer, memory: JsonMemory, status: int) -> None:
    """A sitemap may be behind; the page itself says that it is gone."""
    _listed(_connector(site, memory))
    site.pages["/b"] = Page(status=status)
    assert set(_listed(_connector(site, memory))) == {"a", "c"}


@pytest.mark.parametrize(
    "page",
    [
        Page(status=401),
        Page(status=403),
        Page(status=500),
        Page(status=302, headers={"Location": "https://login.example/"}),
        Page(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        Page(status=302, headers={"Location": "javascript:x"}),
        Page(status=301, headers={"Location": "/b"}),
        Page(b"x", headers={"Content-Encoding": "br"}),
    ],
)
def test_a_page_that_cannot_be_read_does_not_look_deleted(
    site: SiteServer, memory: JsonMemory, page: Page
) -> None:
    """What was known stays as it was; an unknown page is listed, and its fetch says what is wrong."""
    before = _listed(_connector(site, memory))
    site.pages["/b"] = page
    assert _listed(_connector(site, memory)) == before
    fresh = _listed(_connector(site))
    assert fresh["b"].fingerprint.startswith("unread")
    with pytest.raises(FetchFailedError):
        _connector(site).fetch(f"{site.url}/b")


def test_a_site_that_falls_ill_half_way_is_an_error(site: SiteServer, memory: JsonMemory) -> None:
    """Five failures in a row stop the listing instead of ending it."""
    names = [f"p{number}" for number in range(9)]
    site.pages["/sitemap.xml"] = Page(sitemap(*(f"{site.url}/{name}" for name in names)))
    site.pages |= {f"/{name}": Page(status=503 if number > 3 else 200) for number, name in enumerate(names)}
    with pytest.raises(SourceUnavailableError):
        _listed(_connector(site, memory))


@pytest.mark.parametrize(
    "page",
    [
        Page(status=500),
        Page(status=403),
        Page(b"<html>Please log in</html>"),
        Page(b"<urlset><url><loc>http://127"),
        Page(
            b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><urlset><url><loc>&e;</loc></url></urlset>'
        ),
        Page(b"just words"),
        Page(b"\x1f\x8bbroken"),
        Page(sitemap("http://x/a"), status=302, headers={"Location": "https://login.example/"}),
    ],
)
def test_a_broken_sitemap_is_an_error(site: SiteServer, page: Page) -> None:
    """An error page in place of the sitemap never looks like an empty site."""
    site.pages["/sitemap.xml"] = page
    with pytest.raises(SourceUnavailableError):
        _listed(_connector(site))


def test_sitemap_indexes_and_gzip(site: SiteServer) -> None:
    """An index leads to further sitemaps, packed ones too; one that is missing is an error."""
    index = f"<sitemapindex><sitemap><loc>{site.url}/s.xml.gz</loc></sitemap></sitemapindex>".encode()
    site.pages["/sitemap.xml"] = Page(index)
    with pytest.raises(SourceUnavailableError):
        _listed(_connector(site))
    packed = gzip.compress(sitemap(f"{site.url}/c", f"{site.url}/c#part", "https://elsewhere.example/x"))
    site.pages["/s.xml.gz"] = Page(packed)
    assert set(_listed(_connector(site))) == {"c"}


def test_sitemap_bombs_stop_at_the_cap() -> None:
    """A packed sitemap is unpacked in steps and given up at the cap."""
    with pytest.raises(BodyTooLargeError):
        read_sitemap(gzip.compress(b"<urlset>" + b" " * 10**7), max_bytes=10**5)
    deep = b"<a>" * 1000
    with pytest.raises(SitemapError):
        read_sitemap(deep, max_bytes=10**5)


def test_robots_are_obeyed(site: SiteServer) -> None:
    """Pages that robots.txt forbids are not asked for; its sitemap lines and wildcards count."""
    rules = f"User-agent: *\nDisallow: /b\nDisallow: /*c$\nSitemap: {site.url}/other.xml\n"
    site.pages["/robots.txt"] = Page(rules.encode())
    site.pages["/other.xml"] = Page(sitemap(*(f"{site.url}/{name}" for name in "abc")))
    assert set(_listed(_connector(site))) == {"a"}
    assert "/b" not in site.paths()
    assert "/sitemap.xml" not in site.paths()


def test_failing_robots_stop_the_listing(site: SiteServer) -> None:
    """As long as robots.txt fails nobody knows what may be read."""
    site.pages["/robots.txt"] = Page(status=503)
    with pytest.raises(SourceUnavailableError):
        _listed(_connector(site))


def test_links_are_followed_where_there_is_no_sitemap(site: SiteServer, memory: JsonMemory) -> None:
    """The crawl stays on the site, within its folder, depth and patterns; unchanged pages keep their links."""
    html = {"Content-Type": "text/html"}
    site.pages = {
        "/docs/": Page(
            b'<a href="one">1</a> <a href="/out">o</a> <a href="//elsewhere.example/x">e</a>'
            b'<a href="mailto:x@y">m</a>'
            b'<a rel="nofollow" href="no">n</a> <a href="one#part">again</a> <a href="../out">out</a>',
            headers=html,
            etag='"1"',
        ),
        "/docs/one": Page(b'<a href="two">2</a>', headers=html, etag='"1"'),
        "/docs/two": Page(b'<a href="three.tmp">3</a>', headers=html, etag='"1"'),
        "/docs/three.tmp": Page(b"", headers=html),
    }
    first = _listed(_connector(site, memory, "/docs/", exclude=["**/*.tmp"], crawl_depth=2))
    assert set(first) == {"docs/", "docs/one", "docs/two"}
    assert _listed(_connector(site, memory, "/docs/", exclude=["**/*.tmp"], crawl_depth=2)) == first
    assert set(_listed(_connector(site, memory, "/docs/", crawl_depth=1))) == {"docs/", "docs/one"}
    site.pages["/docs/one"] = Page(status=500)
    assert set(_listed(_connector(site, memory, "/docs/", crawl_depth=2))) == {
        "docs/",
        "docs/one",
        "docs/two",
    }
    with pytest.raises(SourceUnavailableError):  # its links are not known, and what they lead to is not gone
        _listed(_connector(site, None, "/docs/"))


def test_too_many_pages_are_an_error(site: SiteServer) -> None:
    """A listing that is cut off is not complete."""
    with pytest.raises(SourceUnavailableError):
        _listed(_connector(site, max_pages=2))


def test_a_busy_server_is_asked_again(site: SiteServer) -> None:
    """429 and 503 are tried again; a wait that is too long is not sat out."""
    answers = iter([503, 429, 200])

    def busy(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(next(answers))
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")

    site.pages["/a"] = busy
    assert _connector(site).fetch(f"{site.url}/a") == b"ok"
    site.pages["/a"] = Page(status=429, headers={"Retry-After": "9999"})
    site.forget()
    with pytest.raises(FetchFailedError, match="9999"):
        _connector(site).fetch(f"{site.url}/a")
    assert site.paths() == ["/a"]


def test_retry_after_is_read_both_ways() -> None:
    """A number of seconds or a date."""
    assert retry_after_s("7", NOON) == 7
    assert retry_after_s("Mon, 23 Nov 2026 12:00:30 GMT", NOON) == 30
    assert retry_after_s("soon", NOON) == 0
    assert http_date("nonsense") is None


def test_large_bodies_stop_at_the_cap(site: SiteServer) -> None:
    """Stated, unstated, packed: each is given up, and the listing goes on."""

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(10_000):
            handler.wfile.write(b"x" * 1000)

    bomb = gzip.compress(b"0" * 10**7)
    site.pages["/a"] = Page(b"x" * 10_001)
    site.pages["/b"] = endless
    site.pages["/c"] = Page(bomb, headers={"Content-Encoding": "gzip"})
    for name in "abc":
        with pytest.raises(TooLargeError):
            _connector(site).fetch(f"{site.url}/{name}")
    assert set(_listed(_connector(site))) == {"a", "b", "c"}


def test_packed_pages_are_unpacked(site: SiteServer) -> None:
    """A gzipped body counts as its content; one that is cut off is an error."""
    packed = gzip.compress(b"first") + gzip.compress(b" second")
    assert b"".join(gunzip([packed[:7], packed[7:]])) == b"first second"
    with pytest.raises(zlib.error):
        b"".join(gunzip([packed[:12]]))
    site.pages["/a"] = Page(packed, headers={"Content-Encoding": "gzip"})
    assert _connector(site).fetch(f"{site.url}/a") == b"first second"


def test_endless_redirects_end(site: SiteServer) -> None:
    """A page that redirects to itself is given up."""
    site.pages["/a"] = Page(status=302, headers={"Location": "/a"})
    with pytest.raises(FetchFailedError):
        _connector(site).fetch(f"{site.url}/a")
    assert len(site.paths()) <= 20


def test_the_token_is_sent_to_the_site(site: SiteServer) -> None:
    """A named secret goes out as a bearer token, with a User-Agent that says who reads."""
    _connector(site, bearer="READ_TOKEN", user_agent="Refdesk/0.1 (ops@example.org)").fetch(f"{site.url}/a")
    assert site.seen[0].headers["authorization"] == "Bearer word"
    assert site.seen[0].headers["user-agent"] == "Refdesk/0.1 (ops@example.org)"
    with pytest.raises(SourceUnavailableError):
        _connector(site, bearer="OTHER")


@pytest.mark.parametrize(
    "options",
    [
        {"alow_hosts": []},
        {"delay_s": -1},
        {"max_pages": True},
        {"allow_hosts": ["10.0.0.0/99"]},
        {"include": "a"},
    ],
)
def test_wrong_options_are_refused(site: SiteServer, options: dict[str, Any]) -> None:
    """A typing error in an option is an error, not a default."""
    with pytest.raises(InvalidSourceError):
        _connector(site, **options)


def test_a_site_inside_needs_permission(site: SiteServer) -> None:
    """Without allow_hosts a private address is not read."""
    with pytest.raises(SourceUnavailableError, match="allow_hosts"):
        _listed(_connector(site, allow_hosts=[]))
    assert site.seen == []

"""A Confluence XML export as a source: each current page or blog post is one HTML document.

Older versions, drafts, archived and deleted pages and archived spaces are left out. Space permissions and the view
restrictions of a page and of all pages above it say who may read. Options: docs/connectors.md.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ingest.errors import InvalidSourceError
from ingest.ports import Connector, ConnectorParts
from ingest.sources.confluence_access import ConfluenceRules, PageAccess
from ingest.sources.confluence_entities import Entity, read_entities
from ingest.sources.confluence_space import KINDS, Page, Site, read_site, storage_body
from ingest.sources.confluence_storage import Links, markup_as_html, storage_as_html
from ingest.sources.export import Export
from ingest.sources.identities import identities_from
from ingest.sources.options import SourceOptions
from ingest.sources.rendered import RenderedConnector, RenderedDocument
from retrieval.access import Acl
from retrieval.corpus import Source

OPTIONS = ("base_url", "space_acl", "users_group", "anonymous", "user_ids", "email_domains")
_MAX_DEPTH = 100


def connector(source: Source, parts: ConnectorParts) -> Connector:
    """The connector of a source of kind `confluence_export`.

    Raises:
        InvalidSourceError: An option cannot be understood.
    """
    options = SourceOptions(source, OPTIONS)
    base_url = options.text("base_url").rstrip("/")
    address = urlsplit(base_url)
    if base_url and (address.scheme not in ("http", "https") or not address.hostname):
        raise InvalidSourceError("the option base_url is an address such as https://wiki.example.org")
    rules = ConfluenceRules(
        default_acl=source.default_acl,
        identities=identities_from(source.id, options, ("email", "local_part", "name")),
        space_by_source=options.choice("space_acl", "export", ("export", "source")) == "source",
        users_group=options.text("users_group"),
        anonymous_is_everyone=options.choice("anonymous", "group", ("group", "everyone")) == "everyone",
    )
    return RenderedConnector(
        Path(source.location),
        lambda export: render(export, rules, base_url),
        work_folder=parts.work_folder,
        max_file_bytes=parts.max_file_bytes,
    )


def render(export: Export, rules: ConfluenceRules, base_url: str) -> Iterator[RenderedDocument]:
    """Every current page of an export. The bodies are read in a second pass, one in memory at a time.

    Raises:
        SourceUnavailableError: The export cannot be read to its end.
    """
    site = read_site(read_entities(export, KINDS))
    access = PageAccess(site, rules)
    waiting = {page.id: page for page in site.pages.values() if _is_shown(page, site)}
    for body in read_entities(export, ("BodyContent",)):
        page = waiting.get(body.references.get("content", ""))
        if page is not None and (not page.body_ids or body.id in page.body_ids):
            del waiting[page.id]
            yield _document(page, body, site, access.acl_of(page), base_url)
    for page in waiting.values():
        yield _document(page, None, site, access.acl_of(page), base_url)


def _is_shown(page: Page, site: Site) -> bool:
    space = site.spaces.get(page.space_id)
    return page.is_current and (space is None or space.is_current)


def _document(page: Page, body: Entity | None, site: Site, acl: Acl, base_url: str) -> RenderedDocument:
    space = site.spaces.get(page.space_id)
    trail = [*([space.name or space.key] if space else []), *_titles_above(page, site)]
    names = site.attachments.get(page.id, ())
    links = Links(
        base_url,
        space.key if space else "",
        {key: person.name for key, person in site.people.items() if person.name},
    )
    pieces = [
        f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{html.escape(page.title)}</title></head>',
        "<body>",
        f"<p>{html.escape(' › '.join(trail))}</p>" if trail else "",
        f"<h1>{html.escape(page.title)}</h1>",
        _body(body, links),
        f"<p>Attachments: {html.escape(', '.join(names))}</p>" if names else "",
        "</body></html>",
    ]
    return RenderedDocument(
        external_id=f"pages/{page.id}.html",
        content="\n".join(piece for piece in pieces if piece).encode("utf-8", "replace"),
        title=page.title,
        url=f"{base_url}/pages/viewpage.action?pageId={page.id}" if base_url else "",
        modified_at=page.modified_at,
        acl=acl,
    )


def _titles_above(page: Page, site: Site) -> list[str]:
    """Titles of the pages above, outermost first. Whoever may read a page may read those above it."""
    titles: list[str] = []
    above = site.pages.get(page.parent_id)
    while above is not None and len(titles) < _MAX_DEPTH:
        titles.append(above.title)
        above = site.pages.get(above.parent_id)
    return titles[::-1]


def _body(body: Entity | None, links: Links) -> str:
    if body is None:
        return ""
    source, is_storage_format = storage_body(body)
    return storage_as_html(source, links) if is_storage_format else markup_as_html(source)

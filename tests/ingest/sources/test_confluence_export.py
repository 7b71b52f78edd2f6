"""A Confluence export: current pages as HTML, restrictions and space permissions as access lists."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import InvalidSourceError, SourceUnavailableError
from ingest.media_types import HTML, detect_media_type
from ingest.ports import Connector
from ingest.sources.confluence_export import connector
from ingest.sources.confluence_storage import Links, storage_as_html
from retrieval.access import Acl
from tests.ingest.sources.building import listed, make_parts, make_source
from tests.ingest.sources.confluence_exports import ConfluenceExport
from tests.make import make_acl

MARA, OLA = "user:mara@example.org", "user:ola@example.org"
STAFF, USERS = "group:s1/staff", "group:s1/confluence-users"

_STORAGE = """<h2 id="x" onclick="evil()">Steps&nbsp;&rarr; &unknown;</h2>
<ac:structured-macro ac:name="code" ac:schema-version="1">
<ac:parameter ac:name="language">xml</ac:parameter>
<ac:plain-text-body><![CDATA[<a b="1">&nbsp;]]]]><![CDATA[></a>]]></ac:plain-text-body></ac:structured-macro>
<ac:structured-macro ac:name="info"><ac:parameter ac:name="title">Note</ac:parameter>
<ac:rich-text-body><p>Take <strong>care</strong></p></ac:rich-text-body></ac:structured-macro>
<ac:structured-macro ac:name="jira"><ac:parameter ac:name="key">ABC-1</ac:parameter></ac:structured-macro>
<ac:structured-macro ac:name="toc"/>
<ac:structured-macro ac:name="include"><ac:parameter ac:name=""><ac:link><ri:page ri:content-title="Other"/>
</ac:link></ac:parameter></ac:structured-macro>
<table class="wrapped"><tbody><tr><th colspan="2">Head</th></tr><tr><td>1</td><td>2</td></tr></tbody></table>
<p><ac:link><ri:page ri:content-title="Travel &amp; Leave"/><ac:plain-text-link-body><![CDATA[the rules]]>
</ac:plain-text-link-body></ac:link>, <ac:link><ri:page ri:space-key="HR" ri:content-title="Pay"/></ac:link>,
<ac:link><ri:user ri:userkey="u1"/></ac:link>, <a href="https://example.org/?a=1&amp;b=2">out</a>,
<a href="javascript:alert(1)">bad</a></p>
<ac:image ac:alt="a plan"><ri:attachment ri:filename="plan.png"/></ac:image>
<ac:task-list><ac:task><ac:task-id>7</ac:task-id><ac:task-status>complete</ac:task-status>
<ac:task-body>Call Ola</ac:task-body></ac:task></ac:task-list>
<script>alert(1)</script>"""


def _connector(
    export: ConfluenceExport, tmp_path: Path, *, acl: Acl | None = None, **options: Any
) -> Connector:
    path = export.write(tmp_path / "export.zip")
    return connector(
        make_source("confluence_export", path, acl=acl, **options), make_parts(tmp_path / "work")
    )


def _readers(export: ConfluenceExport, tmp_path: Path, **options: Any) -> dict[str, set[str]]:
    """Allowed principals by page id; the owner stands in every list."""
    documents = listed(_connector(export, tmp_path, **options))
    assert all(item.acl is not None and item.acl.owner == "olga" for item in documents.values())
    return {
        external_id.removeprefix("pages/").removesuffix(".html"): set(item.acl.allow)
        for external_id, item in documents.items()
        if item.acl is not None
    }


def test_a_page_is_a_document_with_its_place(tmp_path: Path) -> None:
    """Title, trail, attachments, address and date are there, and the bytes are told to be HTML."""
    export = ConfluenceExport()
    export.page("10", "Home")
    export.page("11", "Büro & Reisen", parent="10")
    export.page("12", "Rooms", "<h2>First floor</h2><p>Room 101</p>", parent="11")
    export.attach("12", "plan.pdf")
    export.attach("12", "old.pdf", originalVersionId="99")
    export.page("20", "News", kind="BlogPost")
    wiki = _connector(export, tmp_path, base_url="https://wiki.example.org/")
    documents = listed(wiki)
    assert set(documents) == {f"pages/{number}.html" for number in (10, 11, 12, 20)}
    rooms = documents["pages/12.html"]
    assert rooms.title == "Rooms"
    assert rooms.url == "https://wiki.example.org/pages/viewpage.action?pageId=12"
    assert rooms.modified_at.isoformat() == "2026-11-20T08:30:00.500000+00:00"
    page = wiki.fetch(rooms.external_id).decode()
    assert "Documentation › Home › Büro &amp; Reisen" in page
    assert "<h1>Rooms</h1>\n<h2>First floor</h2><p>Room 101</p>" in page
    assert "Attachments: plan.pdf</p>" in page
    assert detect_media_type(page.encode(), rooms.external_id) == HTML


def test_only_current_pages_are_listed(tmp_path: Path) -> None:
    """Older versions, drafts, archived and deleted pages and archived spaces are left out."""
    export = ConfluenceExport()
    export.page("10", "Current")
    export.page("11", "Old", originalVersionId="10")
    for number, status in enumerate(("draft", "deleted", "archived", "trashed", "historical", ""), start=12):
        export.page(str(number), status, contentStatus=status)
    export.add("Space", "2", {"name": "Old", "key": "OLD", "spaceStatus": "ARCHIVED"})
    export.page("30", "In an archived space", space="2")
    assert set(listed(_connector(export, tmp_path))) == {"pages/10.html"}


def test_restrictions_narrow_from_page_to_page(tmp_path: Path) -> None:
    """A page is read by those who pass the space and each restriction above; edit restrictions hide nothing."""
    export = ConfluenceExport()
    export.permit_space(user="u-mara")
    export.permit_space(group="editors", kind="EDITSPACE")
    export.page("10", "Open")
    export.page("11", "For staff", parent="10")
    export.restrict("11", groups=("staff",), users=("u-mara",))
    export.page("12", "Below", parent="11")
    export.page("13", "For Mara", parent="12")
    export.restrict("13", users=("u-mara", "u-ola"))
    export.page("14", "Edited by staff", parent="10")
    export.restrict("14", groups=("editors",), kind="Edit")
    assert _readers(export, tmp_path) == {
        "10": {STAFF, USERS, MARA},
        "11": {STAFF, MARA},
        "12": {STAFF, MARA},
        "13": {MARA},  # Ola may be on staff, but nobody says so
        "14": {STAFF, USERS, MARA},
    }


def test_a_group_of_everybody_lets_restrictions_pass(tmp_path: Path) -> None:
    """When a group is known to hold all users, somebody named in a restriction passes the space as well."""
    export = ConfluenceExport()
    export.page("10", "For Ola")
    export.restrict("10", users=("u-ola",))
    assert _readers(export, tmp_path) == {"10": set()}
    assert _readers(export, tmp_path, users_group="confluence-users") == {"10": {OLA}}


def test_open_spaces(tmp_path: Path) -> None:
    """Anonymous and logged-in access are groups of the source; only an option makes anonymous mean everyone."""
    export = ConfluenceExport(viewers=False)
    export.permit_space(all_users="authenticated-users")
    export.page("10", "Page")
    export.page("11", "For Mara", parent="10")
    export.restrict("11", users=("u-mara",))
    assert _readers(export, tmp_path) == {"10": {"group:s1/all-users"}, "11": {MARA}}
    export.permit_space()
    assert _readers(export, tmp_path)["10"] == {"group:s1/all-users", "group:s1/anonymous"}
    assert "group:everyone" in _readers(export, tmp_path, anonymous="everyone")["10"]


def test_what_is_not_understood_opens_nothing(tmp_path: Path) -> None:
    """Unknown kinds, empty or lost restrictions, lost parents, circles, unknown spaces and users: owner only."""
    export = ConfluenceExport()
    export.page("10", "Unknown kind")
    export.restrict("10", groups=("staff",), kind="Peek")
    export.page("11", "Empty restriction")
    export.restrict("11")
    export.page("12", "Lost restriction", sets=["777"])
    export.page("13", "Lost parent", parent="888")
    export.page("14", "Circle", parent="15")
    export.page("15", "Circle", parent="14")
    export.page("16", "Unknown space", space="9")
    export.page("17", "Unknown user")
    export.restrict("17", users=("u-nobody",))
    export.page("18", "Below a deleted page", parent="19")
    export.page("19", "Deleted", contentStatus="deleted")
    export.restrict("19", groups=("board",))
    assert _readers(export, tmp_path) == {str(number): set() for number in range(10, 19)}


def test_a_space_without_permissions_opens_nothing(tmp_path: Path) -> None:
    """An export that names no viewers leaves the owner; a permission whose subject is lost is not anonymous."""
    export = ConfluenceExport(viewers=False)
    export.page("10", "Page")
    export.add("SpacePermission", "5", {"type": "VIEWSPACE"}, {"space": ("Space", "1")})
    export.add(
        "SpacePermission",
        "6",
        {"type": "VIEWSPACE", "group": ""},
        {"space": ("Space", "1"), "userSubject": ("ConfluenceUserImpl", "")},
    )
    assert _readers(export, tmp_path) == {"10": set()}


def test_the_source_can_stand_in_for_the_space(tmp_path: Path) -> None:
    """With space_acl = source the source's own readers see open pages; Confluence's groups do not widen that."""
    export = ConfluenceExport(viewers=False)
    export.page("10", "Open")
    export.page("11", "For Mara")
    export.restrict("11", users=("u-mara",))
    export.page("12", "For users")
    export.restrict("12", groups=("confluence-users",))
    everyone = make_acl("olga", allow=("group:everyone",), deny=("user:eve",))
    options = {"space_acl": "source", "users_group": "confluence-users"}
    assert _readers(export, tmp_path, acl=everyone, **options) == {
        "10": {"group:everyone"},
        "11": {MARA},
        "12": {USERS},
    }
    assert _readers(export, tmp_path, **options) == {"10": {"group:staff"}, "11": set(), "12": set()}
    (item, *_) = listed(_connector(export, tmp_path, acl=everyone, **options)).values()
    assert item.acl is not None
    assert item.acl.deny == {"user:eve"}


def test_users_by_name(tmp_path: Path) -> None:
    """With user_ids = name Confluence's own user names are the desk's."""
    export = ConfluenceExport(viewers=False)
    export.permit_space(user="u-mara")
    export.add(
        "SpacePermission", "5", {"type": "VIEWSPACE", "userName": "stranger"}, {"space": ("Space", "1")}
    )
    export.page("10", "Page")
    assert _readers(export, tmp_path, user_ids="name") == {"10": {"user:mara"}}


def test_macros_tables_links_and_code_survive() -> None:
    """The storage format's own elements become plain HTML; macros that nobody knows are named."""
    links = Links("https://wiki.example.org", "DOCS", {"u1": "Mara"})
    shown = storage_as_html(
        _STORAGE,
        links,
    )
    assert "<h2>Steps\xa0→ &amp;unknown;</h2>" in shown
    assert '<pre>&lt;a b="1"&gt;&amp;nbsp;]]&gt;&lt;/a&gt;</pre>' in shown
    assert "<p>Note</p><div><p>Take <strong>care</strong></p></div>" in shown
    assert "[jira: key=ABC-1]" in shown
    assert "[include: Other]" in shown
    assert (
        '<table><tbody><tr><th colspan="2">Head</th></tr><tr><td>1</td><td>2</td></tr></tbody></table>'
        in shown
    )
    assert '<a href="https://wiki.example.org/display/DOCS/Travel%20%26%20Leave">the rules</a>' in shown
    assert '<a href="https://wiki.example.org/display/HR/Pay">Pay</a>' in shown
    assert "@Mara" in shown
    assert '<a href="https://example.org/?a=1&amp;b=2">out</a>' in shown
    assert "[image: a plan]" in shown
    assert "<li>[x] <span>Call Ola</span></li>" in shown
    for gone in ("javascript", "alert", "onclick", "toc", "ac:", "xmlns"):
        assert gone not in shown


def test_a_broken_body_keeps_its_text() -> None:
    """Storage format that is not well-formed is shown as text rather than cut off at the first error."""
    shown = storage_as_html("<p>One <b>two</p><p>three &amp; <![CDATA[four]]></p>", Links())
    for word in ("One", "two", "three &amp;", "four"):
        assert word in shown


def test_a_nested_cdata_section_is_mended(tmp_path: Path) -> None:
    """Code inside a page, whose end mark the export had to spoil, comes out as it was written."""
    body = (
        '<ac:structured-macro ac:name="code"><ac:plain-text-body><![CDATA[if a < b: pass]]>'
        "</ac:plain-text-body></ac:structured-macro><p>after\x0bwards</p>"
    )
    export = ConfluenceExport()
    export.page("10", "Code", body)
    page = _connector(export, tmp_path).fetch("pages/10.html").decode()
    assert "<pre>if a &lt; b: pass</pre>" in page
    assert "<p>after wards</p>" in page


def test_hostile_exports_are_refused(tmp_path: Path) -> None:
    """Entities, a file cut off, a bomb and something that is no export: an error each, never a short listing."""
    export = ConfluenceExport()
    export.page("10", "Page")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    doctype = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{secret.as_uri()}">]>\n'
    export.write(tmp_path / "doctype.zip", prologue=doctype)
    (tmp_path / "cut").mkdir()
    with zipfile.ZipFile(export.write(tmp_path / "whole.zip")) as archive:
        (tmp_path / "cut" / "entities.xml").write_bytes(archive.read("entities.xml")[:-200])
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("entities.xml", b" " * (64 << 20))
    (tmp_path / "empty").mkdir()
    for name in ("doctype.zip", "cut", "bomb.zip", "empty", "nowhere.zip"):
        source = make_source("confluence_export", tmp_path / name)
        with pytest.raises(SourceUnavailableError):
            listed(connector(source, make_parts(tmp_path / "work")))


@pytest.mark.parametrize(
    "options",
    [{"base_url": "wiki"}, {"space_acl": "all"}, {"anonymous": "yes"}, {"user_ids": "guess"}, {"base": "x"}],
)
def test_bad_options_are_named(tmp_path: Path, options: dict[str, Any]) -> None:
    """An option that is wrong or misspelt is an error that names it."""
    with pytest.raises(InvalidSourceError, match=next(iter(options))):
        connector(make_source("confluence_export", tmp_path, **options), make_parts(tmp_path))

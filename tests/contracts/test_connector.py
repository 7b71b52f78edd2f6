"""What every `Connector` does. New connectors are added to `connector_origins` and pass the same tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.errors import FetchFailedError, SourceUnavailableError, TooLargeError
from ingest.ports import ListedDocument
from tests.contracts.connector_origins import MAX_FILE_BYTES, ORIGINS, Origin

HOSTILE_IDS = (
    "../outside.md",
    "..",
    ".",
    "",
    "/etc/hostname",
    "a.md/../../outside.md",
    "a.md/../a.md",
    "%2e%2e/outside.md",
    "..\\outside.md",
    "file:///etc/hostname",
    "http://127.0.0.1:1/a.md",
    "//127.0.0.1:1/a.md",
    "a.md\x00.txt",
    "a.md\n",
    "x" * 5000,
    "\ud800",
)
"""Ids that no listing gives; as they are and behind the place of a real one."""


def _cases() -> list[object]:
    needs_server = {"s3"}
    return [
        pytest.param(name, marks=pytest.mark.services if name in needs_server else ()) for name in ORIGINS
    ]


@pytest.fixture(params=_cases())
def origin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Origin]:
    """An origin with two documents."""
    (tmp_path / "outside.md").write_bytes(b"outside")
    with ORIGINS[request.param](tmp_path) as origin:
        origin.put("a.md", b"first text")
        origin.put("b.md", b"second text")
        yield origin


def _listed(origin: Origin) -> dict[str, ListedDocument]:
    found = list(origin.open().list_documents())
    listed = {item.external_id: item for item in found}
    assert len(listed) == len(found), "an id was listed twice"
    return listed


def test_listing_and_fetching(origin: Origin) -> None:
    """Each document is listed once, again the same when nothing changed, and its bytes are what was put."""
    first = _listed(origin)
    assert set(first) == {origin.id_of("a.md"), origin.id_of("b.md")}
    assert _listed(origin) == first
    assert all(item.fingerprint and item.modified_at.tzinfo for item in first.values())
    assert origin.open().fetch(origin.id_of("a.md")) == b"first text"
    assert first[origin.id_of("b.md")].size_bytes == len(b"second text")


def test_fingerprints_follow_the_content(origin: Origin) -> None:
    """An edit changes one fingerprint and leaves the others; what is removed is no longer listed."""
    first = _listed(origin)
    origin.put("a.md", b"first textX")
    origin.put("c.md", b"third text")
    origin.remove("b.md")
    second = _listed(origin)
    assert set(second) == {origin.id_of("a.md"), origin.id_of("c.md")}
    changed = origin.id_of("a.md")
    assert second[changed].fingerprint != first[changed].fingerprint
    assert origin.open().fetch(changed) == b"first textX"
    origin.put("c.md", b"third text, longer")
    assert _listed(origin)[changed].fingerprint == second[changed].fingerprint


def test_an_empty_document_is_listed(origin: Origin) -> None:
    """No bytes are a document too: the parser says what is wrong with it."""
    origin.put("a.md", b"")
    assert origin.id_of("a.md") in _listed(origin)
    assert origin.open().fetch(origin.id_of("a.md")) == b""


def test_what_is_unknown_cannot_be_fetched(origin: Origin) -> None:
    """An id that was never there, and one that is gone."""
    _listed(origin)
    with pytest.raises(FetchFailedError):
        origin.open().fetch(origin.id_of("never.md"))
    origin.remove("b.md")
    _listed(origin)
    with pytest.raises(FetchFailedError):
        origin.open().fetch(origin.id_of("b.md"))


def test_a_source_that_is_gone_is_an_error(origin: Origin) -> None:
    """Never an empty listing: that would look like deletions."""
    _listed(origin)
    origin.take_away()
    with pytest.raises(SourceUnavailableError):
        _listed(origin)


def test_the_size_limit_is_exact(origin: Origin) -> None:
    """A document of the limit is fetched, one byte more is refused; both are listed."""
    origin.put("a.md", b"x" * MAX_FILE_BYTES)
    origin.put("b.md", b"x" * (MAX_FILE_BYTES + 1))
    assert len(_listed(origin)) == 2
    assert len(origin.open().fetch(origin.id_of("a.md"))) == MAX_FILE_BYTES
    with pytest.raises(TooLargeError):
        origin.open().fetch(origin.id_of("b.md"))


def test_hostile_ids_lead_nowhere(origin: Origin) -> None:
    """Ids come back from a catalogue; none of them reaches what the listing does not show."""
    _listed(origin)
    place = origin.id_of("a.md").removesuffix("a.md")
    connector = origin.open()
    for hostile in (*HOSTILE_IDS, *(place + id_ for id_ in HOSTILE_IDS)):
        with pytest.raises(FetchFailedError):
            connector.fetch(hostile)

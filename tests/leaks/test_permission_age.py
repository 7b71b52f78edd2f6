"""Permission data that are too old let nobody read; a refresh fetches nothing, and only a good one counts."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from benchmarks.permissions.desk import UNREADABLE, Bench, open_bench
from ingest.errors import ListingShrankError, SourceUnavailableError
from ingest.ports import ListedDocument
from retrieval.access import Acl, Principal, PrincipalId, UserId
from retrieval.adapters.sql.corpus import DocumentFilter, SqlCorpus
from retrieval.adapters.sql.sources import SourceChange, SqlSources
from retrieval.corpus import AclAge, DocumentId, SourceId, content_hash, document_id_for
from retrieval.query import Query
from retrieval.wiring import utc_now
from serving.documents import AclChange, Documents
from serving.scopes import ALL_SCOPES, END_USER_SCOPES

SOURCE, OTHER = SourceId("papers"), SourceId("other")
NAMES = ("budget.txt", "merger.txt")
TEXT = "The merger with Ostrel is planned for the spring."
SVEN, BO = Principal(UserId("sven"), scopes=ALL_SCOPES), Principal(UserId("bo"))


def _acl(*allow: str, owner: str = "sven") -> Acl:
    return Acl(UserId(owner), frozenset(map(PrincipalId, allow)))


@dataclass
class Listing:
    """A connector with a listing to order: lists by name; None breaks it off."""

    acls: dict[str, Acl | None]
    fingerprint: str = content_hash(TEXT.encode())
    breaks_off: bool = False

    def list_documents(self) -> Iterator[ListedDocument]:
        """See `Connector.list_documents`."""
        for name, acl in self.acls.items():
            yield ListedDocument(name, self.fingerprint, "", "", utc_now(), 10, acl)
        if self.breaks_off:
            raise SourceUnavailableError("the source fell silent")

    def fetch(self, external_id: str) -> bytes:
        """See `Connector.fetch`."""
        raise AssertionError(f"{external_id} is fetched")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Two sources of sven's with documents that everybody reads; nothing is refreshed by itself."""
    with open_bench(tmp_path / "state") as bench:
        for user in ("sven", "bo"):
            bench.user(user)
        for source in (SOURCE, OTHER):
            bench.source(source, "sven")
            for name in NAMES:
                bench.push(source, name, TEXT, _acl("group:everyone"))
        bench.work()
        yield bench


@pytest.fixture
def client(bench: Bench) -> Iterator[TestClient]:
    """The application."""
    with TestClient(bench.app, "http://127.0.0.1:8080", raise_server_exceptions=False) as client:
        yield client


def found(bench: Bench, principal: Principal) -> set[SourceId]:
    """Sources of which a search shows anything."""
    query = Query("merger spring", limit=50, group_by_document=False)
    return {hit.passage.source_id for hit in bench.desk.search.search(query, principal).hits}


def refresh(bench: Bench, listing: Listing) -> dict[str, int]:
    """Refresh the permission data of the source from a listing; the counts that are not 0."""
    source = bench.desk.corpus.source(SOURCE)
    counts = bench.toolbox.syncer.refresh(source, listing, progress=lambda _done, _total: None)
    return {name: count for name, count in counts.items() if count}


def same(*allow: str) -> Listing:
    """A listing of everything with one list."""
    return Listing(dict.fromkeys(NAMES, _acl(*allow)))


def readers_of(bench: Bench, name: str) -> Acl:
    """The list in force."""
    return bench.desk.corpus.record(document_id_for(SOURCE, name)).acl


def test_over_the_bound_nobody_is_shown_a_document(bench: Bench) -> None:
    """Not in a search, a listing, a count or by its id; what lies in other sources is found as before."""
    corpus = bench.desk.corpus
    assert found(bench, BO) == found(bench, SVEN) == {SOURCE, OTHER}
    bench.let_permissions_age(SOURCE)
    assert found(bench, BO) == found(bench, SVEN) == {OTHER}
    assert {each.source_id for each in corpus.documents(BO, DocumentFilter(), after=None, limit=9)} == {OTHER}
    assert (corpus.passage_count(BO), corpus.count_by_state(BO, DocumentFilter())) == (2, {"live": 2})
    assert [summary.source.id for summary in corpus.sources(BO)] == [OTHER]


def test_the_bound_holds_by_the_time_alone(bench: Bench) -> None:
    """No worker has to run for it: the same catalogue, read an hour later, shows nothing."""
    SqlSources(bench.desk.database, utc_now).change(SOURCE, SourceChange(acl_max_age_s=3600))
    presence = replace(bench.desk.corpus.presence, clock=lambda: utc_now() + timedelta(minutes=61))
    later = SqlCorpus(bench.desk.database, presence)
    assert bench.desk.corpus.outdated_sources() == frozenset()
    assert later.outdated_sources() == {SOURCE}
    chunks = [each.chunk_id for each in bench.desk.corpus.chunks(BO, document_id_for(SOURCE, NAMES[0]))]
    assert bench.desk.corpus.passages(chunks)
    assert later.passages(chunks) == {}


def test_owners_hear_what_is_the_matter_and_others_that_nothing_is_there(
    bench: Bench, client: TestClient
) -> None:
    """Owners see the record, and why not the words; to everybody else it is as if there were no such document."""
    bench.let_permissions_age(SOURCE)
    path = f"/api/v1/documents/{document_id_for(SOURCE, NAMES[0])}"
    sven, bo = ({"Authorization": f"Bearer {bench.key(user, END_USER_SCOPES)}"} for user in ("sven", "bo"))
    assert client.get(path, headers=sven).json()["acl"]["allow"] == ["group:everyone"]
    for words in ("text", "chunks"):
        reply = client.get(f"{path}/{words}", headers=sven)
        assert (reply.status_code, reply.json()["code"]) == (409, "permissions_outdated")
    (trouble,) = client.get("/api/v1/status", headers=sven).json()["troubles"]
    assert (trouble["source_id"], trouble["state"]) == (SOURCE, "permissions_outdated")
    assert "after the next refresh that ends well" in trouble["explanation"]["next"]
    shown = client.get(f"/api/v1/sources/{SOURCE}", headers=sven).json()
    assert (shown["acl_state"], shown["acl_max_age_s"]) == ("outdated", 3600)
    assert 7199 < shown["acl_age_s"] < 7300
    ask = {"user_id": "bo", "document_id": document_id_for(SOURCE, NAMES[0])}
    explained = client.post("/api/v1/access/explain", json=ask, headers=sven).json()
    assert (explained["may_read"], explained["rules"][0]["rule"]) == (False, "outdated")
    assert client.get("/api/v1/status", headers=bo).json()["troubles"] == []
    assert client.get(f"/api/v1/sources/{SOURCE}", headers=bo).status_code == 404

    def shape(asked: str) -> tuple[int, Any]:
        reply = client.get(asked, headers=bo)
        return reply.status_code, {**reply.json(), "request_id": ""}

    for tail in ("", "/text", "/chunks", "/versions", "/history"):
        assert shape(f"{path}{tail}") == shape(f"/api/v1/documents/{uuid.uuid4()}{tail}")


def test_only_a_refresh_that_ends_well_confirms(bench: Bench) -> None:
    """One that breaks off, or lacks too much, leaves the age as it was, and says why."""
    bench.let_permissions_age(SOURCE)
    with pytest.raises(SourceUnavailableError):
        refresh(bench, replace(same("group:everyone"), breaks_off=True))
    assert bench.desk.corpus.source(SOURCE).acl_error_code == "source_unavailable"
    with pytest.raises(ListingShrankError):
        refresh(bench, Listing({}))
    assert bench.desk.corpus.source(SOURCE).acl_error_code == "listing_shrank"
    assert found(bench, BO) == {OTHER}
    assert refresh(bench, same("group:everyone")) == {"unchanged": 2}
    source = bench.desk.corpus.source(SOURCE)
    assert (source.acl_state(utc_now()), source.acl_error_code) == (AclAge.CURRENT, "")
    assert found(bench, BO) == {SOURCE, OTHER}


def test_a_refresh_puts_lists_in_force_and_does_nothing_else(bench: Bench) -> None:
    """The index follows at once; what a person set stays; what is new in the listing is left to a sync."""
    manual = document_id_for(SOURCE, "merger.txt")
    change = AclChange(None, frozenset({PrincipalId("user:bo")}), frozenset())
    Documents(bench.desk).set_acl(SVEN, manual, change, request_id="r")
    bench.work()
    listing = same("group:board")
    listing.acls["new.txt"] = _acl("group:everyone")
    assert refresh(bench, listing) == {"changed": 1, "unchanged": 1}
    assert readers_of(bench, "budget.txt") == _acl("group:board")
    assert readers_of(bench, "merger.txt") == _acl("user:bo")
    assert bench.waiting() == []
    assert bench.toolbox.store.stale_access() == []
    found_by_board = found(bench, Principal(UserId("cy"), frozenset({PrincipalId("group:board")})))
    assert SOURCE in found_by_board
    assert refresh(bench, listing) == {"unchanged": 2}


def test_what_the_listing_lacks_is_read_by_its_owner_alone(bench: Bench) -> None:
    """Nothing confirms its list; once it is listed again it is read as before."""
    without = Listing({"budget.txt": _acl("group:everyone")})
    assert refresh(bench, without) == {"withdrawn": 1, "unchanged": 1}
    assert readers_of(bench, "merger.txt") == _acl()
    assert refresh(bench, without) == {"unchanged": 2}
    assert refresh(bench, same("group:everyone")) == {"changed": 1, "unchanged": 1}
    assert readers_of(bench, "merger.txt") == _acl("group:everyone")


def test_a_list_for_a_newer_text_opens_nothing_before_that_is_live(bench: Bench) -> None:
    """Until then both lists have to let somebody in; if the text is taken back, the list counts for the old one."""
    refresh(bench, same("group:board"))
    newer = replace(same("group:everyone"), fingerprint="newer")
    assert refresh(bench, newer) == {"changed": 2}
    assert readers_of(bench, "merger.txt") == _acl("group:board")
    assert refresh(bench, newer) == {"unchanged": 2}
    assert refresh(bench, same("group:everyone")) == {"changed": 2}
    assert readers_of(bench, "merger.txt") == _acl("group:everyone")


def test_a_document_that_failed_is_refreshed_too(bench: Bench) -> None:
    """Its old text is still read, so nobody is let in to it whom the list of now shuts out."""
    bench.push(SOURCE, "merger.txt", f"{UNREADABLE} text", None)
    bench.work()
    refresh(bench, same("group:board"))
    assert EVERYBODY not in readers_of(bench, "merger.txt").allow


EVERYBODY = PrincipalId("group:everyone")


def test_a_source_that_is_pushed_has_no_bound_of_its_own(bench: Bench, client: TestClient) -> None:
    """Its lists come with its documents; kinds that are read from elsewhere begin with a bound and a schedule."""
    headers = {"Authorization": f"Bearer {bench.key('sven', ALL_SCOPES)}"}
    for change in ({"acl_max_age_s": 3600}, {"acl_every_s": 3600}):
        assert client.patch(f"/api/v1/sources/{SOURCE}", json=change, headers=headers).status_code == 409
    body = {"name": "folder", "kind": "folder", "location": "/srv/docs"}
    made = client.post("/api/v1/sources", json=body, headers=headers).json()
    assert (made["acl_every_s"], made["acl_max_age_s"], made["acl_state"]) == (3600, 604_800, "current")
    off = {"acl_max_age_s": None, "acl_every_s": None}
    changed = client.patch(f"/api/v1/sources/{made['id']}", json=off, headers=headers).json()
    assert (changed["acl_every_s"], changed["acl_max_age_s"], changed["next_acl_at"]) == (None, None, None)
    asked = {"access_only": True, "dry_run": True}
    refused = client.post(f"/api/v1/sources/{made['id']}/sync", json=asked, headers=headers)
    assert refused.json()["code"] == "invalid_query"
    accepted = client.post(f"/api/v1/sources/{made['id']}/sync", json={"access_only": True}, headers=headers)
    whole = client.post(f"/api/v1/sources/{made['id']}/sync", headers=headers)
    assert accepted.json()["job"]["id"] == whole.json()["job"]["id"]
    assert not whole.json()["job"]["parameters"]["access_only"]


def test_ids_of_documents_are_kept(bench: Bench) -> None:
    """A source that is outdated deletes nothing: every record is there for its owner."""
    bench.let_permissions_age(SOURCE)
    own = bench.desk.corpus.documents(SVEN, DocumentFilter(source_id=SOURCE), after=None, limit=9)
    assert {each.id for each in own} == {DocumentId(document_id_for(SOURCE, name)) for name in NAMES}

"""An owner sees what somebody else would find of its own documents, and everybody can see that it looked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from benchmarks.permissions.desk import Bench, open_bench
from retrieval.access import Acl, PrincipalId, UserId
from retrieval.adapters.sql.models import ConversationTurnRow, FeedbackRow, TokenUseRow
from retrieval.errors import CatalogueUnavailableError
from retrieval.wiring import utc_now
from serving.auditing import usage_since
from serving.scopes import ALL_SCOPES, END_USER_SCOPES, Scope

LISTS = {
    "board.txt": ("olga", "group:board"),
    "mine.txt": ("olga", ""),
    "others.txt": ("sven", "group:board"),
    "named.txt": ("sven", "group:board user:olga"),
}
"""Owner and readers of each document."""


@dataclass
class Room:
    """A desk, and its callers."""

    bench: Bench
    client: TestClient
    keys: dict[str, str]

    def preview(self, caller: str, user: str, **more: Any) -> Any:
        """Ask for a preview."""
        body = {"user_id": user, "query": "words of a paper", "limit": 50, **more}
        headers = {"Authorization": f"Bearer {self.keys[caller]}"}
        return self.client.post("/api/v1/search/preview", json=body, headers=headers)

    def seen(self, caller: str, user: str) -> set[str]:
        """Names of the documents that a preview shows."""
        return {hit["external_id"] for hit in self.preview(caller, user).json()["hits"]}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Documents of olga's and sven's; ada is on the board, dora is disabled."""
    with open_bench(tmp_path / "state") as bench:
        for user in ("olga", "sven", "otto", "adam"):
            bench.user(user)
        bench.user("ada", "board")
        bench.user("dora", "board", disabled_at=utc_now())
        bench.source("papers", "sven")
        source = bench.desk.corpus.every_source()[0].id
        for name, (owner, readers) in LISTS.items():
            acl = Acl(UserId(owner), frozenset(map(PrincipalId, readers.split())))
            bench.push(source, name, f"Words of a paper named {name}.", acl)
        bench.work()
        keys = {user: bench.key(user, END_USER_SCOPES) for user in ("olga", "sven", "otto", "ada")}
        keys["adam"] = bench.key("adam", ALL_SCOPES - {Scope.ACT_AS})
        keys["administrator"] = bench.key("adam", ALL_SCOPES - {Scope.ACT_AS, Scope.PREVIEW, Scope.DIRECTORY})
        keys["previewer"] = bench.key("otto", ALL_SCOPES - {Scope.ADMIN, Scope.ACT_AS, Scope.DIRECTORY})
        keys["searcher"] = bench.key("olga", frozenset({Scope.SEARCH}))
        with TestClient(bench.app, "http://127.0.0.1:8080", raise_server_exceptions=False) as client:
            yield Room(bench, client, keys)


def test_owners_preview_what_they_own(room: Room) -> None:
    """Only that, though they may read more; and only what the other person would find of it."""
    assert room.seen("olga", "ada") == {"board.txt"}
    assert room.seen("olga", "otto") == set()
    assert room.seen("olga", "olga") == {"board.txt", "mine.txt"}
    assert room.seen("sven", "ada") == {"others.txt", "named.txt"}


def test_everything_takes_a_second_permission(room: Room) -> None:
    """`admin` does not hold it, and it does nothing without `admin`."""
    assert room.seen("adam", "ada") == {"board.txt", "others.txt", "named.txt"}
    assert room.seen("administrator", "ada") == room.seen("previewer", "ada") == set()
    refused = room.preview("searcher", "ada")
    assert (refused.status_code, refused.json()["code"]) == (403, "not_permitted")
    reply = room.preview("adam", "ada").json()
    assert (reply["seen_as"], reply["among"]) == ("ada", "everything")
    assert reply["notice"].startswith("Preview: what ada would find in everything that ada may read.")
    assert room.preview("olga", "ada").json()["among"] == "own"


def test_a_preview_is_on_record_before_it_is_shown(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looked as whom, and what was seen; without a record nothing is."""
    hits = room.preview("olga", "ada").json()["hits"]
    record = room.bench.desk.audit.records(after=0, limit=100)[-1]
    assert (record.event, record.principal, record.facts["user_id"]) == ("preview", "olga", "ada")
    assert [each["chunk_id"] for each in record.facts["chunks"]] == [hit["chunk_id"] for hit in hits]
    assert record.facts["everything"] is False
    assert "words of a paper" not in str(record)

    def fail(*_args: object, **_named: object) -> None:
        raise CatalogueUnavailableError("no room")

    monkeypatch.setattr(type(room.bench.desk.audit), "append", fail)
    refused = room.preview("olga", "ada")
    assert (refused.status_code, refused.json()["code"]) == (503, "audit_unavailable")
    assert "named board.txt" not in refused.text


def test_nothing_of_the_other_person_is_touched(room: Room) -> None:
    """No question, no feedback, no tokens, no usage: it was not ada who asked."""
    room.preview("olga", "ada")
    with room.bench.desk.database.read() as session:
        for table in (ConversationTurnRow, FeedbackRow, TokenUseRow):
            assert session.query(table).count() == 0
    assert usage_since(room.bench.desk, utc_now().date()).total.n_questions == 0
    assert [
        each.event for each in room.bench.desk.audit.records(after=0, limit=99) if each.principal == "ada"
    ] == []


@pytest.mark.parametrize(("user", "words"), [("dora", "has disabled"), ("nobody", "does not know")])
def test_who_may_know_hears_that_there_is_no_such_user(room: Room, user: str, words: str) -> None:
    """Owners of a document do, as `access explain` tells them; whoever owns nothing finds nothing."""
    for caller in ("olga", "adam"):
        refused = room.preview(caller, user)
        assert (refused.status_code, refused.json()["code"]) == (403, "unknown_user")
        assert words in refused.json()["detail"]
    for caller in ("otto", "previewer"):
        told = room.preview(caller, user)
        assert (told.status_code, told.json()["hits"]) == (200, [])


def test_a_preview_shows_what_a_search_would(room: Room) -> None:
    """The other person's own search, narrowed: the same passages, and none of a source that is not shown now."""
    headers = {"Authorization": f"Bearer {room.keys['ada']}"}
    body = {"query": "words of a paper", "limit": 50}
    own = room.client.post("/api/v1/search", json=body, headers=headers).json()["hits"]
    assert [hit["chunk_id"] for hit in room.preview("adam", "ada").json()["hits"]] == [
        hit["chunk_id"] for hit in own
    ]
    source = room.bench.desk.corpus.every_source()[0].id
    room.bench.let_permissions_age(source)
    assert room.seen("olga", "ada") == room.seen("adam", "ada") == set()

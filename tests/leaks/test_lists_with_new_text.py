"""A list that comes with a new text lets nobody in to the old one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given

from benchmarks.permissions.desk import INSIDE, UNREADABLE, Bench, open_bench
from retrieval.access import Acl, Principal, PrincipalId, UserId, common, permits
from retrieval.adapters.sql.upkeep import SqlUpkeep
from retrieval.corpus import DocumentId, SourceId, document_id_for
from retrieval.errors import NotFoundError
from retrieval.query import Query
from retrieval.wiring import utc_now
from tests.retrieval.test_access import acls, principals

SOURCE = SourceId("papers")
NAME = "merger.txt"
SECRET = "The merger with Ostrel is planned for the spring."
PUBLIC = "The merger was announced to everybody in the spring."


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A desk with a document that only hr reads: ada does, bo does not."""
    with open_bench(tmp_path / "state") as bench:
        bench.source(SOURCE, "sven")
        bench.push(SOURCE, NAME, f"{SECRET}{INSIDE}annex.txt\n{SECRET}", _acl("group:hr"))
        bench.work()
        yield bench


def _acl(*allow: str, owner: str = "sven", deny: tuple[str, ...] = ()) -> Acl:
    return Acl(UserId(owner), frozenset(map(PrincipalId, allow)), frozenset(map(PrincipalId, deny)))


ADA = Principal(UserId("ada"), frozenset({PrincipalId("group:hr")}))
BO = Principal(UserId("bo"))


def seen(bench: Bench, principal: Principal) -> str:
    """Everything that a search for the merger shows, and the texts of the document and its annex."""
    hits = bench.desk.search.search(Query("merger spring", limit=50, group_by_document=False), principal).hits
    shown = [hit.passage.text for hit in hits]
    for name in (NAME, f"{NAME}!/annex.txt"):
        try:
            passages = bench.desk.corpus.chunks(principal, document_id_for(SOURCE, name))
        except NotFoundError:
            continue
        shown += [passage.text for passage in passages]
    return "\n".join(shown)


def test_a_wider_list_waits_for_its_text(bench: Bench) -> None:
    """Nobody reads the old text by the new list; once the new text is live, the list counts in full."""
    bench.push(SOURCE, NAME, f"{PUBLIC}{INSIDE}annex.txt\n{PUBLIC}", _acl("group:everyone"))
    assert seen(bench, BO) == ""
    assert SECRET in seen(bench, ADA)
    bench.work_on(bench.waiting()[0].id)  # the document is in, what is inside it is not yet
    assert PUBLIC in seen(bench, BO)
    assert SECRET not in seen(bench, BO)
    bench.work()
    assert seen(bench, BO).count(PUBLIC) == seen(bench, ADA).count(PUBLIC) > 2
    assert SECRET not in seen(bench, ADA)


def test_a_text_that_cannot_be_read_opens_nothing(bench: Bench) -> None:
    """The old text stays live, for those who read it before, until there is a new one."""
    bench.push(SOURCE, NAME, UNREADABLE + PUBLIC, _acl("group:everyone"))
    bench.work()
    assert seen(bench, BO) == ""
    assert SECRET in seen(bench, ADA)
    bench.push(SOURCE, NAME, PUBLIC, None)  # no list: the one that waits is meant
    bench.work()
    assert PUBLIC in seen(bench, BO)


def test_a_narrower_list_counts_at_once(bench: Bench) -> None:
    """What a list takes away is gone with the commit."""
    bench.push(SOURCE, NAME, PUBLIC, _acl("group:board"))
    assert seen(bench, ADA) == ""


def test_a_new_owner_does_not_read_the_old_text(bench: Bench) -> None:
    """Owning the new text is no right to the old one."""
    bench.push(SOURCE, NAME, PUBLIC, _acl(owner="bo"))
    assert seen(bench, BO) == ""
    bench.work()
    assert PUBLIC in seen(bench, BO)


def test_a_list_set_by_hand_counts_for_what_is_there(bench: Bench) -> None:
    """A person who shares the document means what it says now; the list that waited is forgotten."""
    bench.push(SOURCE, NAME, PUBLIC, _acl("group:everyone"))
    document_id = DocumentId(document_id_for(SOURCE, NAME))
    SqlUpkeep(bench.desk.database, utc_now).set_acl(document_id, _acl("group:hr"), requested_by="sven")
    bench.work()
    assert seen(bench, BO) == ""
    assert PUBLIC in seen(bench, ADA)


@given(acls, acls, principals)
def test_the_common_list_lets_in_whom_both_let_in(acl: Acl, other: Acl, principal: Principal) -> None:
    """It never widens either list, and is the list itself where the other one is the same."""
    assert not permits(common(acl, other), principal) or (
        permits(acl, principal) and permits(other, principal)
    )
    assert common(acl, acl) == acl

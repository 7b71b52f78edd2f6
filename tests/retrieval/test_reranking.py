"""Reranked searches: the reranker's order, nothing the asker may not read, the first order when it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.access import Acl, Principal, UserId
from retrieval.adapters.sql.upkeep import SqlUpkeep
from retrieval.errors import RerankerUnavailableError
from retrieval.ports import Reranker
from retrieval.query import Query, SearchResult
from retrieval.search import Search, SearchSettings, in_new_order
from retrieval.settings import load_settings
from serving.embedded import EmbeddedDesk, open_embedded, request_docs_sync
from serving.http.app import create_app
from tests.desks import client_of, wait_until_idle
from tests.fakes.model_server import MODEL, FakeModelServer, Replies
from tests.fakes.overlap_reranker import OverlapReranker
from tests.make import make_hit, make_principal

pytestmark = pytest.mark.timeout(300)

QUESTION = "What does a hotel room in Zaragoza cost at most?"
SECRET = "quincunx"
ADA = make_principal("ada")


class ByLength(OverlapReranker):
    """Prefers short passages; keeps what it was handed, and does something first if it is told to."""

    fingerprint = "by-length"

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.handed: list[str] = []
        self.calls = 0
        self._before = before

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        self.calls += 1
        self.handed += passages
        self._before()
        return [-float(len(passage)) for passage in passages]


class Failing(OverlapReranker):
    """Is down."""

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        raise RerankerUnavailableError("it answered HTTP 500")


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight documents that everyone reads, and one that only its owner does."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / ".refdesk.toml").write_text('owner = "olga"\n[acl]\nallow = ["group:everyone"]\n')
    for number in range(8):
        more = "Rooms are booked by the travel desk. " * number
        (folder / f"hotel-{number}.md").write_text(
            f"A hotel room in city {number} costs at most 140 euros. {more}"
        )
    (folder / "board").mkdir()
    (folder / "board" / ".refdesk.toml").write_text('owner = "olga"\n')
    (folder / "board" / "secret.md").write_text(
        f"The {SECRET} hotel room in Zaragoza costs 900 euros at most."
    )
    return folder


@pytest.fixture(scope="module")
def embedded(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedDesk]:
    """A desk over them."""
    settings = load_settings(data=tmp_path_factory.mktemp("desk") / "state", docs=docs)
    with open_embedded(settings) as embedded:
        request_docs_sync(settings, embedded.desk)
        wait_until_idle(embedded.desk)
        yield embedded


def search(
    embedded: EmbeddedDesk, reranker: Reranker | None, *, asker: Principal = ADA, depth: int = 50
) -> SearchResult:
    """One search for `QUESTION` on the desk with this reranker."""
    desk = embedded.desk
    settings = SearchSettings(rerank_depth=depth)
    searching = Search(
        corpus=desk.corpus, answering=desk.indexes.answering, settings=settings, reranker=reranker
    )
    return searching.search(Query(QUESTION, limit=20), asker)


def test_the_rerankers_order_holds(embedded: EmbeddedDesk) -> None:
    """The same hits in its order; scores still fall, and each hit tells both its scores."""
    plain, reranked = search(embedded, None), search(embedded, ByLength())
    assert {hit.passage.chunk_id for hit in reranked.hits} == {hit.passage.chunk_id for hit in plain.hits}
    lengths = [hit.contributions["rerank"] for hit in reranked.hits]
    assert lengths == sorted(lengths, reverse=True)
    assert [hit.passage.external_id for hit in reranked.hits] == [f"hotel-{number}.md" for number in range(8)]
    assert all(first.score > second.score for first, second in pairwise(reranked.hits))
    assert reranked.hits[0].score == pytest.approx(plain.hits[0].score)
    assert (plain.degraded, reranked.degraded) == ((), ())
    assert "rerank" in reranked.timings_ms
    assert "rerank" not in plain.timings_ms


def test_only_the_first_hits_are_read(embedded: EmbeddedDesk) -> None:
    """Those beyond the depth keep their order, behind."""
    plain, reranked = search(embedded, None), search(embedded, reranker := ByLength(), depth=3)
    assert len(reranker.handed) == 3
    assert [hit.passage for hit in reranked.hits[3:]] == [hit.passage for hit in plain.hits[3:]]
    assert ["rerank" in hit.contributions for hit in reranked.hits] == [True] * 3 + [False] * 5


def test_a_reranker_is_handed_readable_text_only(embedded: EmbeddedDesk) -> None:
    """What the asker may not read does not leave the desk, though it would come first; its owner's does."""
    search(embedded, ada := ByLength())
    assert ada.handed
    assert not any(SECRET in text for text in ada.handed)
    search(embedded, olga := ByLength(), asker=make_principal("olga"))
    assert any(SECRET in text for text in olga.handed)


def test_what_is_revoked_while_the_reranker_reads_is_not_shown(embedded: EmbeddedDesk) -> None:
    """Reading takes seconds; the list that counts is the one at the end. So it is when the reranker fails."""
    (first, *_) = search(embedded, None).hits
    upkeep = SqlUpkeep(embedded.desk.database, lambda: datetime.now(UTC))
    document, acl = first.passage.document_id, first.passage.acl

    def revoke() -> None:
        upkeep.set_acl(document, Acl(UserId("olga")), requested_by="olga")

    class RevokesAndFails(Failing):
        def score(self, question: str, passages: Sequence[str]) -> list[float]:
            revoke()
            return super().score(question, passages)

    for reranker in (ByLength(revoke), RevokesAndFails()):
        upkeep.set_acl(document, acl, requested_by="olga")
        wait_until_idle(embedded.desk)  # the index hears of a wider list later than the catalogue
        assert document in {hit.passage.document_id for hit in search(embedded, None).hits}
        found = search(embedded, reranker)
        assert len(found.hits) == 7
        assert document not in {hit.passage.document_id for hit in found.hits}
    upkeep.set_acl(document, acl, requested_by="olga")
    wait_until_idle(embedded.desk)


def test_what_is_replaced_while_the_reranker_reads_is_found_anew(embedded: EmbeddedDesk, docs: Path) -> None:
    """A new version that comes up meanwhile is in the result, not a gap."""
    edited = docs / "hotel-3.md"
    first_text = edited.read_text()

    def save(text: str) -> None:
        edited.write_text(text)
        request_docs_sync(embedded.desk.settings, embedded.desk)
        wait_until_idle(embedded.desk)

    def replace_once() -> None:
        if reranker.calls == 1:
            save("A hotel room in Zaragoza costs at most 150 euros.")

    reranker = ByLength(replace_once)
    found = search(embedded, reranker)
    save(first_text)  # the tests share the desk and run in any order
    assert reranker.calls == 2
    assert any("150 euros" in hit.passage.text for hit in found.hits)
    assert len(found.hits) == 8


def test_a_reranker_that_fails_leaves_the_first_order(
    embedded: EmbeddedDesk, caplog: pytest.LogCaptureFixture
) -> None:
    """The result says so, the log too, and neither with a word of question or text."""
    plain = search(embedded, None)
    with caplog.at_level(logging.WARNING):
        failed = search(embedded, Failing())
    assert [hit.passage for hit in failed.hits] == [hit.passage for hit in plain.hits]
    assert failed.degraded == ("reranker_unavailable",)
    (record,) = [record for record in caplog.records if record.name == "retrieval.search"]
    assert record.code == "reranker_unavailable"  # type: ignore[attr-defined]  # given as `extra`
    assert "Zaragoza" not in str(record.__dict__)


def test_settings_lead_to_a_reranked_answer(docs: Path, tmp_path: Path) -> None:
    """From the environment's settings to HTTP: a server's order, then the note that it failed."""
    with FakeModelServer(reranker=OverlapReranker()) as server:
        settings = load_settings(
            data=tmp_path, docs=docs, reranker_url=server.v1, reranker_model=MODEL, rerank_depth=4
        )
        with open_embedded(settings) as embedded:
            request_docs_sync(settings, embedded.desk)
            wait_until_idle(embedded.desk)
            client = client_of(create_app(embedded.desk))
            body = {"query": "city 5", "explain": True}
            found = client.post("/api/v1/search", json=body).json()
            assert found["degraded"] == []
            assert found["hits"][0]["explanation"]["rerank"] == 1.0
            assert "rerank" in found["timings_ms"]
            assert len(server.received[0].body["documents"]) == 4
            server.scripts.append(Replies("broken", 500))
            for _ in range(2):  # the second time without asking
                found = client.post("/api/v1/search", json=body).json()
                assert found["degraded"] == ["reranker_unavailable"]
                assert found["hits"]
            assert len(server.received) == 2
            answer = client.post("/api/v1/answers", json={"question": QUESTION}).json()
            assert "reranker_unavailable" in str(answer["activity"])


@given(
    fused=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    scores=st.lists(st.sampled_from([-1.5, 0.0, 0.25, 7.0]), max_size=12),
)
def test_a_new_order_keeps_every_hit_and_one_scale(fused: list[float], scores: list[float]) -> None:
    """Each hit is there once, scores fall strictly, the rest stays behind, and equal scores keep their order."""
    hits = [
        make_hit(score=score, chunk_id=f"c-{place}")
        for place, score in enumerate(sorted(fused, reverse=True))
    ]
    scores = scores[: len(hits)]
    found = in_new_order(hits, scores)
    order = [int(each.chunk_id.removeprefix("c-")) for each in found]
    assert sorted(order) == list(range(len(hits)))
    assert all(first.score > second.score for first, second in pairwise(found))
    assert found[0].score == hits[0].score
    head = order[: len(scores)]
    assert head == sorted(head, key=lambda place: (-scores[place], place))
    assert order[len(scores) :] == list(range(len(scores), len(hits)))

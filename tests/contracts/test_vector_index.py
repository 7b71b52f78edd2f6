"""What every `VectorIndex` does. New adapters are added to the fixture and pass the same tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient

from retrieval.access import PrincipalId, filter_for, hashed_denied, hashed_readers
from retrieval.adapters import edge_optimizing
from retrieval.adapters.qdrant_edge import QdrantEdgeIndex
from retrieval.adapters.qdrant_server import (
    CollectionLayout,
    QdrantServer,
    QdrantServerIndex,
    connect,
)
from retrieval.corpus import ChunkId, SourceId
from retrieval.errors import IndexUnavailableError
from retrieval.ports import IndexQuery, Point, SparseVector, VectorIndex
from retrieval.query import Legs, SearchFilters, SearchMode
from tests.make import NOON, make_acl, make_point, make_principal
from tests.services import servers

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

QUERY = IndexQuery(
    access=filter_for(make_principal("ada"), outdated=()),
    dense=np.asarray([1, 0, 0, 0], np.float32),
    sparse=SparseVector((10,), (1.0,)),
    depth=20,
)


class OptimisedIndex(QdrantEdgeIndex):
    """Is optimised after each batch of points, so that all else meets optimised segments."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Write and optimise."""
        super().upsert(points)
        self.optimise(is_stopped=lambda: False)


@pytest.fixture(params=["edge", "optimised", "server", "process"])
def index(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[VectorIndex]:
    """An empty index of four dimensions."""
    index: VectorIndex
    if request.param == "edge":
        index = QdrantEdgeIndex(tmp_path / "index", dimension=4)
    elif request.param == "optimised":
        monkeypatch.setattr(edge_optimizing, "NICENESS", 0)  # else other tests' processes keep it waiting
        index = OptimisedIndex(tmp_path / "index", dimension=4, optimise_above=1)
    elif request.param == "server":  # the client's own engine stands in for the server: the same calls
        index = QdrantServerIndex(QdrantClient(path=str(tmp_path / "local")), "chunks", CollectionLayout(4))
    else:  # over HTTP to another process, on the engine that the true server runs
        with servers.qdrant(tmp_path / "server") as server:
            index = connect(QdrantServer(server.url), "chunks", CollectionLayout(4))
            yield index
            index.close()
            return
    yield index
    index.close()


def test_nearest_comes_first_in_every_mode(index: VectorIndex) -> None:
    """The point that matches in both legs leads, whichever legs are used."""
    near, far = make_point(0), make_point(1, dense=[0.1, 1, 0, 0])
    index.upsert([far, near])
    for mode in SearchMode:
        found = index.search(replace(QUERY, mode=mode))
        assert bool(found.dense) == (mode is not SearchMode.SPARSE)
        assert bool(found.sparse) == (mode is not SearchMode.DENSE)
        for leg in filter(None, (found.dense, found.sparse)):
            assert leg[0].chunk_id == near.chunk_id


def test_a_group_in_doubt_shuts_out_and_lets_nobody_in(index: VectorIndex) -> None:
    """Groups that count against somebody only are in the filter of the denied, not in that of the readers."""
    in_doubt = replace(make_principal("ada"), deny_only=frozenset({PrincipalId("group:hr")}))
    lists = (
        make_acl(allow=("group:everyone",)),
        make_acl(allow=("group:hr",)),
        make_acl(allow=("group:everyone",), deny=("group:hr",)),
    )
    points = [
        replace(make_point(n), readers=hashed_readers(acl), denied=hashed_denied(acl))
        for n, acl in enumerate(lists)
    ]
    index.upsert(points)
    found = index.search(replace(QUERY, access=filter_for(in_doubt, outdated=())))
    assert [each.chunk_id for each in found.dense] == [points[0].chunk_id]


def test_upsert_replaces(index: VectorIndex) -> None:
    """Writing a point again leaves one point."""
    index.upsert([make_point(0)])
    index.upsert([make_point(0)])
    assert index.count() == 1


def test_delete_removes_and_ignores_unknown(index: VectorIndex) -> None:
    """Deleted points are gone; deleting again does nothing."""
    point = make_point(0)
    index.upsert([point, make_point(1)])
    index.delete([point.chunk_id])
    index.delete([point.chunk_id])
    assert set(index.chunk_ids()) == {make_point(1).chunk_id}


@pytest.mark.parametrize(
    ("allow", "deny", "groups", "visible"),
    [
        (("group:everyone",), (), (), True),
        (("group:hr",), (), (), False),
        (("group:hr",), (), ("hr",), True),
        (("group:hr",), ("user:ada",), ("hr",), False),
        ((), (), (), False),
    ],
)
def test_access_is_filtered(
    index: VectorIndex, allow: tuple[str, ...], deny: tuple[str, ...], groups: tuple[str, ...], visible: bool
) -> None:
    """A search sees what the access list allows and nothing else."""
    index.upsert([make_point(0, acl=make_acl(allow=allow, deny=deny))])
    found = index.search(replace(QUERY, access=filter_for(make_principal("ada", *groups), outdated=())))
    assert bool(found.dense) == bool(found.sparse) == visible


def test_sources_whose_lists_are_too_old_take_no_place(index: VectorIndex) -> None:
    """What is not shown now is left out by the index, so that it crowds nothing out."""
    index.upsert([make_point(0, source_id=SourceId("old")), make_point(1)])
    ada = make_principal("ada")
    found = index.search(replace(QUERY, depth=1, access=filter_for(ada, outdated={"old"})))
    assert _ids(found) == {make_point(1).chunk_id}


def test_a_preview_is_narrowed_to_what_names_its_asker(index: VectorIndex) -> None:
    """Both have to be named: whoever is looked at, and the owner who looks."""
    index.upsert([make_point(0), make_point(1, acl=make_acl("bo", allow=("group:everyone",)))])
    access = filter_for(make_principal("ada"), outdated=(), previewer=make_principal("bo", "everyone"))
    assert _ids(index.search(replace(QUERY, depth=1, access=access))) == {make_point(1).chunk_id}


def test_set_access_changes_the_whole_document_and_nothing_else(index: VectorIndex) -> None:
    """New access lists count for every point of the document from the next search on."""
    index.upsert([make_point(0, document_id="x"), make_point(1, document_id="x"), make_point(2)])
    acl = make_acl(allow=("group:hr",))
    index.set_access(make_point(0, document_id="x").document_id, hashed_readers(acl), hashed_denied(acl))
    assert _ids(index.search(QUERY)) == {make_point(2).chunk_id}


def test_set_access_changes_single_points_of_a_document(index: VectorIndex) -> None:
    """Those that are named and of the document; unknown ids and another document's points are left alone."""
    points = [make_point(0, document_id="x"), make_point(1, document_id="x"), make_point(2)]
    index.upsert(points)
    acl = make_acl(allow=("group:hr",))
    only = [points[0].chunk_id, points[2].chunk_id, make_point(7).chunk_id]
    index.set_access(points[0].document_id, hashed_readers(acl), hashed_denied(acl), only=only)
    assert _ids(index.search(QUERY)) == {points[1].chunk_id, points[2].chunk_id}
    for_hr = replace(QUERY, access=filter_for(make_principal("ada", "hr"), outdated=()))
    assert _ids(index.search(for_hr)) == {point.chunk_id for point in points}


def test_set_sparse_replaces_the_sparse_leg_only(index: VectorIndex) -> None:
    """New term weights are found, and the dense leg still answers."""
    point = make_point(0)
    index.upsert([point])
    index.set_sparse({point.chunk_id: SparseVector((77,), (2.0,))})
    sparse = replace(QUERY, mode=SearchMode.SPARSE)
    assert not index.search(sparse).sparse
    assert index.search(replace(sparse, sparse=SparseVector((77,), (1.0,)))).sparse
    assert index.search(replace(QUERY, mode=SearchMode.DENSE)).dense


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (SearchFilters(sources=("docs",)), {0}),
        (SearchFilters(media_types=("text/html",)), {1}),
        (SearchFilters(languages=("de", "fr")), {1}),
        (SearchFilters(tags=("travel",)), {1}),
        (SearchFilters(path_prefix="a/"), {0}),
        (SearchFilters(documents=("doc-1",)), {1}),
        (SearchFilters(modified_after=NOON + timedelta(hours=1)), {1}),
        (SearchFilters(modified_before=NOON + timedelta(hours=1)), {0}),
        (SearchFilters(languages=("de",), tags=("nothing",)), set()),
    ],
)
def test_filters_narrow(index: VectorIndex, filters: SearchFilters, expected: set[int]) -> None:
    """Each filter keeps what it names; several must all match."""
    other = make_point(
        1,
        source_id="other",
        path="b/1.html",
        media_type="text/html",
        language="de",
        tags=("travel",),
        modified_at=NOON + timedelta(days=1),
    )
    index.upsert([make_point(0), other])
    found = _ids(index.search(replace(QUERY, filters=filters)))
    assert found == {(make_point(0), other)[number].chunk_id for number in expected}


def test_the_best_by_words_tell_their_language(index: VectorIndex) -> None:
    """Of the first ten that the asker may read, and of no more; without words nobody is asked."""
    term = SparseVector((10,), (1.0,))
    hidden = make_point(0, acl=make_acl(), language="ru", sparse=SparseVector((10,), (9.0,)))
    others = [
        make_point(
            number, language="de" if number <= 4 else "en", sparse=replace(term, values=(20.0 - number,))
        )
        for number in range(1, 15)
    ]
    index.upsert([hidden, *others])
    found = index.search(QUERY)
    assert len(found.sparse) == 14
    assert sorted(found.languages) == ["de"] * 4 + ["en"] * 6
    assert index.search(replace(QUERY, mode=SearchMode.DENSE)).languages == ()


def test_sparse_search_without_known_terms_finds_nothing(index: VectorIndex) -> None:
    """A question of stop words only is no error."""
    index.upsert([make_point(0)])
    assert index.search(replace(QUERY, mode=SearchMode.SPARSE, sparse=SparseVector((), ()))) == Legs()


def test_stored_vectors_come_back(index: VectorIndex) -> None:
    """The dense vectors of known points are those that were written; unknown ids are left out."""
    points = [make_point(0), make_point(1, dense=[0.6, 0.8, 0, 0])]
    index.upsert(points)
    stored = index.dense_of([points[1].chunk_id, make_point(7).chunk_id])
    assert list(stored) == [points[1].chunk_id]
    assert np.allclose(stored[points[1].chunk_id], [0.6, 0.8, 0, 0], atol=1e-6)


def test_more_points_than_one_request_holds(index: VectorIndex) -> None:
    """A long list is written whole, in several requests where need be."""
    index.upsert([make_point(number) for number in range(300)])
    assert index.count() == 300


def test_points_survive_reopening(tmp_path: Path) -> None:
    """What was written is there after the index was closed and opened."""
    first = QdrantEdgeIndex(tmp_path / "index", dimension=4)
    first.upsert([make_point(0)])
    first.close()
    second = QdrantEdgeIndex(tmp_path / "index", dimension=4)
    assert second.count() == 1
    second.close()


def test_folder_has_one_owner(tmp_path: Path) -> None:
    """A folder that is open cannot be opened a second time."""
    first = QdrantEdgeIndex(tmp_path / "index", dimension=4)
    with pytest.raises(IndexUnavailableError):
        QdrantEdgeIndex(tmp_path / "index", dimension=4)
    first.close()


def _ids(legs: Legs) -> set[ChunkId]:
    return {candidate.chunk_id for candidate in (*legs.dense, *legs.sparse)}

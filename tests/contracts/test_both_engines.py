"""The embedded engine and the server's client find the same for the same points and queries."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient

from retrieval.access import Principal, filter_for
from retrieval.adapters.qdrant_edge import QdrantEdgeIndex
from retrieval.adapters.qdrant_server import CollectionLayout, QdrantServerIndex
from retrieval.ports import Embedding, IndexQuery, Point, SparseVector, VectorIndex
from retrieval.query import Candidate, Legs, SearchFilters, SearchMode
from tests.make import make_acl, make_point, make_principal

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

DIMENSION = 24
N_POINTS = 400
TERMS = 60
TOP = 10
TIED = 1e-4
FILTERS = (
    SearchFilters(),
    SearchFilters(languages=("de",)),
    SearchFilters(tags=("travel",), media_types=("text/html", "text/markdown")),
    SearchFilters(path_prefix="b/"),
)
PRINCIPALS = (make_principal("ada"), make_principal("ada", "hr"), make_principal("eve", "board", "hr"))


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VectorIndex, VectorIndex]]:
    """Both engines with the same points."""
    with _opened(tmp_path_factory.mktemp("engines")) as both:
        yield both


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[VectorIndex, VectorIndex]]:
    edge = QdrantEdgeIndex(folder / "edge", dimension=DIMENSION)
    client = QdrantClient(path=str(folder / "local"))
    server = QdrantServerIndex(client, "chunks", CollectionLayout(DIMENSION))
    for index in (edge, server):
        dice = random.Random(7)
        index.upsert([_point(number, dice) for number in range(N_POINTS)])
    yield edge, server
    edge.close()
    server.close()


@pytest.mark.parametrize("mode", list(SearchMode))
@pytest.mark.parametrize("filters", FILTERS)
def test_both_find_the_same(
    engines: tuple[VectorIndex, VectorIndex], mode: SearchMode, filters: SearchFilters
) -> None:
    """The same ten points, for every leg, every filter and everybody who asks."""
    dice = random.Random(11)
    for principal in PRINCIPALS:
        for _ in range(5):
            query = _query(principal, filters, mode, dice)
            _assert_alike(*(engine.search(query) for engine in engines))


def test_both_find_the_same_after_changes(tmp_path: Path) -> None:
    """Points replaced, deleted and shared anew are the same for the dense leg, as are ids and vectors.

    Not for the sparse leg: the embedded engine counts terms of replaced points until its segments are merged,
    so its inverse document frequencies lag behind.
    """
    with _opened(tmp_path) as engines:
        for index in engines:
            dice = random.Random(13)
            points = [_point(number, dice) for number in range(100)]
            index.upsert(points[:40])
            index.delete([point.chunk_id for point in points[40:60]])
            index.set_access(points[70].document_id, (), ())
        dice = random.Random(17)
        for principal in PRINCIPALS:
            query = _query(principal, SearchFilters(), SearchMode.DENSE, dice)
            _assert_alike(*(engine.search(query) for engine in engines))
        first, second = (set(engine.chunk_ids()) for engine in engines)
        assert first == second
        some = sorted(first)[:50]
        stored = [engine.dense_of(some) for engine in engines]
        assert all(np.allclose(stored[0][id_], stored[1][id_], atol=1e-6) for id_ in some)


def _query(principal: Principal, filters: SearchFilters, mode: SearchMode, dice: random.Random) -> IndexQuery:
    return IndexQuery(
        access=filter_for(principal, outdated=()),
        dense=_dense(dice),
        sparse=SparseVector(tuple(dice.sample(range(TERMS), 4)), (1.0,) * 4),
        depth=N_POINTS,
        filters=filters,
        mode=mode,
    )


def _assert_alike(first: Legs, second: Legs) -> None:
    """Alike leg by leg."""
    _assert_alike_leg(first.dense, second.dense)
    _assert_alike_leg(first.sparse, second.sparse)


def _assert_alike_leg(first: Sequence[Candidate], second: Sequence[Candidate]) -> None:
    """Equal scores, and equal sets of the best ten but for ties with the tenth."""
    assert len(first) == len(second)
    assert np.allclose([c.score for c in first[:TOP]], [c.score for c in second[:TOP]], atol=1e-3)
    for found, other in ((first, second), (second, first)):
        tenth = found[:TOP][-1].score if found else 0.0
        best = {candidate.chunk_id for candidate in found[:TOP] if candidate.score > tenth + TIED}
        assert best <= {candidate.chunk_id for candidate in other[: TOP + 5]}


def _point(number: int, dice: random.Random) -> Point:
    acl = make_acl(
        allow=(dice.choice(("group:everyone", "group:hr", "group:board")),),
        deny=("user:eve",) if dice.random() < 0.2 else (),
    )
    return make_point(
        number,
        dense=_dense(dice).tolist(),
        acl=acl,
        sparse=_sparse(dice),
        language=dice.choice(("en", "de")),
        media_type=dice.choice(("text/markdown", "text/html", "application/pdf")),
        tags=("travel",) if dice.random() < 0.5 else (),
        path=f"{dice.choice('ab')}/{number}.md",
    )


def _dense(dice: random.Random) -> Embedding:
    vector = np.asarray([dice.gauss(0, 1) for _ in range(DIMENSION)], np.float32)
    unit: Embedding = vector / np.linalg.norm(vector)
    return unit


def _sparse(dice: random.Random) -> SparseVector:
    terms = tuple(dice.sample(range(TERMS), 8))
    return SparseVector(terms, tuple(dice.uniform(0.5, 2.0) for _ in terms))

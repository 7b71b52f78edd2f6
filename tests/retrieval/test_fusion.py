"""Joining legs: what must hold for any scores, and that the formula is the engine's own."""

from __future__ import annotations

import random
import uuid
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as edge
from hypothesis import given
from hypothesis import strategies as st

from retrieval.corpus import ChunkId
from retrieval.fusion import DENSE_WEIGHT, FOREIGN_WEIGHT, dense_weight, fuse
from retrieval.query import Candidate, Legs

_scores = st.lists(st.floats(-1, 40, allow_nan=False), max_size=30)


def _leg(scores: list[float], *, start: int = 0) -> tuple[Candidate, ...]:
    ranked = sorted(scores, reverse=True)
    return tuple(Candidate(ChunkId(f"{start + place:03d}"), score) for place, score in enumerate(ranked))


@given(_scores, _scores, st.integers(0, 40), st.floats(0, 1))
def test_contributions_add_up_and_nothing_is_lost(
    dense: list[float], sparse: list[float], shift: int, weight: float
) -> None:
    """Each candidate of a leg is in the ranking once, with what each leg gave it; best first, ties by id."""
    legs = Legs(_leg(dense), _leg(sparse, start=shift))
    fused = fuse(legs, weight)
    assert {c.chunk_id for c in fused} == {c.chunk_id for c in (*legs.dense, *legs.sparse)}
    assert len({c.chunk_id for c in fused}) == len(fused)
    for candidate in fused:
        assert candidate.score == pytest.approx(sum(candidate.contributions.values()))
    assert fused == sorted(fused, key=lambda c: (-c.score, c.chunk_id))
    assert fuse(legs, weight, 5) == fused[:5]


@given(_scores)
def test_one_leg_alone_keeps_its_order(scores: list[float]) -> None:
    """A search by one leg is ranked as that leg ranked it, ties apart."""
    leg = _leg(scores)
    by_id = {candidate.chunk_id: candidate.score for candidate in leg}
    for legs in (Legs(dense=leg), Legs(sparse=leg)):
        found = [by_id[candidate.chunk_id] for candidate in fuse(legs)]
        assert found == pytest.approx(sorted(scores, reverse=True), abs=1e-6)


def test_a_leg_without_weight_decides_nothing_but_membership() -> None:
    """With all weight on the dense leg, what only the sparse leg found comes last."""
    fused = fuse(Legs(_leg([0.9, 0.5, 0.4]), _leg([30.0, 2.0], start=2)), 1.0)
    assert [candidate.chunk_id for candidate in fused] == ["000", "001", "002", "003"]
    assert fused[-1].score == 0.0


def test_equal_weights_are_the_engines_own_fusion(tmp_path: Path) -> None:
    """Half and half is half of what Qdrant's `dbsf` gives, candidate by candidate."""
    dice = random.Random(3)
    config = edge.EdgeConfig(
        vectors={"dense": edge.EdgeVectorParams(size=8, distance=edge.Distance.Dot)},
        sparse_vectors={"sparse": edge.EdgeSparseVectorParams()},
    )
    shard = edge.EdgeShard.create(str(tmp_path), config)
    points = []
    for number in range(300):
        terms = dice.sample(range(40), 6)
        sparse = edge.SparseVector(terms, [dice.uniform(0.5, 2) for _ in terms])
        vectors = {"dense": np.asarray([dice.gauss(0, 1) for _ in range(8)]).tolist(), "sparse": sparse}
        points.append(edge.Point(str(uuid.UUID(int=number)), vectors, {}))
    shard.update(edge.UpdateOperation.upsert_points(points))
    asked = (
        edge.Query.Nearest([1.0] * 8, "dense"),
        edge.Query.Nearest(edge.SparseVector([1, 2, 3], [1.0] * 3), "sparse"),
    )
    by_vector, by_words = (
        tuple(
            Candidate(ChunkId(str(point.id)), point.score)
            for point in shard.query(edge.QueryRequest(limit=50, query=query))
        )
        for query in asked
    )
    prefetches = [edge.Prefetch(limit=50, query=query) for query in asked]
    request = edge.QueryRequest(limit=100, prefetches=prefetches, query=edge.Fusion.Dbsf())  # type: ignore[arg-type]  # the stubs forget that it is a Fusion
    engines = {str(point.id): point.score for point in shard.query(request)}
    ours = {candidate.chunk_id: 2 * candidate.score for candidate in fuse(Legs(by_vector, by_words), 0.5)}
    shard.close()
    assert ours == pytest.approx(engines, abs=1e-4)


@pytest.mark.parametrize(
    ("found", "known", "expected"),
    [
        (["en"] * 10, {"en"}, DENSE_WEIGHT),
        (["ru"] * 10, {"en"}, FOREIGN_WEIGHT),
        (["ru"] * 10, set(), DENSE_WEIGHT),
        (["ru"] * 10, {"en", "ru"}, DENSE_WEIGHT),
        (["en", "de"] * 5, {"en"}, (DENSE_WEIGHT + FOREIGN_WEIGHT) / 2),
        (["und"] * 10, {"en"}, DENSE_WEIGHT),
        (["und"] * 8 + ["de"], {"en"}, FOREIGN_WEIGHT),
        ([], {"en"}, DENSE_WEIGHT),
    ],
)
def test_the_dense_leg_weighs_less_in_languages_the_embedder_does_not_know(
    found: list[str], known: set[str], expected: float
) -> None:
    """The language of the best word matches decides; what has none is not asked."""
    assert dense_weight(Legs(languages=tuple(found)), known) == pytest.approx(expected)

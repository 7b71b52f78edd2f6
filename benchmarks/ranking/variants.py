"""Ways to join two legs, by name: the product's fusion, its legs alone, and what others use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from retrieval.corpus import ChunkId
from retrieval.fusion import dense_weight, fuse
from retrieval.query import Candidate, Legs

Fuse = Callable[[Legs], list[Candidate]]

_KNOWN = frozenset({"en"})
"""Languages of the embedder, all-MiniLM-L6-v2."""


def reciprocal_rank(legs: Legs, *, k: int) -> list[Candidate]:
    """Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet" (SIGIR 2009); ranks from 1."""
    return _added(
        [
            (candidate.chunk_id, 1 / (k + rank))
            for leg in (legs.dense, legs.sparse)
            for rank, candidate in enumerate(leg, start=1)
        ]
    )


def convex(legs: Legs, *, dense_weight: float) -> list[Candidate]:
    """Scores between the least and the best of each leg, added by weight."""
    return _added([*_between(legs.dense, dense_weight), *_between(legs.sparse, 1 - dense_weight)])


def convex_from_bound(legs: Legs, *, dense_weight: float) -> list[Candidate]:
    """As `convex`, from the least score that is possible: -1 and 0.

    Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval" (TOIS 2023), section 4.
    """
    return _added([*_between(legs.dense, dense_weight, -1.0), *_between(legs.sparse, 1 - dense_weight, 0.0)])


VARIANTS: dict[str, Fuse] = {
    "dense alone": lambda legs: list(legs.dense),
    "sparse alone": lambda legs: list(legs.sparse),
    "dbsf, by language": lambda legs: fuse(legs, dense_weight(legs, _KNOWN)),
    **{
        f"dbsf, dense {weight}": partial(fuse, weight=weight)
        for weight in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    },
    **{f"rrf, k={k}": partial(reciprocal_rank, k=k) for k in (2, 10, 60)},
    **{f"convex, dense {weight}": partial(convex, dense_weight=weight) for weight in (0.5, 0.6, 0.7)},
    **{
        f"convex from bound, dense {weight}": partial(convex_from_bound, dense_weight=weight)
        for weight in (0.7, 0.8)
    },
}


def _between(
    leg: Sequence[Candidate], weight: float, least: float | None = None
) -> list[tuple[ChunkId, float]]:
    if not leg:
        return []
    best = leg[0].score
    low = leg[-1].score if least is None else least
    spread = best - low or 1.0
    return [(candidate.chunk_id, weight * (candidate.score - low) / spread) for candidate in leg]


def _added(parts: Sequence[tuple[ChunkId, float]]) -> list[Candidate]:
    scores: dict[ChunkId, float] = defaultdict(float)
    for chunk_id, part in parts:
        scores[chunk_id] += part
    fused = [Candidate(chunk_id, score) for chunk_id, score in scores.items()]
    return sorted(fused, key=lambda candidate: (-candidate.score, candidate.chunk_id))

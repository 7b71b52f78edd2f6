"""Joins what the legs of a search found into one ranking. Pure.

Distribution-based score fusion: each leg's scores are placed between three standard deviations below and three
above their own mean, and added up by weight; what a leg did not find counts 0 there. It was introduced by
Mazzeschi, "Distribution-Based Score Fusion (DBSF), a new approach to Vector Search Ranking" (2023), and is what
Qdrant calls `dbsf`; it is computed here so that legs can weigh differently and a hit can tell what each leg gave
it. Which weights, and what else was tried, is in docs/retrieval.md.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import fsum, sqrt

from retrieval.corpus import ChunkId
from retrieval.query import Candidate, Legs

DENSE_WEIGHT = 0.7
"""Share of the dense leg in a score, 0 to 1, where the embedder knows the language."""

FOREIGN_WEIGHT = 0.15
"""The same where it does not: all-MiniLM-L6-v2 finds little in Russian, and ranks it at random."""


def dense_weight(legs: Legs, known: Collection[str]) -> float:
    """The share of the dense leg, by the languages that the sparse leg found: words tell what the asker speaks.

    Args:
        legs: What both legs found.
        known: Languages that the embedder was trained for, ISO 639-1; empty when it knows all.
    """
    spoken = [language for language in legs.languages if language != "und"]
    if not known or not spoken:
        return DENSE_WEIGHT
    foreign = sum(language not in known for language in spoken) / len(spoken)
    return foreign * FOREIGN_WEIGHT + (1 - foreign) * DENSE_WEIGHT


def fuse(legs: Legs, weight: float = DENSE_WEIGHT, limit: int | None = None) -> list[Candidate]:
    """One ranking of everything that the legs found.

    Args:
        legs: Candidates of each leg; a leg that was not asked is empty.
        weight: Share of the dense leg, 0 to 1; the rest is the sparse leg's.
        limit: At most so many candidates; None: all of them.

    Returns:
        Candidates with `contributions` by leg that add up to their score, best first; ties in order of chunk id.
    """
    shares = {"dense": _shares(legs.dense, weight), "sparse": _shares(legs.sparse, 1 - weight)}
    dense, sparse = shares.values()
    scores = {id_: dense.get(id_, 0.0) + sparse.get(id_, 0.0) for id_ in dense | sparse}
    ranked = sorted(scores, key=lambda id_: (-scores[id_], id_))
    return [
        Candidate(id_, scores[id_], {leg: given[id_] for leg, given in shares.items() if id_ in given})
        for id_ in ranked[:limit]
    ]


def _shares(leg: Sequence[Candidate], weight: float) -> dict[ChunkId, float]:
    places = placed([candidate.score for candidate in leg])
    return {candidate.chunk_id: weight * place for candidate, place in zip(leg, places, strict=True)}


def placed(scores: Sequence[float]) -> list[float]:
    """Scores between mean minus and mean plus three standard deviations, 0 to 1 and seldom beyond; equal ones 0.5.

    >>> [round(place, 3) for place in placed([3.0, 2.0, 1.0])]
    [0.667, 0.5, 0.333]
    >>> placed([7.0])
    [0.5]
    """
    n_scores = len(scores)
    mean = fsum(scores) / max(n_scores, 1)
    spread = sqrt(fsum((score - mean) ** 2 for score in scores) / max(n_scores - 1, 1))
    if spread == 0.0 or len(set(scores)) == 1:  # equal ones may miss their own mean by a rounding
        return [0.5] * n_scores
    lowest = mean - 3 * spread
    return [(score - lowest) / (6 * spread) for score in scores]

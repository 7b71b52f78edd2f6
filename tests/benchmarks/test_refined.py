"""Second looks at a ranking: what word pairs and likeness to the best do, and what they must leave alone."""

from __future__ import annotations

import numpy as np

from benchmarks.ranking.refined import DEPTH, REFINED, Asked, refined
from retrieval.corpus import ChunkId
from retrieval.query import Candidate


def _candidates(n: int) -> list[Candidate]:
    return [Candidate(ChunkId(f"{row:06d}"), 1 - row / 1000) for row in range(n)]


def _asked(question: str, chunks: list[str]) -> Asked:
    return Asked(question, chunks, np.eye(len(chunks), 8, dtype=np.float32))


def test_word_pairs_and_likeness_bring_candidates_forward() -> None:
    """A chunk with the pair passes one without; a chunk like the best ones passes one that is like none."""
    asked = _asked("annual leave", ["leave, annual", "annual leave"])
    assert [c.chunk_id for c in refined(asked, _candidates(2), phrases=0.1)] == ["000001", "000000"]

    dense = np.eye(8, dtype=np.float32)[[0, 0, 1, 0]]
    ranked = refined(Asked("?", ["", "", "", ""], dense), _candidates(4), near=0.3, n_best=2)
    assert [c.chunk_id for c in ranked] == ["000000", "000001", "000003", "000002"]


def test_only_the_first_candidates_are_read() -> None:
    """Those beyond the depth keep their places, whatever they hold; nothing is lost."""
    n = DEPTH + 5
    asked = Asked("annual leave", ["", *["annual leave"] * (n - 1)], np.ones((n, 2), np.float32))
    for refine in REFINED.values():
        ranked = refine(asked, _candidates(n))
        assert ranked[DEPTH:] == _candidates(n)[DEPTH:]
        assert {c.chunk_id for c in ranked} == {c.chunk_id for c in _candidates(n)}
        assert refine(asked, []) == []

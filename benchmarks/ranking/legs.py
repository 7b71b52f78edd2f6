"""Exact legs over an embedded set: every chunk scored by inner product and by BM25, without an index.

BM25 is Robertson and Zaragoza's (2009, section 3.4), the inverse document frequency Qdrant's:
`ln(1 + (N - n + 0.5) / (n + 0.5))`. Terms are those of the product's own sparse encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking.embedded_set import EmbeddedSet
from retrieval.corpus import ChunkId
from retrieval.ports import SparseVector
from retrieval.query import N_TELLING, Candidate, Legs

DEPTH = 200
"""Candidates per leg, as in `retrieval.search.SearchSettings`."""


@dataclass(frozen=True)
class Bm25Settings:
    """Of a sparse leg: saturation, and how much the length of a chunk counts."""

    k1: float = 1.2
    b: float = 0.75


class Postings:
    """Which chunk has which term how often."""

    def __init__(self, counts: Sequence[SparseVector]) -> None:
        """Take the term frequencies of each chunk, by row."""
        rows: dict[int, list[int]] = {}
        frequencies: dict[int, list[float]] = {}
        for row, vector in enumerate(counts):
            for term, count in zip(vector.indices, vector.values, strict=True):
                rows.setdefault(term, []).append(row)
                frequencies.setdefault(term, []).append(count)
        self.n_chunks = len(counts)
        self.lengths = np.array([sum(vector.values) for vector in counts])
        self._rows = {term: np.array(found) for term, found in rows.items()}
        self._frequencies = {term: np.array(found) for term, found in frequencies.items()}

    def scores(self, query: SparseVector, settings: Bm25Settings) -> NDArray[np.float64]:
        """BM25 of every chunk, shape `(n_chunks,)`."""
        scores = np.zeros(self.n_chunks)
        relative = self.lengths / max(float(self.lengths.mean()), 1.0)
        for term, weight in zip(query.indices, query.values, strict=True):
            if term not in self._rows:
                continue
            rows, frequencies = self._rows[term], self._frequencies[term]
            idf = np.log(1 + (self.n_chunks - len(rows) + 0.5) / (len(rows) + 0.5))
            norm = settings.k1 * (1 - settings.b + settings.b * relative[rows])
            scores[rows] += weight * idf * frequencies * (settings.k1 + 1) / (frequencies + norm)
        return scores


def exact_legs(
    embedded: EmbeddedSet,
    postings: Postings,
    encode_query: Callable[[str], SparseVector],
    settings: Bm25Settings = Bm25Settings(),
) -> dict[str, Legs]:
    """The best `DEPTH` chunks of each leg by query id; their ids are row numbers."""
    found = {}
    for vector, (query, text) in zip(embedded.query_dense, embedded.queries.items(), strict=True):
        sparse = postings.scores(encode_query(text), settings)
        best = _best(sparse, above=0.0)
        languages = tuple(embedded.languages[int(each.chunk_id)] for each in best[:N_TELLING])
        found[query] = Legs(_best(embedded.dense @ vector), best, languages)
    return found


def _best(scores: NDArray[np.floating], above: float = -np.inf) -> tuple[Candidate, ...]:
    rows = np.argsort(-scores, kind="stable")[:DEPTH]
    return tuple(Candidate(ChunkId(f"{row:06d}"), float(scores[row])) for row in rows if scores[row] > above)

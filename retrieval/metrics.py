"""Measures of a ranking against relevance judgements, and how sure a difference between two runs is. Pure.

Definitions:

- nDCG: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (ACM TOIS 20, 2002), with
  the judged grade as gain and log2(rank + 1) as discount, as trec_eval's `ndcg_cut` and BEIR compute it.
- recall at k and reciprocal rank: Manning, Raghavan and Schütze, "Introduction to Information Retrieval"
  (2008), chapter 8; Voorhees, "The TREC-8 Question Answering Track Report" (1999).
- paired bootstrap: Sakai, "Evaluating evaluation metrics based on the bootstrap" (SIGIR 2006); Efron and
  Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13 (percentile interval).

A judgement above 0 means relevant; documents without a judgement count as not relevant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Judgements = Mapping[str, int]
"""Grade by document id, for one query."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean difference of two runs over the same queries.

    Attributes:
        mean: This run minus the other one.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        n_queries: Number of queries that both runs answered.
    """

    mean: float
    low: float
    high: float
    n_queries: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def ndcg(ranking: Sequence[str], judgements: Judgements, *, k: int) -> float:
    """Normalised discounted cumulated gain of the first `k` places, 0 to 1; 0 when nothing is relevant.

    >>> ndcg(["a", "x", "b"], {"a": 1, "b": 1}, k=10)
    0.9197207891481876
    >>> ndcg(["x"], {"a": 1}, k=10)
    0.0
    """
    ideal = _discounted(sorted((grade for grade in judgements.values() if grade > 0), reverse=True)[:k])
    if ideal == 0:
        return 0.0
    return _discounted([max(judgements.get(document, 0), 0) for document in ranking[:k]]) / ideal


def recall(ranking: Sequence[str], judgements: Judgements, *, k: int) -> float:
    """Share of the relevant documents among the first `k`, 0 to 1; 0 when nothing is relevant.

    >>> recall(["a", "x", "b"], {"a": 1, "b": 1}, k=2)
    0.5
    """
    relevant = relevant_of(judgements)
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Sequence[str], judgements: Judgements, *, k: int) -> float:
    """1 / rank of the first relevant document among the first `k`, 0 when there is none.

    >>> reciprocal_rank(["x", "a"], {"a": 1}, k=10)
    0.5
    """
    relevant = relevant_of(judgements)
    ranks = (rank for rank, document in enumerate(ranking[:k], start=1) if document in relevant)
    return next((1 / rank for rank in ranks), 0.0)


def relevant_of(judgements: Judgements) -> frozenset[str]:
    """Documents with a judgement above 0."""
    return frozenset(document for document, grade in judgements.items() if grade > 0)


def paired_bootstrap(
    ours: Mapping[str, float], theirs: Mapping[str, float], *, n_resamples: int = 10_000, seed: int = 0
) -> PairedDifference:
    """The mean difference over the queries that both have, with its 95 % percentile interval.

    Args:
        ours: Value by query id.
        theirs: The same of the run to compare with.
        n_resamples: How often the queries are drawn anew, with replacement.
        seed: The same seed gives the same interval.

    Raises:
        ValueError: No query is in both.

    >>> paired_bootstrap({"q1": 1.0, "q2": 0.5}, {"q1": 0.5, "q2": 0.0})
    PairedDifference(mean=0.5, low=0.5, high=0.5, n_queries=2)
    """
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        raise ValueError("the two runs have no query in common")
    differences = np.array([ours[query] - theirs[query] for query in shared])
    draws = np.random.default_rng(seed)
    means = np.empty(n_resamples)
    for resample in range(n_resamples):
        means[resample] = differences[draws.integers(0, len(shared), len(shared))].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return PairedDifference(float(differences.mean()), float(low), float(high), len(shared))


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that `share` of all do not exceed; 0 without values.

    >>> percentile([3.0, 1.0, 2.0, 4.0], 0.5)
    2.0
    """
    if not values:
        return 0.0
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def _discounted(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))

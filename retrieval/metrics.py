"""Measures of a ranking against relevance judgements. Pure.

Definitions:

- nDCG: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (ACM TOIS 20, 2002), with
  the judged grade as gain and log2(rank + 1) as discount, as trec_eval's `ndcg_cut` and BEIR compute it.
- recall at k and reciprocal rank: Manning, Raghavan and Schütze, "Introduction to Information Retrieval"
  (2008), chapter 8; Voorhees, "The TREC-8 Question Answering Track Report" (1999).

A judgement above 0 means relevant; documents without a judgement count as not relevant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Judgements = Mapping[str, int]
"""Grade by document id, for one query."""

RANKING_MEASURES = ("ndcg@10", "recall@10", "recall@100", "mrr@10")
"""Names of the measures that runs are reported and compared by."""


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


def ranking_measures(ranking: Sequence[str], judgements: Judgements) -> dict[str, float]:
    """Every one of `RANKING_MEASURES` for one query, by name.

    >>> ranking_measures(["x", "a"], {"a": 1})["mrr@10"]
    0.5
    """
    return {
        "ndcg@10": ndcg(ranking, judgements, k=10),
        "recall@10": recall(ranking, judgements, k=10),
        "recall@100": recall(ranking, judgements, k=100),
        "mrr@10": reciprocal_rank(ranking, judgements, k=10),
    }


def relevant_of(judgements: Judgements) -> frozenset[str]:
    """Documents with a judgement above 0."""
    return frozenset(document for document, grade in judgements.items() if grade > 0)


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

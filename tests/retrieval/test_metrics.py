"""Ranking measures: hand-computed values, and properties that hold for every ranking."""

from __future__ import annotations

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import retrieval.metrics
from retrieval.metrics import (
    RANKING_MEASURES,
    ndcg,
    percentile,
    ranking_measures,
    recall,
    reciprocal_rank,
)

_IDS = st.sampled_from("abcdefghij")
_RANKINGS = st.lists(_IDS, unique=True, max_size=10)
_JUDGEMENTS = st.dictionaries(_IDS, st.integers(min_value=-1, max_value=3))


def test_examples_in_the_docstrings_hold() -> None:
    """The module's doctests pass."""
    assert doctest.testmod(retrieval.metrics).failed == 0


def test_ndcg_uses_the_grade_as_gain() -> None:
    """trec_eval's ndcg_cut: linear gain, log2(rank + 1)."""
    ideal = 3 + 1 / math.log2(3)
    assert ndcg(["b", "a"], {"a": 3, "b": 1}, k=10) == pytest.approx((1 + 3 / math.log2(3)) / ideal)


def test_only_the_first_k_count() -> None:
    """A relevant document on place k + 1 counts for nothing."""
    ranking = [*"xyz", "a"]
    assert ndcg(ranking, {"a": 1}, k=3) == 0
    assert recall(ranking, {"a": 1}, k=3) == 0
    assert reciprocal_rank(ranking, {"a": 1}, k=3) == 0


@given(_RANKINGS, _JUDGEMENTS)
def test_values_lie_between_0_and_1(ranking: list[str], judgements: dict[str, int]) -> None:
    """Whatever the ranking and the grades."""
    for measure in (ndcg, recall, reciprocal_rank):
        assert 0 <= measure(ranking, judgements, k=5) <= 1 + 1e-12


@given(_JUDGEMENTS)
def test_the_ideal_ranking_is_worth_1(judgements: dict[str, int]) -> None:
    """Sorted by grade, nDCG is 1 as soon as anything is relevant."""
    ideal = sorted(judgements, key=lambda document: -judgements[document])
    expected = 1.0 if any(grade > 0 for grade in judgements.values()) else 0.0
    assert ndcg(ideal, judgements, k=10) == pytest.approx(expected)


@given(_RANKINGS, _JUDGEMENTS)
def test_recall_never_falls_with_depth(ranking: list[str], judgements: dict[str, int]) -> None:
    """More places never find less."""
    values = [recall(ranking, judgements, k=k) for k in range(1, 11)]
    assert values == sorted(values)


def test_all_measures_are_taken_at_their_depth() -> None:
    """One relevant document on place 2 and one on place 50."""
    ranking = ["x", "a", *(f"x{i}" for i in range(47)), "b"]
    taken = ranking_measures(ranking, {"a": 1, "b": 1})
    assert tuple(taken) == RANKING_MEASURES
    assert (taken["recall@10"], taken["recall@100"], taken["mrr@10"]) == (0.5, 1.0, 0.5)
    assert taken["ndcg@10"] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


def test_percentiles_are_values_that_occurred() -> None:
    """Nearest rank, so that a p95 is a latency that somebody had."""
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile([], 0.5)) == (50, 95, 0)

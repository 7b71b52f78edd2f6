"""What every `Reranker` does; also the real vLLM runs these tests (`tests/vllm`)."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from retrieval.ports import Reranker

QUESTION = "How many days of leave do people in Zaragoza have?"
PASSAGES = [
    "Travel is booked by the travel desk.",
    "Annual leave is 25 days a year for contracts signed in Zaragoza.",
    "Receipts are handed in within thirty days. " * 60,  # more than the models read
    "Die Kantine öffnet um halb zwölf.",
]
CLOSE = 1e-3


class RerankerContract:
    """Subclasses provide the fixture `reranker`."""

    def test_scores_come_in_the_order_of_the_passages(self, reranker: Reranker) -> None:
        """Each passage keeps its score wherever it stands, and scores tell passages apart."""
        scores = reranker.score(QUESTION, PASSAGES)
        assert [type(score) for score in scores] == [float] * len(PASSAGES)
        assert all(math.isfinite(score) for score in scores)
        assert len({round(score, 3) for score in scores}) > 1
        assert reranker.score(QUESTION, PASSAGES[::-1]) == pytest.approx(scores[::-1], abs=CLOSE)

    def test_a_score_does_not_depend_on_other_passages(self, reranker: Reranker) -> None:
        """Also over the edge of a batch."""
        many = [f"{PASSAGES[1]} {number}" for number in range(34)]
        assert reranker.score(QUESTION, many)[33:] == pytest.approx(
            reranker.score(QUESTION, many[33:]), abs=CLOSE
        )

    def test_no_passages_no_scores(self, reranker: Reranker) -> None:
        """Nothing in, nothing out."""
        assert reranker.score(QUESTION, []) == []

    def test_threads_share_one(self, reranker: Reranker) -> None:
        """Searches at the same time get the scores that they get alone."""
        alone = reranker.score(QUESTION, PASSAGES)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: reranker.score(QUESTION, PASSAGES), range(4)))
        assert all(result == pytest.approx(alone, abs=CLOSE) for result in results)

    def test_fingerprint_names_it(self, reranker: Reranker) -> None:
        """Reports say which model ordered the hits."""
        assert reranker.fingerprint == reranker.fingerprint != ""

"""Measures of answers."""

from __future__ import annotations

import doctest

import pytest

import serving.evaluation
from serving.evaluation import Expected, Given, containment, exact_match, measure_answers, token_f1


def test_examples_in_the_docstrings_hold() -> None:
    """The module's doctests pass."""
    assert doctest.testmod(serving.evaluation).failed == 0


@pytest.mark.parametrize("accepted", [["28 days"], ["nothing", "28 Days."]])
def test_the_best_accepted_answer_counts(accepted: list[str]) -> None:
    """Case, punctuation, articles and markers are folded."""
    assert exact_match("The 28 days [1]", accepted) == 1
    assert containment("Everybody gets 28 days of leave. [1]", accepted) == 1
    assert token_f1("28 days of leave", accepted) == pytest.approx(2 / 3)


def test_saying_nothing_counts_nothing_but_abstention() -> None:
    """Over two answerable questions and two that have no answer."""
    yes, no = Expected(("x",), True, frozenset({"d1"})), Expected((), False, frozenset())
    pairs = [
        (yes, Given("x [1] [2]", frozenset({"d1", "d2"}), False)),
        (yes, Given("not found", frozenset(), True)),
        (no, Given("not found", frozenset(), True)),
        (no, Given("x", frozenset({"d9"}), False)),
    ]
    measured = measure_answers(pairs)
    assert measured["answer_exact_match"] == 0.5
    assert measured["citation_precision"] == 0.5
    assert measured["citation_recall"] == 0.5
    assert measured["abstention_precision"] == 0.5
    assert measured["abstention_recall"] == 0.5


def test_a_measure_over_nothing_is_none() -> None:
    """A set without unanswerable questions has no abstention recall."""
    measured = measure_answers([(Expected(("x",), True, frozenset()), Given("x", frozenset(), False))])
    assert measured["abstention_recall"] is None
    assert measured["abstention_precision"] is None
    assert measured["citation_precision"] is None

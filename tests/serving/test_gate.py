"""The gate lets good evidence through and stops what is only alike."""

from __future__ import annotations

import pytest

from serving.answer import Window
from serving.gate import confidence, identifiers, is_sufficient, names
from tests.make import make_promptable


def _window(score: float, text: str = "TN-12 | clock is wrong") -> Window:
    return Window(make_promptable(text, title="VPN"), 0, len(text), 0.0, 0.0, meaning=score)


def test_no_evidence_is_not_enough() -> None:
    """Without any window there is no answer."""
    assert not is_sufficient("anything", ())


def test_strong_evidence_is_enough_and_weak_is_not() -> None:
    """The score decides when the question names nothing."""
    assert is_sufficient("why is the clock wrong", (_window(1.2),))
    assert not is_sufficient("why is the clock wrong", (_window(0.3),))


def test_another_identifier_is_no_answer() -> None:
    """A row about TN-12 does not answer a question about TN-66, however alike they are."""
    assert not is_sufficient("What does TN-66 mean?", (_window(1.7),))
    assert is_sufficient("What does TN-12 mean?", (_window(1.7),))


def test_a_missing_name_counts_in_part() -> None:
    """A place that the passage does not mention lowers the confidence."""
    best = _window(1.0)
    assert confidence("Where is it in the Jena plant?", best) < confidence("where is it", best)


@pytest.mark.parametrize(
    ("question", "expected"),
    [("What does TN-66 mean?", {"TN-66"}), ("whose phone is 3145", {"3145"}), ("in 25 days", set())],
)
def test_identifiers(question: str, expected: set[str]) -> None:
    """Codes and long numbers identify; small numbers do not."""
    assert identifiers(question) == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("hotel limit Warsaw Poland", {"Warsaw", "Poland"}),
        ("How long is the break?", set()),
        ("ALL OF IT IS SHOUTED", set()),
    ],
)
def test_names(question: str, expected: set[str]) -> None:
    """Capitals within a question name something; the first word's and a shouted sentence's do not."""
    assert names(question) == expected

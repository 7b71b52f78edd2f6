"""Word pairs of a question: what counts as one, and what it weighs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.phrases import phrase_shares
from retrieval.search import PHRASE_DEPTH, PHRASE_WEIGHT, with_phrases
from tests.make import make_hit

_words = st.lists(st.sampled_from(["leave", "annual", "of", "the", "Tag"]), max_size=8).map(" ".join)


@given(_words, st.lists(_words, max_size=6))
def test_a_share_is_a_share(question: str, texts: list[str]) -> None:
    """One for each text, 0 to 1, and the same for the same text."""
    shares = phrase_shares(question, texts)
    assert len(shares) == len(texts)
    assert all(0 <= share <= 1 for share in shares)
    assert shares == phrase_shares(question, texts)


@pytest.mark.parametrize(
    ("text", "has_pair"),
    [
        ("Annual leave: 27 days", True),
        ("annual\nleave", True),
        ("annual-leave", True),
        ("leave, annual", False),
        ("biannual leave", False),
        ("annual leaves", False),
    ],
)
def test_a_pair_is_two_whole_words_in_order(text: str, has_pair: bool) -> None:
    """Whatever stands between them, as long as it is no word."""
    assert phrase_shares("annual leave", [text, "something else"]) == [float(has_pair), 0.0]


def test_a_rare_pair_weighs_more_than_a_common_one() -> None:
    """So that no stop words are needed."""
    shares = phrase_shares("state of the art", ["of the", "of the", "of the", "the art"])
    assert shares[3] > shares[0] == shares[1]


def test_a_pasted_text_has_no_phrases() -> None:
    """Its pairs are what somebody wrote around a question; a long question still has some."""
    words = [f"word{number}" for number in range(66)]
    texts = [" ".join(words), "something else"]
    assert phrase_shares(" ".join(words[:65]), texts) == [pytest.approx(1.0), 0.0]
    assert phrase_shares(" ".join(words), texts) == [0.0, 0.0]


def test_hits_with_the_pair_come_forward() -> None:
    """Each hit tells what pairs gave it; the rest keeps its place, whatever it holds."""
    hits = [make_hit("leave, annual", 0.55), make_hit("annual leave", 0.5)]
    behind = [make_hit("annual leave", 0.1 - place / 1000) for place in range(PHRASE_DEPTH)]
    ranked = with_phrases([*hits, *behind], "annual leave")
    assert ranked[0].passage.text == "annual leave"
    assert ranked[0].score == pytest.approx(0.5 + PHRASE_WEIGHT)
    assert [hit.contributions.get("phrases") for hit in ranked[:2]] == [PHRASE_WEIGHT, 0.0]
    assert ranked[PHRASE_DEPTH:] == behind[PHRASE_DEPTH - 2 :]
    assert all("phrases" not in hit.contributions for hit in ranked[PHRASE_DEPTH:])
    assert with_phrases([], "annual leave") == []

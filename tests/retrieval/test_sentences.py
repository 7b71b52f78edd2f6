"""Sentences are found in any language, and every span is exact."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.sentences import sentence_pieces, sentence_spans


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Ask J. Doe. He knows.", ["Ask J. Doe.", "He knows."]),
        ("Ring ext. 2200 at once. Wait.", ["Ring ext. 2200 at once.", "Wait."]),
        ("It costs 3.50 EUR. Fine.", ["It costs 3.50 EUR.", "Fine."]),
        ("今日は休み。明日は仕事。", ["今日は休み。", "明日は仕事。"]),
        ("first line\nsecond line", ["first line", "second line"]),
        ("He said “go.” Then left.", ["He said “go.”", "Then left."]),
        ("", []),
        ("  \n ", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    """Ends are full stops, question marks, their like in other scripts, and line ends."""
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences


@given(st.text(max_size=3000))
def test_pieces_are_the_text(text: str) -> None:
    """Nothing is lost or changed by cutting, and spans are in order without white space at their ends."""
    assert "".join(sentence_pieces(text)) == text
    spans = sentence_spans(text)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)


def test_text_without_stops_is_cut() -> None:
    """A megabyte without any stop does not become one sentence."""
    assert max(end - start for start, end in sentence_spans("x" * 100_000)) <= 1000

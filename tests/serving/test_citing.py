"""Citations are checked: what a source does not bear out is not shown."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.adapters.bm25 import EdgeBm25
from serving.answer import Context, Source
from serving.citing import check_sentence, inert, normalise_markers, sentences_of
from tests.make import make_promptable

ENCODER = EdgeBm25()


def terms(text: str) -> frozenset[int]:
    """Stemmed terms, as the desk uses them."""
    return frozenset(ENCODER.encode_query(text).indices)


CONTEXT = Context(
    (
        Source(
            1, make_promptable("Claims are due within 30 days after the trip. Receipts are photographed.")
        ),
        Source(2, make_promptable("Mileage is paid at EUR 0.42 per kilometre.", chunk_id="c-2")),
    )
)


def test_supported_sentence_keeps_its_marker_and_quotes_the_words() -> None:
    """The citation points to the very sentence of the source."""
    checked = check_sentence("A claim is due within 30 days [1].", CONTEXT, terms)
    assert checked is not None
    assert checked.text == "A claim is due within 30 days. [1]"
    (citation,) = checked.citations
    assert citation.quote == "Claims are due within 30 days after the trip."
    assert (citation.start, citation.end) == (0, 45)
    assert citation.support == 1.0


def test_wrong_marker_is_corrected() -> None:
    """A sentence that another source supports is cited from there."""
    checked = check_sentence("Mileage is paid at EUR 0.42 per kilometre [1].", CONTEXT, terms)
    assert checked is not None
    assert [citation.marker for citation in checked.citations] == [2]


@pytest.mark.parametrize(
    "sentence", ["Claims are due within 60 days [1].", "Mileage is EUR 0.43 per kilometre [2]."]
)
def test_wrong_number_is_dropped(sentence: str) -> None:
    """A number that the source does not have sinks the sentence, however well the words fit."""
    assert check_sentence(sentence, CONTEXT, terms) is None


def test_unsupported_sentence_is_dropped() -> None:
    """Invented sentences do not pass, with or without a marker."""
    assert check_sentence("The canteen serves fish on Fridays [1].", CONTEXT, terms) is None
    assert check_sentence("The canteen serves fish on Fridays.", CONTEXT, terms) is None


def test_marker_that_points_at_nothing_is_removed() -> None:
    """A source number that does not exist never reaches the reader."""
    checked = check_sentence("Claims are due within 30 days [9].", CONTEXT, terms)
    assert checked is not None
    assert "[9]" not in checked.text


@pytest.mark.parametrize(
    ("written", "normal"),
    [("done【3†L4-L9】.", "done[3]."), ("done [1, 2].", "done [1][2]."), ("done [1][2].", "done [1][2].")],
)
def test_other_notations_become_markers(written: str, normal: str) -> None:
    """gpt-oss's browsing notation and lists of markers are understood."""
    assert normalise_markers(written) == normal


@pytest.mark.parametrize(
    "text",
    [
        "![x](http://evil.example/?q=1)",
        "[here](https://evil.example)",
        "see https://evil.example/a?b=c now",
        "data:text/html,x",
    ],
)
def test_no_address_survives(text: str) -> None:
    """Images, links and bare addresses become inert."""
    shown = inert(text)
    assert "evil.example" not in shown
    assert "data:" not in shown


@given(st.lists(st.integers(0, 60), max_size=8))
def test_streaming_cuts_the_same_sentences_anywhere(cuts: list[int]) -> None:
    """However the text is cut into pieces, the sentences are the same and markers stay with theirs."""
    text = "Claims are due within 30 days. [1] Mileage is EUR 0.42 [2]. Fine.\n"
    places = [0, *sorted({min(cut, len(text)) for cut in cuts}), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    assert [" ".join(s.split()) for s in sentences_of(pieces)] == [
        "Claims are due within 30 days. [1]",
        "Mileage is EUR 0.42 [2].",
        "Fine.",
    ]

"""Terms of documents and questions in several languages, and weights that are the engine's own."""

from __future__ import annotations

import pytest
import qdrant_edge as edge

from retrieval.adapters.bm25 import EdgeBm25

ENCODER = EdgeBm25()
GERMAN = "Anträge auf Elternzeit werden bei den Vorgesetzten gestellt."


def _terms(text: str, language: str) -> set[int]:
    return set(ENCODER.encode_document(text, language=language, average_length=8).indices)


@pytest.mark.parametrize(("language", "name"), [("en", "english"), ("de", "german"), ("ru", "russian")])
def test_weights_are_the_engines_own(language: str, name: str) -> None:
    """Term ids and saturated frequencies of a document are what the engine's BM25 gives."""
    text = "Elternzeit, Elternzeit und парк в парке; the parks of a park"
    ours = ENCODER.encode_document(text, language=language, average_length=12.0)
    theirs = edge.Bm25(edge.Bm25Config(k=1.2, b=0.75, avg_len=12.0, language=name)).embed_document(text)
    expected = dict(zip(theirs.indices, theirs.values, strict=True))
    assert dict(zip(ours.indices, ours.values, strict=True)) == pytest.approx(expected, rel=1e-5)


def test_an_inflected_word_is_found_in_its_own_language() -> None:
    """A question in German meets a German document, which the English stemmer would miss."""
    question = "Antrag Vorgesetzter"
    both = set(ENCODER.encode_query(question, languages=("de", "en")).indices)
    english = set(ENCODER.encode_query(question).indices)
    assert len(both & _terms(GERMAN, "de")) == 2
    assert not english & _terms(GERMAN, "en")


def test_a_stop_word_of_any_language_is_left_out() -> None:
    """German articles are rare words to the English tokeniser and would outweigh the rest."""
    assert not ENCODER.encode_query("der die das", languages=("de", "en")).indices
    assert ENCODER.encode_query("der die das", languages=("en",)).indices


def test_each_term_of_a_question_counts_once() -> None:
    """However many languages stem a word alike, and however often it is asked for."""
    vector = ENCODER.encode_query("Budget budget BUDGET", languages=("en", "de", "nl"))
    assert len(vector.indices) == len(set(vector.indices))
    assert set(vector.values) == {1.0}


@pytest.mark.parametrize("language", ["und", "xx", "pl"])
def test_a_language_without_a_stemmer_is_read_as_english(language: str) -> None:
    """Documents and questions alike, so that they still meet."""
    assert _terms("Renewals of licences", language) == _terms("Renewals of licences", "en")
    assert ENCODER.encode_query("renewal", languages=(language,)) == ENCODER.encode_query("renewal")


def test_terms_are_counted_as_they_are_indexed() -> None:
    """The average length is taken over what the encoder really sees."""
    n_terms = ENCODER.count_terms(GERMAN, language="de")
    assert n_terms == sum(ENCODER.count(GERMAN, language="de").values) == 4

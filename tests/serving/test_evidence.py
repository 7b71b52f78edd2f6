"""Evidence is judged by sentence and by table row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.adapters.bm25 import EdgeBm25
from serving.answer import Window
from serving.evidence import by_best_window, coverage, judge, windows_of, word_weights
from serving.extractive import choose_quotes, readable, with_announced
from tests.make import make_passage, make_promptable

ENCODER = EdgeBm25()
TABLE = "Country | Limit\nFinland | 150\nGermany | 155"


def terms(text: str) -> frozenset[int]:
    """Stemmed terms, as the desk uses them."""
    return frozenset(ENCODER.encode_query(text).indices)


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """A vector that only tells whether a text speaks of limits."""
    return np.asarray([[1.0 if "Limit" in text else 0.0, 0.1] for text in texts], np.float32)


def test_rows_of_a_table_are_windows_and_its_header_is_not() -> None:
    """Each row stands alone; a later part of a table has its header in the context."""
    whole, later = make_passage(TABLE), make_passage("Norway | 170", context="Country | Limit")
    assert [whole.text[a:b] for a, b in windows_of(whole)] == ["Finland | 150", "Germany | 155"]
    assert [later.text[a:b] for a, b in windows_of(later)] == ["Norway | 170"]


def test_best_window_is_the_row_that_is_asked_for() -> None:
    """The rare word of the question picks the row."""
    windows = judge(
        "limit Germany", np.asarray([1, 0], np.float32), [make_promptable(TABLE)], terms=terms, embed=embed
    )
    assert windows[0].text == "Germany | 155"
    assert readable(windows[0]) == "Country: Germany; Limit: 155"


def test_passages_come_in_order_of_their_best_window() -> None:
    """A passage with the answer passes one that only ranked higher."""
    hits = [
        make_promptable("Nothing of use here at all."),
        make_promptable(TABLE, chunk_id="c-2", document_id="d-2"),
    ]
    windows = judge("limit Germany", np.asarray([1, 0], np.float32), hits, terms=terms, embed=embed)
    assert [hit.passage.chunk_id for hit in by_best_window(hits, windows)] == ["c-2", "c-1"]


def test_no_hits_give_no_windows() -> None:
    """Nothing to judge is no error."""
    assert judge("x", np.asarray([1, 0], np.float32), [], terms=terms, embed=embed) == ()


def test_rare_words_weigh_more() -> None:
    """A word that every passage has tells nothing; one that none has weighs most."""
    common, rare, absent = 1, 2, 3
    passages = [frozenset({common}), frozenset({common, rare}), frozenset({common})]
    weights = word_weights(frozenset({common, rare, absent}), passages)
    assert weights[common] < weights[rare] < weights[absent]
    assert coverage(weights, frozenset({common})) < coverage(weights, frozenset({rare})) < 1.0
    assert coverage({}, frozenset()) == 1.0


def test_quotes_are_of_one_document_and_differ() -> None:
    """Nearly equal windows of the best document are quoted, never the same words twice."""
    hits = [make_promptable(TABLE), make_promptable(TABLE, chunk_id="c-2", document_id="d-2")]
    windows = judge("limit", np.asarray([1, 0], np.float32), hits, terms=terms, embed=embed)
    quotes = choose_quotes(windows)
    assert len({quote.text for quote in quotes}) == len(quotes) == 2
    assert len({quote.hit.passage.document_id for quote in quotes}) == 1


def test_an_announced_list_is_quoted_with_what_announces_it() -> None:
    """What ends in a colon is followed by its items, up to a limit; other sentences stand alone."""
    items = [f"Step number {number} of the report." for number in range(1, 9)]
    text = "\n".join(["It was lost.", "Do the following at once:", *items])
    hit = make_promptable(text)
    spans = windows_of(hit.passage)
    lone, announcing = (Window(hit, *span, 1.0, 1.0) for span in spans[:2])
    assert with_announced(lone) == [lone]
    assert [window.text for window in with_announced(announcing)] == ["Do the following at once:", *items[:6]]

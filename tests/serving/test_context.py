"""The context is made of the best passages that fit."""

from __future__ import annotations

from serving.context import assemble, estimate_tokens
from tests.make import make_promptable


def test_repeats_are_dropped_and_markers_count_from_one() -> None:
    """The same words in two documents enter once, by the better hit."""
    hits = [
        make_promptable("same text"),
        make_promptable("same  TEXT", chunk_id="c-2"),
        make_promptable("other", chunk_id="c-3"),
    ]
    context = assemble(hits, budget_tokens=1000, max_sources=5)
    assert [(s.marker, s.hit.passage.chunk_id) for s in context.sources] == [(1, "c-1"), (2, "c-3")]


def test_budget_holds_and_smaller_passages_may_follow() -> None:
    """A passage that is too long is left out, not cut, and does not keep others out."""
    long, short = make_promptable("word " * 2000), make_promptable("short", chunk_id="c-2")
    context = assemble([long, short], budget_tokens=300, max_sources=5)
    assert [s.hit.passage.chunk_id for s in context.sources] == ["c-2"]
    assert estimate_tokens("short") < 300


def test_no_hits_give_an_empty_context() -> None:
    """Nothing found is no error."""
    assert assemble([], budget_tokens=100, max_sources=3).sources == ()

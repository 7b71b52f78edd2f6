"""The made-up corpus, its vectors, and the page of costs."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np

import benchmarks.size.run
from benchmarks.size.corpus import SECTIONS, MadeCorpus, vocabulary_of
from benchmarks.size.page import size_page
from benchmarks.size.vectors import MadeVectors
from tests.fakes.hashing_embedder import HashingEmbedder

_CORPUS = MadeCorpus(
    vocabulary_of(["alpha beta gamma delta", *(f"word{chr(97 + i)}" * 2 for i in range(26))]), 3
)


def test_examples_in_the_docstrings_hold() -> None:
    """The module's doctests pass."""
    found = doctest.testmod(benchmarks.size.run)
    assert found.attempted > 0
    assert found.failed == 0


def test_the_vocabulary_is_ordered_by_frequency() -> None:
    """Then by alphabet; short words and figures are left out."""
    assert vocabulary_of(["The cat, the dog", "a cat 42 of the"]) == ["the", "cat", "dog"]


def test_documents_are_always_the_same_and_never_alike() -> None:
    """Each section has a heading and an identifier that stands nowhere else."""
    first, again, second = _CORPUS.document(7), _CORPUS.document(7), _CORPUS.document(8)
    assert first == again != second
    assert first.count("\n## ") == SECTIONS
    assert all(f"TN-000007-{section}" in first for section in range(SECTIONS))
    assert "TN-000007" not in second
    assert MadeCorpus(_CORPUS.vocabulary, 4).document(7) != first


def test_questions_use_words_of_a_document_that_is_there() -> None:
    """Every fourth one names an identifier of one of the first hundred documents."""
    questions = [_CORPUS.question(number, 100) for number in range(40)]
    assert len(set(questions)) == 40
    named = [question for question in questions if "TN-" in question]
    assert len(named) == 10
    assert all("TN-0000" in question for question in named)


def test_made_vectors_are_unit_and_near_where_words_are_shared() -> None:
    """And a question's vector lies in the same space."""
    made = MadeVectors(HashingEmbedder(), spends=False)
    texts = ["volcanoes spit molten lava", "molten lava flows from volcanoes", "rabbits nibble fresh clover"]
    vectors = made.embed_documents(texts)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > far + 0.3
    assert np.allclose(made.embed_query(texts[0]), vectors[0])
    assert np.isfinite(made.embed_query("a b c")).all()


def test_the_page_lists_sizes_in_ascending_order() -> None:
    """With a chart of each cost."""
    made = size_page([_size(10_000), _size(1000)], {"cores": "2"}, images="images")
    assert "|  | 1,000 chunks | 10,000 chunks |" in made.text
    assert "| hybrid, reads everything: p50 / p95 | 1 / 2 | 10 / 20 |" in made.text
    assert "| 10,000 | 100 | 1000 | 500 | 0.98 | 400 | 90 | 40 |" in made.text
    assert all(drawn.startswith("<svg") for drawn in made.charts.values())
    assert all(f"](images/{name})" in made.text for name in made.charts)
    assert "Nothing was measured" in size_page([], {}, images="images").text


def _size(n_chunks: int) -> dict[str, Any]:
    timed = {"p50_ms": n_chunks / 1000, "p95_ms": n_chunks / 500, "per_cpu_s": 30.0}
    names = ("reader_hybrid", "reader_dense", "reader_sparse", "guest_hybrid", "http", "http_while_indexing")
    return {
        "n_chunks": n_chunks,
        "load": 1.0,
        "index": {
            "n_documents": n_chunks / 10, "n_chunks": n_chunks, "index_s": n_chunks / 1000, "chunks_per_s": 1000.0,
            "chunks_per_cpu_s": 500.0, "late_rate_share": 0.98, "peak_mb": 400.0, "disk_mb": 90.0,
            "index_disk_mb": 40.0, "optimise_s": 0.0,
        },
        "search": {**dict.fromkeys(names, timed), "cold_start_s": 1.5, "idle_mb": 200.0},
        "recall": {"reader_recall": 1.0, "guest_recall": 1.0},
    }  # fmt: skip

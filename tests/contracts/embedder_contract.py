"""What every `Embedder` does; also the real vLLM runs these tests (`tests/vllm`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from retrieval.ports import Embedder

LEAVE = "Annual leave is 25 days a year for contracts signed in Zaragoza."
TEXTS = [
    LEAVE,
    "travel",
    "Receipts are handed in within thirty days. " * 60,  # more than the models read
    "Die Kantine öffnet um halb zwölf.",
    "Two\nlines, a tab\tand “quotes”.",
]


class EmbedderContract:
    """Subclasses provide the fixture `embedder`."""

    def test_vectors_are_unit_vectors_in_order(self, embedder: Embedder) -> None:
        """One row a text, single precision, unit length, in the order of the texts."""
        vectors = embedder.embed_documents(TEXTS)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(TEXTS), embedder.dimension)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
        assert np.allclose(embedder.embed_documents(TEXTS[::-1])[::-1], vectors, atol=1e-4)

    def test_no_texts_no_vectors(self, embedder: Embedder) -> None:
        """Nothing in, nothing out, in the right shape."""
        assert embedder.embed_documents([]).shape == (0, embedder.dimension)

    def test_a_vector_does_not_depend_on_its_neighbours(self, embedder: Embedder) -> None:
        """Also over the edge of a batch; the cache holds vectors that were made in other company."""
        many = [f"{LEAVE} {number}" for number in range(34)]
        together, alone = embedder.embed_documents(many), embedder.embed_documents(many[33:])
        assert np.allclose(together[33], alone[0], atol=1e-4)
        assert np.allclose(embedder.embed_texts(many[33:]), alone, atol=1e-4)

    def test_a_question_lies_near_its_answer(self, embedder: Embedder) -> None:
        """Nearer than anything else."""
        question = embedder.embed_query("annual leave days a year in Zaragoza")
        assert question.shape == (embedder.dimension,)
        assert question.dtype == np.float32
        assert np.linalg.norm(question) == pytest.approx(1, abs=1e-5)
        assert (embedder.embed_documents(TEXTS) @ question).argmax() == TEXTS.index(LEAVE)

    def test_threads_share_one(self, embedder: Embedder) -> None:
        """Questions and passages of several threads at a time get the vectors that they get alone."""
        alone = embedder.embed_documents(TEXTS)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: embedder.embed_documents(TEXTS), range(4)))
        assert all(np.allclose(result, alone, atol=1e-4) for result in results)

    def test_fingerprint_can_be_part_of_an_index_fingerprint(self, embedder: Embedder) -> None:
        """It names something, stays the same, and holds no separator (`indexes.fingerprint_of`)."""
        assert embedder.fingerprint == embedder.fingerprint != ""
        assert "|" not in embedder.fingerprint

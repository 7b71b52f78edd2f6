"""The exported models: a text's vector is its own, whatever is embedded with it."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.adapters.minilm_export import FINGERPRINTS, NAME
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.errors import EmbedderUnavailableError
from retrieval.settings import load_settings

TEXTS = [
    "Annual leave is 25 days a year for contracts signed in Zaragoza.",
    "travel",
    "Receipts are handed in within thirty days. " * 60,  # more than the model reads
    "Die Kantine öffnet um halb zwölf.",
]


@pytest.fixture(scope="module", params=list(FINGERPRINTS))
def embedder(request: pytest.FixtureRequest) -> OnnxEmbedder:
    """Each exported model."""
    return OnnxEmbedder(load_settings().models / request.param)


def test_a_vector_does_not_depend_on_its_neighbours(embedder: OnnxEmbedder) -> None:
    """Bit for bit, or the embedding cache and a repaired index would not hold what was searched before."""
    together = embedder.embed_documents(TEXTS)
    alone = np.stack([embedder.embed_query(text) for text in TEXTS])
    assert together.dtype == np.float32
    assert np.array_equal(together, alone)
    assert np.array_equal(embedder.embed_documents(TEXTS[::-1]), together[::-1])


def test_vectors_have_unit_length(embedder: OnnxEmbedder) -> None:
    """So that the dot product is the cosine."""
    assert np.linalg.norm(embedder.embed_documents(TEXTS), axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert embedder.embed_documents([]).shape == (0, embedder.dimension)


def test_the_two_precisions_are_near_and_never_mixed() -> None:
    """8-bit vectors stand close to the full ones, but carry another fingerprint."""
    full, small = (OnnxEmbedder(load_settings().models / name) for name in FINGERPRINTS)
    cosines = (full.embed_documents(TEXTS) * small.embed_documents(TEXTS)).sum(axis=1)
    assert 0.97 < cosines.min() < cosines.max() < 0.9999
    assert full.fingerprint != small.fingerprint


def test_a_missing_model_is_named() -> None:
    """A folder without a model says so at once."""
    with pytest.raises(EmbedderUnavailableError, match="cannot be loaded"):
        OnnxEmbedder(load_settings().models / f"{NAME}-absent")

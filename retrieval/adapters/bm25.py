"""`SparseEncoder` on Qdrant's own BM25 tokeniser: the same term ids as in the Qdrant server.

Weights follow Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009),
section 3.4; the inverse document frequency is multiplied by the index (Qdrant's IDF modifier). The weights
are computed here and not by the engine, so that a moved average length needs no new tokeniser; a test holds
them equal to the engine's own.
"""

from __future__ import annotations

import qdrant_edge as edge

from retrieval.ports import SparseVector

_K1, _B = 1.2, 0.75
_LANGUAGE = "english"

_NO_SATURATION = 1e9
"""With this k1 and no length normalisation the engine's weight of a term is its plain frequency."""


class EdgeBm25:
    """Implements `retrieval.ports.SparseEncoder`."""

    def __init__(self) -> None:
        """Load the tokeniser, stemmer and stop words (they ship inside the engine)."""
        self._counting = edge.Bm25(edge.Bm25Config(k=_NO_SATURATION, b=0.0, avg_len=1.0, language=_LANGUAGE))

    @property
    def fingerprint(self) -> str:
        """See `SparseEncoder.fingerprint`."""
        return f"qdrant-bm25-{_LANGUAGE}-k{_K1}-b{_B}"

    def encode_document(self, text: str, *, average_length: float) -> SparseVector:
        """See `SparseEncoder.encode_document`."""
        counts = self._counting.embed_document(text)
        frequencies = [round(value) for value in counts.values]
        norm = _K1 * (1 - _B + _B * sum(frequencies) / max(average_length, 1.0))
        weights = tuple(frequency * (_K1 + 1) / (frequency + norm) for frequency in frequencies)
        return SparseVector(tuple(counts.indices), weights)

    def encode_query(self, text: str) -> SparseVector:
        """See `SparseEncoder.encode_query`."""
        vector = self._counting.embed_query(text)
        return SparseVector(tuple(vector.indices), tuple(vector.values))

    def count_terms(self, text: str) -> int:
        """See `SparseEncoder.count_terms`."""
        return round(sum(self._counting.embed_document(text).values))

"""`SparseEncoder` on Qdrant's own BM25 tokenisers: the same term ids as in the Qdrant server.

Weights follow Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009),
section 3.4; the inverse document frequency is multiplied by the index (Qdrant's IDF modifier). The weights
are computed here and not by the engine, so that a moved average length needs no new tokeniser; a test holds
them equal to the engine's own.

A document is stemmed in its own language and a question in all languages of the corpus, since a question of four
words seldom tells which one it is in. What that gains is in docs/retrieval.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import qdrant_edge as edge

from retrieval.ports import SparseVector

_K1, _B = 1.2, 0.75

_STEMMERS: Mapping[str, str] = {
    "ar": "arabic", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "fi": "finnish", "fr": "french", "hu": "hungarian", "it": "italian", "nl": "dutch", "no": "norwegian",
    "pt": "portuguese", "ro": "romanian", "ru": "russian", "sv": "swedish", "tr": "turkish",
}  # fmt: skip
"""The engine's name of a language by ISO 639-1 code; every other language is read as English."""

_OTHERWISE = "en"
_NO_SATURATION = 1e9
"""With this k1 and no length normalisation the engine's weight of a term is its plain frequency."""

_WORD = re.compile(r"\w+")


class EdgeBm25:
    """Implements `retrieval.ports.SparseEncoder`."""

    @property
    def fingerprint(self) -> str:
        """See `SparseEncoder.fingerprint`."""
        return f"qdrant-bm25-by-language-k{_K1}-b{_B}"

    def encode_document(self, text: str, *, language: str, average_length: float) -> SparseVector:
        """See `SparseEncoder.encode_document`."""
        counts = self.count(text, language=language)
        norm = _K1 * (1 - _B + _B * sum(counts.values) / max(average_length, 1.0))
        weights = tuple(frequency * (_K1 + 1) / (frequency + norm) for frequency in counts.values)
        return SparseVector(counts.indices, weights)

    def encode_query(self, text: str, *, languages: Sequence[str] = (_OTHERWISE,)) -> SparseVector:
        """See `SparseEncoder.encode_query`. A word that one of the languages stops is left out."""
        known = tuple(sorted({_known(language) for language in languages})) or (_OTHERWISE,)
        terms = dict.fromkeys(_terms(text, known))
        return SparseVector(tuple(terms), (1.0,) * len(terms))

    def count_terms(self, text: str, *, language: str) -> int:
        """See `SparseEncoder.count_terms`."""
        return round(sum(self.count(text, language=language).values))

    def count(self, text: str, *, language: str) -> SparseVector:
        """How often each term occurs in a text."""
        counted = _tokeniser(_known(language)).embed_document(text)
        return SparseVector(tuple(counted.indices), tuple(float(round(value)) for value in counted.values))


def _known(language: str) -> str:
    return language if language in _STEMMERS else _OTHERWISE


def _terms(text: str, languages: tuple[str, ...]) -> Iterator[int]:
    if len(languages) == 1:
        yield from _tokeniser(languages[0]).embed_query(text).indices
        return
    for word in _WORD.findall(text):
        yield from _stems(word.lower(), languages)


@lru_cache(maxsize=8192)
def _stems(word: str, languages: tuple[str, ...]) -> tuple[int, ...]:
    """The terms of a word in each language; none where one of them has it among its stop words.

    A stop word of German is an ordinary word to the English tokeniser, and a rare one: it would outweigh the rest.
    """
    by_language = [_tokeniser(language).embed_query(word).indices for language in languages]
    if not all(by_language):
        return ()
    return tuple(dict.fromkeys(term for terms in by_language for term in terms))


@lru_cache(maxsize=len(_STEMMERS))
def _tokeniser(language: str) -> Any:
    """The engine's tokeniser, stemmer and stop words of a language; they ship inside the engine."""
    return edge.Bm25(edge.Bm25Config(k=_NO_SATURATION, b=0.0, avg_len=1.0, language=_STEMMERS[language]))

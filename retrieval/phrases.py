"""Which passages have words of the question side by side, as the question has them. Pure.

BM25 and a mean of word vectors know little of word order. Ordered pairs of neighbours are a part of the sequential
dependence model: Metzler and Croft, "A Markov Random Field Model for Term Dependencies" (SIGIR 2005). Words are
taken as they stand, in any language and without stop words: a pair that most of the passages have, as "of the" is,
weighs next to nothing. How many have it is counted among the passages given and nowhere else, so that a share tells
nothing about passages the asker may not read. What it gains is in docs/retrieval.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import fsum, log

_MAX_PAIRS = 64
"""With more, a question is a pasted text: most of its pairs are not what is looked for, and none counts."""


def phrase_shares(question: str, texts: Sequence[str]) -> list[float]:
    """How much of the question's word pairs each text has, 0 to 1, by the weight of the pairs.

    A pair weighs `ln(1 + (N - n + 0.5) / (n + 0.5))` where n of the N texts have it, and nothing where none has.

    >>> phrase_shares("annual leave days", ["Annual leave.", "leave, annual"])
    [1.0, 0.0]
    >>> phrase_shares("leave", ["leave"])
    [0.0]
    """
    pairs = dict.fromkeys(pairwise(_words(question)))
    if len(pairs) > _MAX_PAIRS:
        return [0.0] * len(texts)
    spaced = [f" {' '.join(_words(text))} " for text in texts]
    phrases = [f" {first} {second} " for first, second in pairs]
    found = [[phrase in text for text in spaced] for phrase in phrases]
    weights = [_weight(sum(having), len(texts)) for having in found]
    total = fsum(weights)
    if total == 0.0:
        return [0.0] * len(texts)
    return [
        fsum(weight for weight, having in zip(weights, found, strict=True) if having[place]) / total
        for place in range(len(texts))
    ]


class _Letters(dict[int, int]):
    """For `str.translate`, which takes half as long as a regular expression: what is in no word becomes a space."""

    def __missing__(self, character: int) -> int:
        self[character] = character if chr(character).isalnum() or character == ord("_") else ord(" ")
        return self[character]


_LETTERS = _Letters()


def _words(text: str) -> list[str]:
    return text.lower().translate(_LETTERS).split()


def _weight(n_having: int, n_texts: int) -> float:
    return log(1 + (n_texts - n_having + 0.5) / (n_having + 0.5)) if n_having else 0.0

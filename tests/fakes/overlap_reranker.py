"""A reranker that counts the question's words in a passage. Ready at once, costs nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence


class OverlapReranker:
    """Implements `retrieval.ports.Reranker`."""

    fingerprint = "overlap"

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """See `Reranker.score`: the share of the question's words that stand in the passage."""
        asked = set(_words(question))
        return [len(asked & set(_words(passage))) / max(len(asked), 1) for passage in passages]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())

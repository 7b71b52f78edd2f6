"""Leaves a reranker that failed alone for a while, so that not every search waits for it in vain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from retrieval.errors import RerankerUnavailableError
from retrieval.ports import Reranker

_REST_S = 15.0


class RestingReranker:
    """A `Reranker` that asks another one, unless that failed a moment ago. Safe to share between threads."""

    def __init__(self, reranker: Reranker, *, clock: Callable[[], float]) -> None:
        """Ask `reranker`; `clock` gives monotonic seconds."""
        self._reranker = reranker
        self._clock = clock
        self._rests_until = float("-inf")

    @property
    def fingerprint(self) -> str:
        """See `Reranker.fingerprint`."""
        return self._reranker.fingerprint

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """See `Reranker.score`; after a failure the next ones fail at once for 15 seconds."""
        if self._clock() < self._rests_until:
            raise RerankerUnavailableError("the reranker failed a moment ago and is left alone")
        try:
            return self._reranker.score(question, passages)
        except RerankerUnavailableError:
            self._rests_until = self._clock() + _REST_S
            raise

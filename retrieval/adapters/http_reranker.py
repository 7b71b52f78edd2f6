"""`Reranker` on a server: the protocol of Cohere, which vLLM speaks, or that of Text Embeddings Inference.

Cohere's: `{"query", "documents"}` gives `{"results": [{"index", "relevance_score"}]}`. TEI's: `{"query", "texts"}`
gives `[{"index", "score"}]`. Both go to `/rerank`, sort by score and say by `index` which text is meant.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, Field, FiniteFloat, RootModel

from retrieval.adapters.model_server import MAX_TEXTS, ModelServer, ModelServerError, in_order
from retrieval.errors import RerankerUnavailableError

_ROUTE = "/rerank"


class Protocol(StrEnum):
    """Which of the two the server speaks."""

    COHERE = "cohere"
    TEI = "tei"


class _Score(BaseModel):
    index: int
    score: FiniteFloat


class _CohereScore(BaseModel):
    index: int
    score: FiniteFloat = Field(alias="relevance_score")


class _CohereReply(BaseModel):
    results: list[_CohereScore]


class _TeiReply(RootModel[list[_Score]]):
    pass


class HttpReranker:
    """Implements `retrieval.ports.Reranker`. Safe to share between threads."""

    def __init__(self, server: ModelServer, protocol: Protocol) -> None:
        """Connect to nothing yet: search goes on without this server. It stays the caller's to close."""
        self._server = server
        self._protocol = protocol

    @property
    def fingerprint(self) -> str:
        """See `Reranker.fingerprint`."""
        return f"{self._server.settings.model or self._protocol.value}/server"

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """See `Reranker.score`; sent in batches that share the limit of time."""
        due = time.monotonic() + self._server.settings.time_s
        scores: list[float] = []
        try:
            for start in range(0, len(passages), MAX_TEXTS):
                batch = list(passages[start : start + MAX_TEXTS])
                scores += in_order(self._scored(question, batch, due), len(batch))
        except ModelServerError as error:
            raise RerankerUnavailableError(f"the reranking server is of no use: {error}") from error
        return scores

    def _scored(self, question: str, passages: list[str], due: float) -> list[tuple[int, float]]:
        if self._protocol is Protocol.COHERE:
            body = {"query": question, "documents": passages, "truncate_prompt_tokens": -1}
            results = self._server.post(_ROUTE, body, _CohereReply, due=due).results
            return [(each.index, each.score) for each in results]
        body = {"query": question, "texts": passages, "truncate": True}
        return [(each.index, each.score) for each in self._server.post(_ROUTE, body, _TeiReply, due=due).root]

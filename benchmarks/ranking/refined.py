"""Second looks at the first candidates, tried outside the product: word pairs, and likeness to the best.

Both read the `DEPTH` first candidates of a fused ranking and no others, so that nothing is counted over chunks that
a filter has held back. Candidates further down keep their places behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from retrieval.fusion import placed
from retrieval.phrases import phrase_shares
from retrieval.query import Candidate
from retrieval.search import PHRASE_DEPTH, PHRASE_WEIGHT

PLAIN = "dbsf, by language"
"""What is refined: the product's fusion, before it looks at word pairs."""

DEPTH = PHRASE_DEPTH
"""Candidates that are looked at again; 30 or 100 give the same within .0002 on the tune half."""


@dataclass(frozen=True)
class Asked:
    """A question and what stands in the chunks, whose ids are row numbers.

    Attributes:
        chunks: Indexed text by row.
        dense: Shape `(n_chunks, dimension)`, unit rows.
    """

    question: str
    chunks: Sequence[str]
    dense: NDArray[np.float32]


Refine = Callable[[Asked, Sequence[Candidate]], list[Candidate]]


def refined(
    asked: Asked, fused: Sequence[Candidate], *, phrases: float = 0.0, near: float = 0.0, n_best: int = 3
) -> list[Candidate]:
    """The fused ranking, its first candidates in a new order.

    Args:
        asked: The question, and the chunks' texts and vectors.
        fused: Best first.
        phrases: Weight of the share of the question's word pairs that a chunk has.
        near: Weight of the likeness to the mean of the `n_best` first (those that have most pairs among them, if
            `phrases` is given), placed as the fusion places the scores of a leg. This is the feedback of
            Rocchio, "Relevance Feedback in Information Retrieval" (1971), with the first hits for relevant ones.
        n_best: Chunks that are taken for relevant.
    """
    head, rest = fused[:DEPTH], fused[DEPTH:]
    rows = [int(candidate.chunk_id) for candidate in head]
    scores = np.array([candidate.score for candidate in head])
    scores = scores + phrases * np.array(phrase_shares(asked.question, [asked.chunks[row] for row in rows]))
    if near and rows:
        best = np.argsort(-scores, kind="stable")[:n_best]
        likeness = asked.dense[rows] @ asked.dense[np.array(rows)[best]].mean(axis=0)
        scores = scores + near * np.array(placed(likeness.tolist()))
    order = np.argsort(-scores, kind="stable")
    return [*(Candidate(head[place].chunk_id, float(scores[place])) for place in order), *rest]


REFINED: Mapping[str, Refine] = {
    "the product's": partial(refined, phrases=PHRASE_WEIGHT),
    **{f"word pairs {weight}": partial(refined, phrases=weight) for weight in (0.05, 0.15, 0.2)},
    **{f"near the best 3, {weight}": partial(refined, near=weight) for weight in (0.1, 0.2, 0.3)},
    **{f"word pairs 0.1, near {weight}": partial(refined, phrases=0.1, near=weight) for weight in (0.1, 0.2)},
}
"""Ways to refine the ranking `PLAIN`, by name."""

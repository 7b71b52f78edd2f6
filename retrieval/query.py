"""What is asked of the index and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from retrieval.corpus import ChunkId, Passage


class SearchMode(StrEnum):
    """Which legs of the search are used."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """Narrowing that the asker chose. Every field that is set must match; within one, any value may.

    Attributes:
        sources: Source ids.
        media_types: IANA media types.
        languages: ISO 639-1 codes.
        tags: Tags of the document.
        path_prefix: Start of the document's external id, for example `people/`.
        documents: Document ids.
        modified_after: Inclusive, timezone aware.
        modified_before: Exclusive, timezone aware.
    """

    sources: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    path_prefix: str = ""
    documents: tuple[str, ...] = ()
    modified_after: datetime | None = None
    modified_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One search.

    Attributes:
        text: What was typed, 1 to 4,000 characters.
        limit: Most hits to return, 1 to 200.
        group_by_document: Whether a document appears once, by its best chunk.
    """

    text: str
    limit: int = 10
    filters: SearchFilters = SearchFilters()
    group_by_document: bool = True
    mode: SearchMode = SearchMode.HYBRID


N_TELLING = 10
"""Candidates of the sparse leg whose languages tell which one the question is in."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk proposed by the index. It has been filtered there but not yet checked in the catalogue.

    Attributes:
        score: Higher is better; compares within one leg, or within one fused ranking.
        contributions: What each leg (`dense`, `sparse`) gave to a fused score.
    """

    chunk_id: ChunkId
    score: float
    contributions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Legs:
    """What each leg of a search found, best first; a leg that was not asked is empty.

    Attributes:
        dense: By inner product of unit vectors, -1 to 1.
        sparse: By BM25, above 0.
        languages: Of the documents of the first `N_TELLING` of the sparse leg, ISO 639-1 or `und`, in any order.
            Of no more: what an index keeps beside a vector takes longer to read than the vector to compare.
    """

    dense: tuple[Candidate, ...] = ()
    sparse: tuple[Candidate, ...] = ()
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that answers a query and that the asker may read, checked a moment ago.

    Attributes:
        score: Higher is better; compares within one result only.
        contributions: Score by leg where the index can tell, `phrases` for word pairs of the question, and `rerank`
            where a reranker has read it.
        highlights: Spans `[start, end)` within `passage.text` that match query words.
    """

    passage: Passage
    score: float
    highlights: tuple[tuple[int, int], ...] = ()
    contributions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, with what was done to find them.

    Attributes:
        facets: Counts of visible hits' documents by `source`, `type`, `language` and `tag`.
        timings_ms: Duration of each step, milliseconds.
        degraded: Error codes of optional steps that failed and were left out (`reranker_unavailable`).
        index: Name and fingerprint of the index that was searched, a space between them.
    """

    hits: tuple[Hit, ...]
    facets: Mapping[str, Mapping[str, int]]
    timings_ms: Mapping[str, float]
    degraded: tuple[str, ...] = ()
    index: str = ""

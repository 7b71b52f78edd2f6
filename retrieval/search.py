"""One search: authorise -> embed -> two legs, fused -> check each hit -> word pairs -> perhaps rerank -> group."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from retrieval.access import Principal, filter_for, owns, permits
from retrieval.corpus import DocumentId, indexed_text
from retrieval.errors import InvalidQueryError, RerankerUnavailableError
from retrieval.fusion import dense_weight, fuse
from retrieval.highlighting import highlight
from retrieval.indexes import OpenIndex
from retrieval.labels import may_be_prompted
from retrieval.phrases import phrase_shares
from retrieval.ports import CorpusReader, IndexQuery, Reranker
from retrieval.query import Candidate, Hit, Query, SearchMode, SearchResult

T = TypeVar("T")
AnyHit = TypeVar("AnyHit", bound=Hit)

_log = logging.getLogger(__name__)

MAX_QUERY_CHARS = 4000
MAX_LIMIT = 200

PHRASE_WEIGHT = 0.1
"""Most that word pairs add to a fused score, where they all stand in a passage."""

PHRASE_DEPTH = 50
"""Hits whose text is read for word pairs: as many as are fetched for the smallest limit."""

_ATTEMPTS = 3
"""Searches until none of the hits was replaced meanwhile; more than one is rare."""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How wide a search looks.

    Attributes:
        depth: Candidates per leg before fusion.
        spare: Candidates fetched per hit wanted, since several chunks may be of one document.
        rerank_depth: Readable hits that a reranker reads.
        hides_no_ai: Whether documents that may not enter a prompt are not found either.
    """

    depth: int = 200
    spare: int = 10
    rerank_depth: int = 50
    hides_no_ai: bool = False


class Search:
    """Finds passages that answer a query and that the asker may read."""

    def __init__(
        self,
        *,
        corpus: CorpusReader,
        answering: Callable[[], AbstractContextManager[OpenIndex]],
        settings: SearchSettings,
        reranker: Reranker | None = None,
    ) -> None:
        """Search `corpus` by way of the index that `answering` gives, taken once for each search."""
        self._corpus = corpus
        self._answering = answering
        self._settings = settings
        self._reranker = reranker

    @property
    def reranker(self) -> str:
        """Fingerprint of the reranker, empty without one."""
        return self._reranker.fingerprint if self._reranker else ""

    def search(
        self, query: Query, principal: Principal, *, previewer: Principal | None = None
    ) -> SearchResult:
        """The best hits for a query.

        Args:
            query: What is searched.
            principal: Who asks, or as whom somebody previews.
            previewer: Who previews; the search goes through the documents that this one owns and the
                principal may read, and names no others.

        Returns:
            At most `query.limit` hits, best first; ties in order of chunk id. A reranker that fails is left
            out, and the result says so.

        Raises:
            InvalidQueryError: The text is empty or too long, or the limit out of range.
            IndexUnavailableError: The index did not answer.
            IndexMismatchError: The index belongs to an embedder that is not open here.
            CatalogueUnavailableError: The catalogue did not answer; no hit is shown unchecked.
            EmbedderUnavailableError: The embedder did not answer.

        Access:
            Filtered in the index by `filter_for(principal)`; every hit is checked once more by `permits`
            against the access list in the catalogue as committed when the hit is assembled. A reranker is
            handed checked hits only, and they are checked again when it is done.
        """
        _check(query)
        timings: dict[str, float] = {}
        with_time = _Stopwatch(timings)
        readable: list[Hit] = []
        degraded: list[str] = []
        n_candidates = max(query.limit * self._settings.spare, 50)
        with self._answering() as opened:
            embedder, sparse = opened.encoders.embedder, opened.encoders.sparse
            request = IndexQuery(
                access=filter_for(principal, outdated=self._corpus.outdated_sources(), previewer=previewer),
                dense=with_time("embed", lambda: embedder.embed_query(query.text)),
                sparse=sparse.encode_query(query.text, languages=opened.record.calibration.languages),
                depth=self._settings.depth,
                filters=query.filters,
                mode=query.mode,
            )
            for attempt in range(1, _ATTEMPTS + 1):
                legs = with_time("index", partial(opened.index.search, request))
                candidates = fuse(legs, dense_weight(legs, embedder.languages), n_candidates)
                check = partial(self._check, principal=principal, previewer=previewer)
                readable, was_replaced = with_time("check", partial(check, candidates))
                if query.mode is SearchMode.HYBRID:
                    readable = with_time("phrases", partial(with_phrases, readable, query.text))
                if self._reranker is not None and (not was_replaced or attempt == _ATTEMPTS):
                    score = partial(self._scores, self._reranker, query.text, readable, degraded)
                    reordered = in_new_order(readable, with_time("rerank", score))
                    readable, was_replaced = with_time("check", partial(check, reordered))
                if not was_replaced:
                    break
        hits = demote_superseded(_best_per_document(readable) if query.group_by_document else readable)
        shown = tuple(_highlighted(hit, query.text) for hit in hits[: query.limit])
        index = f"{opened.record.name} {opened.record.fingerprint}"
        return SearchResult(shown, _facets(hits), timings, tuple(dict.fromkeys(degraded)), index)

    def _scores(
        self, reranker: Reranker, question: str, hits: Sequence[Hit], degraded: list[str]
    ) -> Sequence[float]:
        """The reranker's scores of the first hits; none when it fails, which is noted in `degraded`."""
        texts = _indexed_texts(hits[: self._settings.rerank_depth])
        try:
            return reranker.score(question, texts) if texts else ()
        except RerankerUnavailableError as error:
            _log.warning("hits not reranked", extra={"code": error.code, "reason": error.message})
            degraded.append(error.code)
            return ()

    def _check(
        self, candidates: Sequence[Candidate], principal: Principal, previewer: Principal | None
    ) -> tuple[list[Hit], bool]:
        """Candidates that are live and may be shown now, and whether any has just been replaced."""
        passages = self._corpus.passages(candidate.chunk_id for candidate in candidates)
        hits = [
            Hit(passages[candidate.chunk_id], candidate.score, contributions=candidate.contributions)
            for candidate in candidates
            if candidate.chunk_id in passages
            and permits(passages[candidate.chunk_id].acl, principal)
            and (previewer is None or owns(passages[candidate.chunk_id].acl, previewer))
        ]
        successors = {hit.passage.superseded_by for hit in hits if hit.passage.superseded_by is not None}
        shown = self._corpus.readable(successors, principal) if successors else frozenset()
        if shown and previewer is not None:
            shown &= self._corpus.readable(shown, previewer)
        hits = [_naming(hit, shown) for hit in hits if self._is_found(hit)]
        hits.sort(key=lambda hit: (-hit.score, hit.passage.chunk_id))
        return hits, len(passages) < len(candidates)

    def _is_found(self, hit: Hit) -> bool:
        return not self._settings.hides_no_ai or may_be_prompted(hit.passage.labels)


class _Stopwatch:
    """Runs a step and adds its duration in milliseconds to a mapping."""

    def __init__(self, timings: dict[str, float]) -> None:
        self._timings = timings

    def __call__(self, name: str, step: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return step()
        finally:
            spent = (time.perf_counter() - began) * 1000
            self._timings[name] = self._timings.get(name, 0.0) + spent


def _check(query: Query) -> None:
    if not query.text.strip():
        raise InvalidQueryError("the query is empty")
    if len(query.text) > MAX_QUERY_CHARS:
        raise InvalidQueryError(f"the query is longer than {MAX_QUERY_CHARS} characters")
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidQueryError(f"limit must be between 1 and {MAX_LIMIT}")


def with_phrases(hits: Sequence[Hit], question: str) -> list[Hit]:
    """The hits by their score and what the question's word pairs add to it (`contributions["phrases"]`).

    Hits beyond the first `PHRASE_DEPTH` keep their scores, and their places behind.

    Args:
        hits: Best first.
        question: As it was typed.

    Access:
        Reads the texts of these hits only, which have been checked; pairs are counted among them.
    """
    head, rest = hits[:PHRASE_DEPTH], hits[PHRASE_DEPTH:]
    added = [PHRASE_WEIGHT * share for share in phrase_shares(question, _indexed_texts(head))]
    raised = [
        replace(hit, score=hit.score + more, contributions={**hit.contributions, "phrases": more})
        for hit, more in zip(head, added, strict=True)
    ]
    return [*sorted(raised, key=lambda hit: (-hit.score, hit.passage.chunk_id)), *rest]


def _indexed_texts(hits: Iterable[Hit]) -> list[str]:
    passages = [hit.passage for hit in hits]
    return [indexed_text(each.title, each.heading_path, each.context, each.text) for each in passages]


def in_new_order(hits: Sequence[Hit], scores: Sequence[float]) -> list[Candidate]:
    """The hits as candidates: the first `len(scores)` of them by these scores, the others behind as they were.

    A reranker only decides who comes before whom. Each place keeps its score of the first order, so that one
    result holds one scale; ties are pulled apart, and a higher score always means an earlier place.
    `contributions["rerank"]` has the reranker's own score.

    Args:
        hits: Best first.
        scores: Higher is better; equal ones keep the first order.
    """
    reranked = sorted(range(len(scores)), key=lambda place: -scores[place])
    candidates: list[Candidate] = []
    ceiling = math.inf
    for place, origin in enumerate([*reranked, *range(len(scores), len(hits))]):
        hit = hits[origin]
        own = {"rerank": scores[origin]} if origin < len(scores) else {}
        ceiling = min(hits[place].score, math.nextafter(ceiling, -math.inf))
        candidates.append(Candidate(hit.passage.chunk_id, ceiling, {**hit.contributions, **own}))
    return candidates


def _best_per_document(hits: Iterable[Hit]) -> list[Hit]:
    best: dict[DocumentId, Hit] = {}
    for hit in hits:
        best.setdefault(hit.passage.document_id, hit)
    return list(best.values())


def demote_superseded(hits: Sequence[AnyHit]) -> list[AnyHit]:
    """The hits in order, but a superseded document's after those of the document that replaces it.

    A superseded document whose successor is not among the hits keeps its place: it may be all there is.
    """
    successors = {hit.passage.document_id for hit in hits}
    outdated = {
        hit.passage.document_id: hit.passage.superseded_by
        for hit in hits
        if hit.passage.superseded_by in successors
    }
    last_of = {hit.passage.document_id: rank for rank, hit in enumerate(hits)}

    def place(ranked: tuple[int, AnyHit]) -> tuple[float, int]:
        rank, hit = ranked
        successor = outdated.get(hit.passage.document_id)
        return (rank, 0) if successor is None else (max(rank, last_of[successor]), 1)

    return [hit for _, hit in sorted(enumerate(hits), key=place)]


def _naming(hit: Hit, shown: Collection[DocumentId]) -> Hit:
    """The hit, whose successor is named only if it is shown: a hidden one and none are the same."""
    if hit.passage.superseded_by is None or hit.passage.superseded_by in shown:
        return hit
    return replace(hit, passage=replace(hit.passage, superseded_by=None))


def _highlighted(hit: Hit, query: str) -> Hit:
    return Hit(hit.passage, hit.score, highlight(query, hit.passage.text), hit.contributions)


def _facets(hits: Iterable[Hit]) -> Mapping[str, Mapping[str, int]]:
    """Number of documents among the hits by source, type, language and tag."""
    passages = {hit.passage.document_id: hit.passage for hit in hits}.values()
    return {
        "source": Counter(passage.source_id for passage in passages),
        "type": Counter(passage.media_type for passage in passages),
        "language": Counter(passage.language for passage in passages),
        "tag": Counter(tag for passage in passages for tag in passage.tags),
    }

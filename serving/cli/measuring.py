"""Runs a retrieval set through the real pipeline and search of a throw-away desk, and measures it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import SourceId
from retrieval.indexes import IndexState, record_in
from retrieval.jobs import JobKind, JobState
from retrieval.metrics import RANKING_MEASURES, percentile, ranking_measures
from retrieval.query import Query, SearchMode
from retrieval.search import MAX_QUERY_CHARS, SearchSettings
from retrieval.settings import Settings
from retrieval.wiring import utc_now
from serving.answer import Question
from serving.cli.beir import RetrievalSet, write_folder
from serving.cli.errors import CommandError
from serving.cli.memory import MEASURE, MemoryWatch
from serving.desk import Desk
from serving.embedded import open_embedded
from serving.evaluation import Expected, Given, measure_answers

_SOURCE = SourceId("set")
_DEPTH = 100
"""Documents ranked per query, for recall@100."""

_LATENCY_QUERIES, _LATENCY_LIMIT = 200, 10

Progress = Callable[[str, int, int], None]
"""Told the name of a stage, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out.

    Attributes:
        report: What `refdesk eval` prints, without a comparison.
        queries: By query id the `RANKING_MEASURES`, `ranking` (pairs of document id and score, best first) and
            `degraded`, what the search left out.
    """

    report: dict[str, Any]
    queries: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a set.

    Attributes:
        ids: Document id of the set by file name, which is the desk's external id.
        seconds: From the request for the sync until the last job was finished.
        n_documents: Documents that are live.
        failures: Number of the others by error code.
    """

    ids: Mapping[str, str]
    seconds: float
    n_documents: int
    n_chunks: int
    failures: Mapping[str, int]


def measure(
    read: RetrievalSet, settings: Settings, *, mode: SearchMode, with_answers: bool, progress: Progress
) -> Measured:
    """Index a set into `settings.data`, search with every judged query, and take the measures.

    Raises:
        CommandError: The set could not be indexed at all.
    """
    with MemoryWatch() as memory, open_embedded(settings) as embedded:
        desk = embedded.desk
        ingested = ingest(desk, read, settings.data.parent / "documents", progress)
        principal = owner_of(desk)
        per_query = _search_all(desk, read, ingested.ids, principal, mode, progress)
        latencies = _latencies(desk, read, principal, mode)
        answers = _answer_all(desk, read, ingested.ids, principal, progress) if with_answers else {}
        config = _config(desk, read, ingested, mode, per_query)
    report = {
        **_means(per_query),
        "n_queries": len(per_query),
        "n_documents": ingested.n_documents,
        "n_chunks": ingested.n_chunks,
        "ingest_s": round(ingested.seconds, 2),
        "docs_per_s": round(ingested.n_documents / ingested.seconds, 2),
        "chunks_per_s": round(ingested.n_chunks / ingested.seconds, 2),
        "search_p50_ms": round(percentile(latencies, 0.5), 2),
        "search_p95_ms": round(percentile(latencies, 0.95), 2),
        "peak_rss_mb": round(memory.peak_mb, 1),
        **answers,
        "config": config,
    }
    return Measured(report, per_query)


def owner_of(desk: Desk) -> Principal:
    """Who asks: the desk's owner, who may read the whole set."""
    return Principal(UserId(desk.settings.owner))


def ingest(desk: Desk, read: RetrievalSet, folder: Path, progress: Progress) -> Ingested:
    """Write a set to a folder that does not exist yet, and index it through the real pipeline.

    Raises:
        CommandError: The sync failed, or no document could be indexed.
    """
    progress("write", 0, len(read.documents))
    ids = write_folder(read.documents, folder)
    SqlSources(desk.database, utc_now).create(
        _SOURCE, name=read.name, kind="folder", location=str(folder), owner=UserId(desk.settings.owner)
    )
    began = time.perf_counter()
    job = desk.jobs.accept(JobRequest(JobKind.SYNC, desk.settings.owner, "evaluation", source_id=_SOURCE))
    while desk.jobs.unfinished():
        time.sleep(0.2)
        progress("index", sum(_states(desk).values()) - _pending(desk), len(read.documents))
    seconds = time.perf_counter() - began
    finished = desk.jobs.job(job.id)
    if finished.state is not JobState.DONE:
        raise CommandError(finished.error_code, finished.error_message)
    live = _states(desk).get("live", 0)
    if not live:
        raise CommandError("nothing_indexed", f"no document of {read.name} could be indexed")
    progress("index", len(read.documents), len(read.documents))
    return Ingested(ids, seconds, live, desk.corpus.passage_count(owner_of(desk)), _failures(desk))


def _states(desk: Desk) -> dict[str, int]:
    return desk.corpus.count_by_state(owner_of(desk), DocumentFilter(source_id=_SOURCE))


def _pending(desk: Desk) -> int:
    settled = {"live", "failed", "quarantined"}
    return sum(count for state, count in _states(desk).items() if state not in settled)


def _failures(desk: Desk) -> dict[str, int]:
    failed = []
    for state in ("failed", "quarantined"):
        narrow = DocumentFilter(source_id=_SOURCE, state=state)
        failed += desk.corpus.documents(owner_of(desk), narrow, after=None, limit=100_000)
    return dict(Counter(document.error_code for document in failed))


def _search_all(
    desk: Desk,
    read: RetrievalSet,
    ids: Mapping[str, str],
    principal: Principal,
    mode: SearchMode,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Values and ranking by query id; a document ranks by its best chunk."""
    found: dict[str, dict[str, Any]] = {}
    for done, (query_id, judgements) in enumerate(read.judgements.items(), start=1):
        query = Query(read.queries[query_id][:MAX_QUERY_CHARS], limit=_DEPTH, mode=mode)
        result = desk.search.search(query, principal)
        hits = result.hits
        ranking = [ids[hit.passage.external_id] for hit in hits]
        found[query_id] = {
            **ranking_measures(ranking, judgements),
            "ranking": [[document, round(hit.score, 6)] for document, hit in zip(ranking, hits, strict=True)],
            "degraded": list(result.degraded),
        }
        progress("search", done, len(read.judgements))
    return found


def _latencies(desk: Desk, read: RetrievalSet, principal: Principal, mode: SearchMode) -> list[float]:
    """Milliseconds of single searches as a reader makes them, after one that is not counted."""
    taken = []
    for query_id in sorted(read.judgements)[: _LATENCY_QUERIES + 1]:
        query = Query(read.queries[query_id][:MAX_QUERY_CHARS], limit=_LATENCY_LIMIT, mode=mode)
        began = time.perf_counter()
        desk.search.search(query, principal)
        taken.append((time.perf_counter() - began) * 1000)
    return taken[1:] or taken


def _answer_all(
    desk: Desk, read: RetrievalSet, ids: Mapping[str, str], principal: Principal, progress: Progress
) -> dict[str, Any]:
    pairs: list[tuple[Expected, Given]] = []
    generators: Counter[str] = Counter()
    latencies = []
    for done, (query_id, expected) in enumerate(read.expected.items(), start=1):
        question = Question(
            read.queries[query_id][:MAX_QUERY_CHARS], principal, request_id=f"eval-{done}", channel="eval"
        )
        began = time.perf_counter()
        answer = desk.answering.answer(question)
        latencies.append((time.perf_counter() - began) * 1000)
        cited = frozenset(ids[citation.hit.passage.external_id] for citation in answer.citations)
        pairs.append((expected, Given(answer.text, cited, answer.abstained)))
        generators[answer.generator.name] += 1
        progress("answer", done, len(read.expected))
    return {
        **{name: _rounded(value) for name, value in measure_answers(pairs).items()},
        "n_answers": len(pairs),
        "n_unanswerable": sum(not expected.is_answerable for expected, _ in pairs),
        "answer_p50_ms": round(percentile(latencies, 0.5), 2),
        "answer_p95_ms": round(percentile(latencies, 0.95), 2),
        "generators": dict(generators),
    }


def _means(per_query: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    size = max(len(per_query), 1)
    return {
        name: round(sum(values[name] for values in per_query.values()) / size, 4) for name in RANKING_MEASURES
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _config(
    desk: Desk,
    read: RetrievalSet,
    ingested: Ingested,
    mode: SearchMode,
    per_query: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    build = record_in(SqlIndexBuilds(desk.database, utc_now), IndexState.ACTIVE)
    reachable = min(_DEPTH, ingested.n_documents)
    return {
        "set": read.name,
        "mode": mode.value,
        "index": build.fingerprint if build else "",
        "average_length": round(build.calibration.average_length, 1) if build else None,
        "depth_per_leg": SearchSettings().depth,
        "reranker": desk.search.reranker or "none",
        "rerank_depth": desk.settings.rerank_depth if desk.search.reranker else 0,
        "searches_degraded": sum(bool(query["degraded"]) for query in per_query.values()),
        "ranked_documents": _DEPTH,
        "rankings_below_that": _short(per_query.values(), reachable),
        "documents_in_set": len(read.documents),
        "documents_failed": dict(ingested.failures),
        "queries_cut": sum(len(read.queries[query]) > MAX_QUERY_CHARS for query in per_query),
        "latency": f"in process, one caller, limit {_LATENCY_LIMIT}, at most {_LATENCY_QUERIES} queries",
        "memory": MEASURE,
        "workers": desk.settings.workers,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "embeddings_cache": str(desk.settings.embedding_cache or ""),
    }


def _short(values: Iterable[Mapping[str, Any]], reachable: int) -> int:
    """Number of queries whose ranking names fewer documents than it could."""
    return sum(len(query["ranking"]) < reachable for query in values)

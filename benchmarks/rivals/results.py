"""Figures from what runners reported, and the file that keeps them, one line a measurement. Pure but for that file.

Every figure that is shown is a median over rounds; a round that failed counts for nothing but is kept.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retrieval.metrics import RANKING_MEASURES, percentile, ranking_measures

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SetFacts:
    """Which set was measured."""

    name: str
    digest: str
    n_documents: int
    n_queries: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row in one round.

    Attributes:
        index: See `index_figures`; of the setup, so equal for all its rows.
        search: See `search_figures`.
        quality: Means of `RANKING_MEASURES`.
        versions: Of the packages that were measured.
        load: Load average of the last minute, just before the index was made.
        failure: Why there are no figures; empty when there are.
    """

    set: SetFacts
    row: str
    round: int
    index: Figures = field(default_factory=dict)
    search: Figures = field(default_factory=dict)
    quality: Figures = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    load: float = 0.0
    failure: str = ""


def index_figures(report: Mapping[str, Any], *, disk_mb: float) -> dict[str, float]:
    """Rates, sizes and shares of one indexing run.

    `cut_share` is the share of wordpieces handed to the embedder that it did not read. `missing` counts
    documents that could not be indexed.
    """
    return {
        "documents_per_s": report["n_documents"] / report["index_s"],
        "chunks_per_s": report["n_chunks"] / report["index_s"],
        "chunks_per_cpu_s": report["n_chunks"] / report["cpu_s"],
        "tokens_read_per_s": (report["n_tokens"] - report["n_tokens_cut"]) / report["index_s"],
        "index_s": report["index_s"],
        "ready_s": report["ready_s"],
        "peak_mb": report["peak_mb"],
        "disk_mb": disk_mb,
        "n_chunks": report["n_chunks"],
        "tokens_per_chunk": report["n_tokens"] / max(report["n_chunks"], 1),
        "cut_share": report["n_tokens_cut"] / max(report["n_tokens"], 1),
        "missing": sum(report.get("failures", {}).values()),
    }


def search_figures(report: Mapping[str, Any]) -> dict[str, float]:
    """Cold start, latencies, rate and memory of one searching process."""
    return {
        "cold_start_s": report["cold_start_s"],
        "p50_ms": percentile(report["latencies_ms"], 0.5),
        "p95_ms": percentile(report["latencies_ms"], 0.95),
        "queries_per_cpu_s": report["queries_per_cpu_s"],
        "peak_mb": report["peak_mb"],
    }


def judged(
    rankings: Mapping[str, Sequence[Sequence[Any]]], judgements: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, Any]]:
    """Measures and ranking by query, in the form of a saved run; a query without a ranking found nothing."""
    found = {}
    for query, grades in judgements.items():
        ranking = [(str(document), float(score)) for document, score in rankings.get(query, ())]
        found[query] = {**ranking_measures([document for document, _ in ranking], grades), "ranking": ranking}
    return found


def means(queries: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Mean of each measure over the queries."""
    return {name: statistics.fmean(values[name] for values in queries.values()) for name in RANKING_MEASURES}


def medians(figures: Iterable[Figures]) -> dict[str, float]:
    """Median of each figure over several runs, of those that have it; empty without any.

    >>> medians([{"a": 1.0}, {"a": 9.0}, {"a": 2.0, "b": 5.0}])
    {'a': 2.0, 'b': 5.0}
    """
    listed = [each for each in figures if each]
    names = dict.fromkeys(name for each in listed for name in each)
    return {name: statistics.median(each[name] for each in listed if name in each) for name in names}


def append(path: Path, measurement: Measurement) -> None:
    """Add a line to the file, made when absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(measurement), ensure_ascii=False) + "\n")


def read(path: Path) -> list[Measurement]:
    """Every measurement of the file, the last one of each row and round; empty without a file."""
    if not path.exists():
        return []
    found: dict[tuple[str, str, int], Measurement] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        kept = json.loads(line)
        measurement = Measurement(**{**kept, "set": SetFacts(**kept["set"])})
        found[measurement.set.name, measurement.row, measurement.round] = measurement
    return list(found.values())

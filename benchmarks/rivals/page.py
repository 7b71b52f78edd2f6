"""The page of results: docs/benchmarks.md and its charts, from measurements alone. Pure."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.charts import Bar, bars, short
from benchmarks.rivals.results import Figures, Measurement, SetFacts, medians
from benchmarks.rivals.rows import OURS, SETUPS, Row, Setup
from retrieval.comparing import ENOUGH_QUERIES, N_RESAMPLES, SEED
from retrieval.metrics import RANKING_MEASURES

Comparisons = Mapping[tuple[str, str], Mapping[str, Any]]
"""What `serving.cli.saved_run.compare` gives for Refdesk against a row, by set and row."""


@dataclass(frozen=True, slots=True)
class Page:
    """Markdown, and the text of each chart by file name."""

    text: str
    charts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Measured:
    """One row on one set, medians over its rounds."""

    row: Row
    setup: Setup
    index: Figures = field(default_factory=dict)
    search: Figures = field(default_factory=dict)
    quality: Figures = field(default_factory=dict)
    n_rounds: int = 0
    failure: str = ""


def page(
    measurements: Sequence[Measurement], comparisons: Comparisons, machine: Mapping[str, str], *, images: str
) -> Page:
    """Lay out everything that was measured.

    Args:
        measurements: In order of time; failed ones are named on the page. Of a set that has changed since,
            only what was measured on its last state is shown.
        comparisons: Differences in quality, where there are any.
        machine: Facts by name.
        images: Folder of the charts as the page links to it.
    """
    sets = sorted({each.set.name: each.set for each in measurements}.values(), key=lambda facts: facts.name)
    tables = {facts.name: _rows_of(facts, measurements) for facts in sets}
    charts = _charts(tables)
    parts = [
        _introduction(sets),
        *busy_warning([each.load for each in measurements], machine),
        _setting(measurements, machine),
        _overview(tables),
        *(f"![{title}]({images}/{name})" for name, (title, _) in charts.items()),
        *(_set_section(facts, tables[facts.name], comparisons) for facts in sets),
        _method(),
    ]
    return Page("\n\n".join(parts) + "\n", {name: drawn for name, (_, drawn) in charts.items()})


def _rows_of(facts: SetFacts, measurements: Sequence[Measurement]) -> list[_Measured]:
    found = []
    for setup in SETUPS:
        for row in setup.rows:
            mine = [each for each in measurements if each.set == facts and each.row == row.name]
            good = [each for each in mine if not each.failure]
            if not mine:
                continue
            found.append(
                _Measured(
                    row,
                    setup,
                    medians(each.index for each in good),
                    medians(each.search for each in good),
                    medians(each.quality for each in good),
                    len(good),
                    next((each.failure for each in mine if each.failure), "") if not good else "",
                )
            )
    return found


def _introduction(sets: Sequence[SetFacts]) -> str:
    small = [facts.name for facts in sets if facts.n_queries < ENOUGH_QUERIES]
    lines = [
        "# Benchmarks: Refdesk beside LlamaIndex, Haystack and txtai",
        "",
        "Written by `make bench`; do not edit. The same model (all-MiniLM-L6-v2, the same weights), the same",
        "documents and questions, the same machine, one process after the other.",
    ]
    if small:
        lines += [
            "",
            f"**Too few questions to decide on quality** (fewer than {ENOUGH_QUERIES}): {', '.join(small)}.",
            "Their figures show that everything runs; they compare nothing.",
        ]
    return "\n".join(lines)


def busy_warning(loads: Sequence[float], machine: Mapping[str, str]) -> list[str]:
    """A word on times that other work spoilt, or nothing; the run before leaves a load of about the cores."""
    busiest = max(loads, default=0.0)
    if busiest <= float(machine.get("cores", "inf")) + 1:
        return []
    return [
        f"**The machine was busy with other work** (load average up to {busiest:.0f} on {machine['cores']}\n"
        "cores): times on this page compare nothing, and those of libraries with many threads suffer most.\n"
        "Quality, chunks, memory and disk do not depend on it."
    ]


def _setting(measurements: Sequence[Measurement], machine: Mapping[str, str]) -> str:
    versions = {name: number for each in measurements for name, number in each.versions.items()}
    loads = [each.load for each in measurements if not each.failure]
    rounds = len({each.round for each in measurements})
    facts = [
        *machine.items(),
        ("load average before a run", f"median {statistics.median(loads):.1f}, most {max(loads):.1f}")
        if loads
        else ("load average before a run", "unknown"),
        ("rounds", f"{rounds}, interleaved; medians are shown"),
        ("versions", ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))),
        ("bootstrap", f"{N_RESAMPLES} resamples, seed {SEED}"),
    ]
    return "## Setting\n\n" + table(("", ""), facts)


def _overview(tables: Mapping[str, Sequence[_Measured]]) -> str:
    """Means over the sets, for the rows that were measured on all of them."""
    rows = [
        (
            listed[0].row.title,
            *(f"{statistics.fmean(each.quality[name] for each in listed):.4f}" for name in RANKING_MEASURES),
        )
        for listed in _on_all_sets(tables).values()
    ]
    return f"## Quality, mean over {len(tables)} set(s)\n\n" + table(("", *RANKING_MEASURES), rows)


def _on_all_sets(tables: Mapping[str, Sequence[_Measured]]) -> dict[str, list[_Measured]]:
    found: dict[str, list[_Measured]] = {}
    for listed in tables.values():
        for each in listed:
            if each.n_rounds:
                found.setdefault(each.row.name, []).append(each)
    return {name: listed for name, listed in found.items() if len(listed) == len(tables)}


def _charts(tables: Mapping[str, Sequence[_Measured]]) -> dict[str, tuple[str, str]]:
    """Title and drawing by file name; means over the sets, for the rows that were measured on all of them."""
    shared = list(_on_all_sets(tables).values())

    def chart(
        title: str, unit: str, value: Callable[[_Measured], float], *, indexes: bool
    ) -> tuple[str, str]:
        listed = [
            Bar(each[0].row.title, statistics.fmean(value(one) for one in each), each[0].row.name == OURS)
            for each in shared
            if not indexes or each[0].row == each[0].setup.rows[0]
        ]
        return title, bars(title, unit, listed)

    return {
        "bench-quality.svg": chart("nDCG@10", "", lambda one: one.quality["ndcg@10"], indexes=False),
        "bench-indexing.svg": chart(
            "Wordpieces read by the model",
            "per second",
            lambda one: one.index["tokens_read_per_s"],
            indexes=True,
        ),
        "bench-memory.svg": chart(
            "Peak memory while indexing", "MiB", lambda one: one.index["peak_mb"], indexes=True
        ),
        "bench-search.svg": chart("Search, median", "ms", lambda one: one.search["p50_ms"], indexes=False),
        "bench-start.svg": chart(
            "Start to first answer", "s", lambda one: one.search["cold_start_s"], indexes=False
        ),
    }


def _set_section(facts: SetFacts, listed: Sequence[_Measured], comparisons: Comparisons) -> str:
    good = [each for each in listed if each.n_rounds]
    failed = [each for each in listed if each.failure]
    parts = [
        f"## {facts.name}",
        f"{facts.n_documents:,} documents, {facts.n_queries:,} questions.",
        table(("quality", *RANKING_MEASURES), [_quality_cells(each) for each in good]),
        _comparison_table(facts, good, comparisons),
        table(
            ("indexing", "chunks", "never read", "documents/s", "chunks/s", "chunks per CPU second",
             "wordpieces read/s", "whole run, s", "peak memory, MiB", "disk, MiB"),
            [_index_cells(each) for each in good if each.row == each.setup.rows[0]],
        ),
        table(
            ("search", "start to first answer, s", "p50, ms", "p95, ms", "queries/s per core", "peak memory, MiB"),
            [_search_cells(each) for each in good],
        ),
    ]  # fmt: skip
    if failed:
        told = "\n".join(f"- {each.row.title}: {_last_line(each.failure)}" for each in failed)
        parts.append(f"Not measured:\n\n{told}")
    return "\n\n".join(part for part in parts if part)


def _quality_cells(each: _Measured) -> tuple[str, ...]:
    return (each.row.title, *(f"{each.quality[name]:.4f}" for name in RANKING_MEASURES))


def _comparison_table(facts: SetFacts, listed: Sequence[_Measured], comparisons: Comparisons) -> str:
    rows = []
    for each in listed:
        compared = comparisons.get((facts.name, each.row.name))
        if compared is None:
            continue
        found = compared["measures"]["ndcg@10"]
        low, high = found["interval_95"]
        interval = f"{low:+.4f} to {high:+.4f}"
        rows.append((each.row.title, f"{found['difference']:+.4f}", interval, found["verdict"]))
    return table(("Refdesk against", "nDCG@10", "95 % interval", "Refdesk is"), rows) if rows else ""


def _index_cells(each: _Measured) -> tuple[str, ...]:
    index = each.index
    missing = f" ({index['missing']:.0f} documents missing)" if index["missing"] else ""
    return (
        each.row.title + missing,
        f"{index['n_chunks']:.0f} of {index['tokens_per_chunk']:.0f} wordpieces",
        f"{index['cut_share']:.1%}",
        short(index["documents_per_s"]),
        short(index["chunks_per_s"]),
        short(index["chunks_per_cpu_s"]),
        short(index["tokens_read_per_s"]),
        short(index["ready_s"] + index["index_s"]),
        short(index["peak_mb"]),
        short(index["disk_mb"]),
    )


def _search_cells(each: _Measured) -> tuple[str, ...]:
    search = each.search
    names = ("cold_start_s", "p50_ms", "p95_ms", "queries_per_cpu_s", "peak_mb")
    return (each.row.title, *(short(search[name]) for name in names))


def _method() -> str:
    cuts = [(each.rows[0].title, each.chunks) for each in SETUPS]
    return "\n".join(
        (
            "## How it was measured",
            "",
            "- Each setup has two processes: one indexes and ends, one opens what was kept and searches. Libraries",
            "  are in environments of their own, pinned in `benchmarks/rivals/*.lock`, and offline at run time.",
            "- Rivals are handed plain text: where a document of a set is HTML, its text was taken out for them",
            "  beforehand, which costs them no time. Refdesk gets the set as it is and goes the whole way of",
            "  `refdesk eval`: files, jobs, sandboxed parsers, catalogue, index, permissions checked twice.",
            "- Rankings: 200 chunks a leg or more, a document ranks by its best chunk, 100 documents. Latency: 10",
            "  hits, in process, one caller, 200 searches after the first one. A leg then fetches 10 chunks in",
            "  LlamaIndex and Haystack, 100 in txtai, and 200 in Refdesk as always.",
            '- "queries/s per core" and "chunks per CPU second" divide by processor time, so that they change',
            "  little when a machine is shared. Memory is the highest proportional set size of the process tree,",
            '  sampled four times a second. "never read" is the share of wordpieces handed to the model beyond the',
            "  256 that it takes.",
            "- Every configuration is described in the head of its runner, `benchmarks/rivals/run_*.py`.",
            "- What Refdesk costs as a corpus grows: [benchmarks-size.md](benchmarks-size.md).",
            "",
            table(("setup", "chunks"), cuts),
        )
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; from three columns on all but the first one stand to the right."""
    marks = ["---", *["---:"] * (len(columns) - 1)] if len(columns) > 2 else ["---"] * len(columns)
    lines = [columns, marks, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _last_line(text: str) -> str:
    """The last line of an error, its paths shortened to their last part: they are this machine's."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"(?:/[^/\s'\"]+)+/", "", lines[-1]) if lines else "unknown"

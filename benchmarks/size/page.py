"""The page of costs against size: docs/benchmarks-size.md and its charts. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.charts import lines, short
from benchmarks.rivals.page import Page, busy_warning, table

Measured = Mapping[str, Any]
"""What one size gave: `n_chunks`, `load`, and the reports of its stages under `index`, `search`, `recall`."""

_SEARCHES = (
    ("reader_hybrid", "hybrid, reads everything"),
    ("reader_dense", "dense leg"),
    ("reader_sparse", "BM25 leg"),
    ("guest_hybrid", "hybrid, may read 0.1 %"),
    ("http", "hybrid through HTTP"),
    ("http_while_indexing", "the same while documents are taken in"),
)


def size_page(measured: Sequence[Measured], machine: Mapping[str, str], *, images: str) -> Page:
    """Lay out the sizes that were measured, in ascending order.

    Args:
        measured: One entry a size; without any the page says so.
        machine: Facts by name.
        images: Folder of the charts as the page links to it.
    """
    sizes = sorted(measured, key=lambda each: each["n_chunks"])
    charts = _charts(sizes) if sizes else {}
    loads = [each["load"] for each in sizes]
    facts = [*machine.items()]
    if loads:
        facts.append(
            ("load average before a run", f"median {statistics.median(loads):.1f}, most {max(loads):.1f}")
        )
    parts = [
        "# Cost against size\n\n"
        "Written by `make bench-size`; do not edit. Documents are made up (`benchmarks/size/corpus.py`) and go\n"
        "through the real pipeline, with vectors that cost nothing (`benchmarks/size/vectors.py`): what the model\n"
        "takes comes on top and does not depend on size. Questions do run through the model. One embedded desk,\n"
        "its index optimised where that was due (more than 20,000 chunks).",
        *busy_warning(loads, machine),
        table(("", ""), facts),
        "## Indexing\n\n" + _indexing(sizes) if sizes else "Nothing was measured.",
        *(f"![{title}]({images}/{name})" for name, (title, _) in charts.items()),
        *(["## Search\n\n" + _searching(sizes)] if sizes else []),
        '"late rate" is the rate over the last quarter of the documents divided by the rate over all. Latencies\n'
        "are milliseconds, 10 hits, one caller, 200 searches; per core: searches per second of processor time.\n"
        "Recall is that of the dense leg's ten best chunks against exact search over the same vectors, with the\n"
        "same access filter. While documents are taken in, the model works on them.",
    ]
    return Page("\n\n".join(parts) + "\n", {name: drawn for name, (_, drawn) in charts.items()})


def _indexing(sizes: Sequence[Measured]) -> str:
    columns = (
        "chunks", "documents/s", "chunks/s", "chunks per CPU second", "late rate", "peak memory, MiB",
        "disk, MiB", "of it index, MiB", "optimising, s",
    )  # fmt: skip
    return table(columns, [_index_cells(each["index"]) for each in sizes])


def _index_cells(index: Mapping[str, float]) -> tuple[str, ...]:
    rates = (index["n_documents"] / index["index_s"], index["chunks_per_s"], index["chunks_per_cpu_s"])
    sizes = (index["peak_mb"], index["disk_mb"], index["index_disk_mb"])
    return (
        f"{index['n_chunks']:,}",
        *(short(rate) for rate in rates),
        f"{index['late_rate_share']:.2f}",
        *(short(size) for size in sizes),
        short(index["optimise_s"]) if index["optimise_s"] else "not due",
    )


def _searching(sizes: Sequence[Measured]) -> str:
    rows: list[tuple[str, ...]] = []
    for key, title in _SEARCHES:
        rows.append((f"{title}: p50 / p95", *(_latency(each["search"][key]) for each in sizes)))
    rates = [short(each["search"]["reader_hybrid"]["per_cpu_s"]) for each in sizes]
    rows.append(("hybrid searches/s per core", *rates))
    rows.append(
        ("recall@10, reads everything", *(f"{each['recall']['reader_recall']:.3f}" for each in sizes))
    )
    rows.append(("recall@10, may read 0.1 %", *(f"{each['recall']['guest_recall']:.3f}" for each in sizes)))
    rows.append(("start to first answer, s", *(short(each["search"]["cold_start_s"]) for each in sizes)))
    rows.append(("memory after it, MiB", *(short(each["search"]["idle_mb"]) for each in sizes)))
    return table(("", *(f"{each['index']['n_chunks']:,} chunks" for each in sizes)), rows)


def _latency(found: Mapping[str, float]) -> str:
    return f"{short(found['p50_ms'])} / {short(found['p95_ms'])}"


def _charts(sizes: Sequence[Measured]) -> dict[str, tuple[str, str]]:
    def points(*path: str) -> list[tuple[float, float]]:
        found = []
        for each in sizes:
            value: Any = each
            for name in path:
                value = value[name]
            found.append((float(each["index"]["n_chunks"]), float(value)))
        return found

    def chart(title: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[str, str]:
        return title, lines(title, "chunks", unit, series)

    latencies = {
        "p95, HTTP": points("search", "http", "p95_ms"),
        "p50, HTTP": points("search", "http", "p50_ms"),
        "p50, in process": points("search", "reader_hybrid", "p50_ms"),
    }
    return {
        "size-search.svg": chart("Hybrid search", "ms", latencies),
        "size-indexing.svg": chart(
            "Indexing, model apart", "chunks/s", {"": points("index", "chunks_per_s")}
        ),
        "size-memory.svg": chart(
            "Memory",
            "MiB",
            {"indexing, peak": points("index", "peak_mb"), "answering": points("search", "idle_mb")},
        ),
        "size-disk.svg": chart(
            "Disk", "MiB", {"all": points("index", "disk_mb"), "index": points("index", "index_disk_mb")}
        ),
    }

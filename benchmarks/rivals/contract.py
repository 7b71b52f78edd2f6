"""What every runner does, and the JSON that it leaves: one process that indexes, another one that searches.

    PYTHON -m benchmarks.rivals.run_NAME warm|index|search CONFIG JOB.json

Runs in each rival's own environment, so it imports the standard library only, and `tokenizers`, which all have.
JOB names `documents` and `queries` (files of JSON lines: `_id`, `title`, `text` and `_id`, `text`), `state` (a
folder that lasts from one process to the other), `result` (the file to write), `model` (folder of the weights)
and `began`, the system's monotonic clock when the process was started.

`warm` only loads library and model, so that the first measured start finds files in memory and modules compiled.
`index` writes `{"versions", "ready_s", "index_s", "cpu_s", "n_documents", "n_chunks", "n_tokens",
"n_tokens_cut"}`; `search` writes `{"cold_start_s", "rankings": {query: [[document, score], …]}, "latencies_ms",
"queries_per_cpu_s"}`. Memory and disk are measured from outside, the same way for all.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

RANKED_DOCUMENTS = 100
"""Documents in a ranking, for recall@100."""

DEPTH = 200
"""Chunks that each leg may propose for a ranking; Refdesk's own depth."""

LATENCY_HITS = 10
LATENCY_SEARCHES = 200

MODEL_TOKENS = 254
"""Wordpieces of a text that all-MiniLM-L6-v2 reads, its two special tokens apart."""

Scored = tuple[str, float]
"""Document id and score; higher is better."""


@dataclass(frozen=True)
class SetDocument:
    """One document to index. `text` is plain text, its paragraphs separated by blank lines."""

    id: str
    title: str
    text: str


class Rival(Protocol):
    """One library in one configuration, ready with its model loaded."""

    @property
    def packages(self) -> Sequence[str]:
        """Distributions whose versions are reported."""
        ...

    def index(self, documents: Sequence[SetDocument], state: Path) -> None:
        """Cut, embed, store, and keep on disk."""
        ...

    def embedded_texts(self) -> Iterable[str]:
        """Every text that was handed to the embedder by `index`, whole; not timed."""
        ...

    def open(self, state: Path) -> None:
        """Load what another process indexed."""
        ...

    def search(self, query: str, n_chunks: int) -> list[Scored]:
        """The best chunks, best first, each by its document; a document may occur more than once."""
        ...


def main(make: Callable[[str, Path], Rival]) -> None:
    """Run one stage of one configuration.

    Args:
        make: Imports the library, loads the model from the folder and returns the configuration by name.
    """
    stage, config, job_file = sys.argv[1:4]
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    rival = make(config, Path(job["model"]))
    stages = {"warm": lambda *_: {}, "index": _index, "search": _search}
    found = stages[stage](rival, job)
    Path(job["result"]).write_text(json.dumps(found), encoding="utf-8")


def _index(rival: Rival, job: dict[str, Any]) -> dict[str, Any]:
    documents = [SetDocument(row["_id"], row["title"], row["text"]) for row in rows(Path(job["documents"]))]
    ready_s = time.monotonic() - job["began"]
    began, cpu = time.perf_counter(), time.process_time()
    rival.index(documents, Path(job["state"]))
    index_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return {
        "versions": {name: version(name) for name in rival.packages},
        "ready_s": ready_s,
        "index_s": index_s,
        "cpu_s": cpu_s,
        "n_documents": len(documents),
        **count_tokens(rival.embedded_texts(), Path(job["model"])),
    }


def _search(rival: Rival, job: dict[str, Any]) -> dict[str, Any]:
    queries = {row["_id"]: row["text"] for row in rows(Path(job["queries"]))}
    rival.open(Path(job["state"]))
    return measure_search(
        queries,
        began=job["began"],
        rank=lambda text: best_per_document(rival.search(text, DEPTH))[:RANKED_DOCUMENTS],
        search=lambda text: rival.search(text, LATENCY_HITS),
    )


def measure_search(
    queries: dict[str, str],
    *,
    began: float,
    rank: Callable[[str], list[Scored]],
    search: Callable[[str], object],
) -> dict[str, Any]:
    """Cold start, rankings and latencies of a store that is open.

    Args:
        queries: Text by id.
        began: Monotonic clock when the process was started.
        rank: The ranking of documents that quality is measured on.
        search: What is timed: a search as somebody makes it.
    """
    order = sorted(queries)
    search(queries[order[0]])
    cold_start_s = time.monotonic() - began
    rankings = {query: rank(queries[query]) for query in order}
    latencies = []
    began_s, cpu = time.perf_counter(), time.process_time()
    for text in cycled([queries[query] for query in order], LATENCY_SEARCHES):
        search(text)
        latencies.append((time.perf_counter() - began_s) * 1000)
        began_s = time.perf_counter()
    cpu_s = time.process_time() - cpu
    return {
        "cold_start_s": cold_start_s,
        "rankings": rankings,
        "latencies_ms": latencies,
        "queries_per_cpu_s": len(latencies) / cpu_s,
    }


def best_per_document(chunks: Iterable[Scored]) -> list[Scored]:
    """Documents by their best chunk, in the order of the chunks.

    >>> best_per_document([("b", 0.9), ("a", 0.8), ("b", 0.7)])
    [('b', 0.9), ('a', 0.8)]
    """
    best: dict[str, float] = {}
    for document, score in chunks:
        best.setdefault(document, score)
    return list(best.items())


def cycled(items: Sequence[str], size: int) -> Iterator[str]:
    """So many items, from the start again where there are fewer.

    >>> list(cycled(["a", "b"], 3))
    ['a', 'b', 'a']
    """
    return (items[number % len(items)] for number in range(size))


def count_tokens(texts: Iterable[str], model: Path) -> dict[str, int]:
    """Number of chunks, of their wordpieces, and of those that the embedder never reads."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    left, lengths = iter(texts), list[int]()
    while batch := list(islice(left, 500)):  # not all at once: this process's peak memory is reported
        lengths += [len(encoding.ids) for encoding in tokenizer.encode_batch(batch, add_special_tokens=False)]
    return {
        "n_chunks": len(lengths),
        "n_tokens": sum(lengths),
        "n_tokens_cut": sum(max(length - MODEL_TOKENS, 0) for length in lengths),
    }


def rows(path: Path) -> list[dict[str, str]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]

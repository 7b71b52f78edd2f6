"""Refdesk, the whole desk as `refdesk eval` opens it. Runs in the project's own environment.

    PYTHON -m benchmarks.rivals.run_refdesk warm|index|search hybrid|dense|sparse JOB.json

Indexes through the real pipeline (folder source, jobs, sandboxed parser processes, chunker, embedder, catalogue,
index) and searches through the real search path, with the access filter and the second check in the catalogue.
The search process opens the desk with its workers, ready to take documents in.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.machine import used_cpu_s
from benchmarks.rivals.contract import LATENCY_HITS, RANKED_DOCUMENTS, count_tokens, measure_search
from ingest.ports import DocumentStore
from retrieval.query import Query, SearchMode
from retrieval.search import MAX_QUERY_CHARS
from retrieval.settings import load_settings
from serving.cli.beir import RetrievalSet, read_set
from serving.cli.measuring import ingest, owner_of
from serving.embedded import open_embedded

_PACKAGES = ("refdesk", "onnxruntime", "qdrant-edge-py", "llama-index-core")


def main() -> None:
    """Run one stage. `job["set"]` is the folder of the set, markup and all."""
    stage, mode, job_file = sys.argv[1:4]
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    read = read_set(Path(job["set"]))
    if stage == "warm":
        with open_embedded(load_settings(data=Path(job["state"]))):
            found: dict[str, Any] = {}
    else:
        found = _index(read, job) if stage == "index" else _search(read, SearchMode(mode), job)
    Path(job["result"]).write_text(json.dumps(found), encoding="utf-8")


def _index(read: RetrievalSet, job: dict[str, Any]) -> dict[str, Any]:
    state = Path(job["state"])
    with open_embedded(load_settings(data=state)) as embedded:
        ready_s = time.monotonic() - job["began"]
        cpu = used_cpu_s()
        ingested = ingest(embedded.desk, read, state.parent / "documents", lambda *_: None)
        cpu_s = used_cpu_s() - cpu
        tokens = count_tokens(_embedded_texts(embedded.toolbox.store), Path(job["model"]))
    (state.parent / "ids.json").write_text(json.dumps(dict(ingested.ids)), encoding="utf-8")
    return {
        "versions": {name: version(name) for name in _PACKAGES},
        "ready_s": ready_s,
        "index_s": ingested.seconds,
        "cpu_s": cpu_s,
        "n_documents": ingested.n_documents,
        "failures": dict(ingested.failures),
        **tokens,
    }


def _search(read: RetrievalSet, mode: SearchMode, job: dict[str, Any]) -> dict[str, Any]:
    state = Path(job["state"])
    ids = json.loads((state.parent / "ids.json").read_text(encoding="utf-8"))
    queries = {query: read.queries[query][:MAX_QUERY_CHARS] for query in read.judgements}
    with open_embedded(load_settings(data=state)) as embedded:
        desk, owner = embedded.desk, owner_of(embedded.desk)

        def ranked(text: str, limit: int) -> list[tuple[str, float]]:
            hits = desk.search.search(Query(text, limit=limit, mode=mode), owner).hits
            return [(ids[hit.passage.external_id], hit.score) for hit in hits]

        return measure_search(
            queries,
            began=job["began"],
            rank=lambda text: ranked(text, RANKED_DOCUMENTS),
            search=lambda text: ranked(text, LATENCY_HITS),
        )


def _embedded_texts(store: DocumentStore) -> Iterator[str]:
    ids = sorted(store.live_chunk_ids())
    for start in range(0, len(ids), 500):
        yield from (chunk.text for chunk in store.live_chunks(ids[start : start + 500]))


if __name__ == "__main__":
    main()

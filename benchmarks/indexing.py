"""Indexes a folder through the whole desk and tells rates, failures and peak memory.

usage: python -m benchmarks.indexing [FOLDER] [--data STATE] [--ask QUESTION …]

Memory is sampled over the whole process tree, parser processes included: PSS counts a page that several
processes share once, RSS counts it for each of them. Without FOLDER the sample handbook is taken.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.query import Query
from retrieval.settings import load_settings
from serving.answer import AnswerMode, Question
from serving.desk import Desk
from serving.embedded import open_embedded, request_docs_sync

SAMPLE = Path(__file__).parent.parent / "sample" / "handbook"


class TreeMemory(threading.Thread):
    """Samples this process and its children four times a second. `pss` and `rss` are peaks, MB (10^6)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.pss = self.rss = 0.0
        self.stopped = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        root = psutil.Process()
        while not self.stopped.wait(0.25):
            pss = rss = 0
            for process in (root, *root.children(recursive=True)):
                try:
                    info = process.memory_full_info()
                except psutil.Error:
                    continue
                pss, rss = pss + info.pss, rss + info.rss
            self.pss, self.rss = max(self.pss, pss / 1e6), max(self.rss, rss / 1e6)


def main() -> None:
    """Index, measure, print one JSON object."""
    arguments = _arguments()
    memory = TreeMemory()
    memory.start()
    with tempfile.TemporaryDirectory() as scratch:
        settings = load_settings(data=arguments.data or Path(scratch), docs=arguments.folder)
        with open_embedded(settings) as embedded:
            desk, owner = embedded.desk, Principal(UserId(settings.owner))
            began = time.perf_counter()
            request_docs_sync(settings, desk)
            while desk.jobs.unfinished():
                time.sleep(0.05)
            spent = time.perf_counter() - began
            n_chunks = embedded.toolbox.indexer.active().count()
            report = _report(desk, owner, spent, n_chunks)
            report["answers"] = [_ask(desk, owner, question) for question in arguments.ask]
            report["search_ms"] = _search_ms(desk, owner)
    memory.stopped.set()
    report |= {"peak_pss_mb": round(memory.pss), "peak_rss_mb": round(memory.rss)}
    print(json.dumps(report, indent=1, ensure_ascii=False))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--ask", nargs="*", default=[])
    return parser.parse_args()


def _report(desk: Desk, owner: Principal, spent: float, n_chunks: int) -> dict[str, object]:
    narrow = DocumentFilter()
    states = desk.corpus.count_by_state(owner, narrow)
    documents = desk.corpus.documents(owner, narrow, after=None, limit=100_000)
    kinds = Counter((d.error_code, Path(d.external_id).suffix or "(none)") for d in documents if d.error_code)
    return {
        "states": states,
        "failures": {f"{code} {kind}": count for (code, kind), count in kinds.most_common()},
        "seconds": round(spent, 1),
        "documents_per_s": round(sum(states.values()) / spent, 2),
        "live_documents_per_s": round(states.get("live", 0) / spent, 2),
        "chunks": n_chunks,
        "chunks_per_s": round(n_chunks / spent, 2),
    }


def _ask(desk: Desk, owner: Principal, text: str) -> dict[str, object]:
    began = time.perf_counter()
    answer = desk.answering.answer(Question(text, owner, mode=AnswerMode.EXTRACTIVE, request_id="benchmark"))
    first = answer.citations[0].hit.passage if answer.citations else None
    return {
        "question": text,
        "answer": answer.text,
        "document": first and first.external_id,
        "page": first and first.page,
        "heading_path": first and list(first.heading_path),
        "ms": round((time.perf_counter() - began) * 1000),
    }


def _search_ms(desk: Desk, owner: Principal) -> dict[str, float]:
    queries = (
        "vacation days",
        "how do I report a security incident",
        "travel expenses",
        "who approves an offer",
    )
    spent = []
    for query in queries * 10:
        began = time.perf_counter()
        desk.search.search(Query(query), owner)
        spent.append((time.perf_counter() - began) * 1000)
    spent.sort()
    return {"p50": round(spent[len(spent) // 2], 1), "p95": round(spent[int(len(spent) * 0.95)], 1)}


if __name__ == "__main__":
    main()

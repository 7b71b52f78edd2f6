"""Indexes a folder, swaps its content for a newer state, and tells what the re-sync costs.

usage: python -m benchmarks.resync OLD NEW [CHANGES.tsv] [--data STATE] [--below FOLDER] [--moves N]

OLD and NEW are two states of one folder; a copy is made of OLD and changed in place, file by file, so that what
did not change keeps its times. CHANGES.tsv (`status`, `path`; A, D or M) is compared with what was parsed; without
it the two states are compared by content. With --below only that part of both is taken.
"""

from __future__ import annotations

import argparse
import csv
import filecmp
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.document import Extraction
from ingest.pipeline import Pipeline
from ingest.ports import FoundDocument
from retrieval.access import Principal, UserId
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.corpus import Document
from retrieval.jobs import Job, JobKind
from retrieval.query import Query, SearchFilters
from retrieval.settings import load_settings
from serving.desk import Desk
from serving.embedded import docs_source, open_embedded

OWNER = "local"


class Counts:
    """What was parsed and embedded since it was last asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parsed: set[str] = set()
        self._n_embedded = 0

    def take(self) -> tuple[set[str], int]:
        """External ids of parsed documents and number of embedded texts; back to none."""
        with self._lock:
            taken = self._parsed, self._n_embedded
            self._parsed, self._n_embedded = set(), 0
            return taken

    def watch(self) -> None:
        """Count what the pipeline parses and the model embeds in this process, on the way to the real ones."""
        extract, embed = Pipeline._extract, OnnxEmbedder.embed_documents

        def counting_extract(
            pipeline: Pipeline, document: Document, content: bytes
        ) -> tuple[Extraction, list[FoundDocument]]:
            with self._lock:
                self._parsed.add(document.external_id)
            return extract(pipeline, document, content)

        def counting_embed(embedder: OnnxEmbedder, texts: Sequence[str]) -> NDArray[np.float32]:
            with self._lock:
                self._n_embedded += len(texts)
            return embed(embedder, texts)

        Pipeline._extract = counting_extract  # type: ignore[method-assign, assignment]  # to count calls
        OnnxEmbedder.embed_documents = counting_embed  # type: ignore[method-assign, assignment]  # as above


@dataclass(frozen=True)
class Bench:
    """A desk over the copy, and what it does."""

    desk: Desk
    docs: Path
    counts: Counts

    def sync(self) -> tuple[Job, dict[str, Any]]:
        """Sync the copy whole and wait for its documents; the job, and what it took."""
        source = self.desk.corpus.every_source()[0]
        began = time.perf_counter()
        request = JobRequest(
            JobKind.SYNC, OWNER, "benchmark", source_id=source.id, parameters={"confirm_deletions": True}
        )
        job = self.desk.jobs.accept(request)
        while self.desk.jobs.unfinished():
            time.sleep(0.02)
        spent = time.perf_counter() - began
        parsed, n_embedded = self.counts.take()
        job = self.desk.jobs.job(job.id)
        taken = {"seconds": round(spent, 2), "parsed": len(parsed), "texts_embedded": n_embedded}
        return job, {**taken, **job.report, "parsed_ids": parsed}

    def live(self) -> set[str]:
        """External ids of live documents."""
        narrow = DocumentFilter(state="live")
        found = self.desk.corpus.documents(Principal(UserId(OWNER)), narrow, after=None, limit=100_000)
        return {document.external_id for document in found}

    def finds(self, words: str, external_id: str) -> bool:
        """Whether a search for words finds a document by its path."""
        query = Query(words, limit=10, filters=SearchFilters(path_prefix=external_id))
        return bool(self.desk.search.search(query, Principal(UserId(OWNER))).hits)


def main() -> None:
    """Index, swap, sync, measure, print one JSON object."""
    arguments = _arguments()
    old, new = arguments.old / arguments.below, arguments.new / arguments.below
    counts = Counts()
    counts.watch()
    with tempfile.TemporaryDirectory(dir=arguments.data) as scratch:
        docs = Path(scratch) / "docs"
        shutil.copytree(old, docs)
        settings = load_settings(data=Path(scratch) / "state", docs=docs, owner=OWNER)
        with open_embedded(settings) as embedded:
            docs_source(settings, embedded.desk)
            report = measure(Bench(embedded.desk, docs, counts), new, arguments)
        with open_embedded(settings, watch=True) as embedded:
            report["watcher"] = _edit(Bench(embedded.desk, docs, counts))
    print(json.dumps(report, indent=1, ensure_ascii=False))


def measure(bench: Bench, new: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """First run, unchanged re-sync, change to the newer state, moves."""
    _, first = bench.sync()
    live_before = bench.live()
    unchanged = min((bench.sync()[1] for _ in range(3)), key=lambda taken: float(taken["seconds"]))
    changed, deleted = _swap(bench.docs, new)
    listed = _listed(arguments.changes, arguments.below) if arguments.changes else (changed, deleted)
    _, update = bench.sync()
    parsed = update["parsed_ids"]
    hidden = {path for path in listed[0] if any(part.startswith(".") for part in Path(path).parts)}
    moved = _move(bench, arguments.moves)
    return {
        "first": _printable(first),
        "unchanged": {
            **_printable(unchanged),
            "share_of_first": round(unchanged["seconds"] / first["seconds"], 4),
        },
        "update": {
            **_printable(update),
            "share_of_first": round(update["seconds"] / first["seconds"], 3),
            "changed_by_list": len(listed[0]),
            "deleted_by_list": len(listed[1]),
            "changed_by_content": len(changed),
            "parsed_but_unchanged": sorted(parsed - changed),
            "parsed_but_not_on_list": sorted(parsed - listed[0])[:20],
            "on_list_but_not_parsed": sorted(listed[0] - parsed - hidden)[:20],
            "hidden_files_on_list": len(hidden),
            "deleted_but_live": sorted(listed[1] & bench.live())[:20],
            "deleted_but_found": [
                path for path in sorted(listed[1] & live_before) if bench.finds(path, path)
            ],
        },
        "moved": moved,
    }


def _swap(docs: Path, new: Path) -> tuple[set[str], set[str]]:
    """Change the copy into the newer state; what was written, and what was deleted."""
    before = {str(path.relative_to(docs)) for path in docs.rglob("*") if path.is_file()}
    after = {str(path.relative_to(new)) for path in new.rglob("*") if path.is_file()}
    written = {
        path
        for path in after
        if path not in before or not filecmp.cmp(docs / path, new / path, shallow=False)
    }
    for path in before - after:
        (docs / path).unlink()
    for path in written:
        (docs / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(new / path, docs / path)
    return written, before - after


def _listed(changes: Path, below: str) -> tuple[set[str], set[str]]:
    """Paths that a change list says were added or modified, and deleted, relative to the part taken."""
    prefix = f"{below}/" if below not in ("", ".") else ""
    changed: set[str] = set()
    deleted: set[str] = set()
    with changes.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["path"].startswith(prefix):
                (deleted if row["status"] == "D" else changed).add(row["path"].removeprefix(prefix))
    return changed, deleted


def _move(bench: Bench, n_moves: int) -> dict[str, Any]:
    """Move documents to another folder, then rename as many; their bytes stay."""
    live = sorted(bench.live())
    (bench.docs / "moved-here").mkdir()
    for path in live[:n_moves]:
        (bench.docs / path).rename(bench.docs / "moved-here" / path.replace("/", "--"))
    for path in live[:n_moves]:
        target = bench.docs / "moved-here" / path.replace("/", "--")
        folder = bench.docs / "moved-here" / str(Path(path).parent).replace("/", "--")
        folder.mkdir(exist_ok=True)
        target.rename(folder / Path(path).name)
    _, moved = bench.sync()
    renamed_from = sorted(path for path in bench.live() if path.startswith("moved-here/"))
    for path in renamed_from:
        (bench.docs / path).rename(bench.docs / Path(path).parent / f"renamed-{Path(path).name}")
    _, renamed = bench.sync()
    return {"to_another_folder": _printable(moved), "to_another_name": _printable(renamed)}


def _edit(bench: Bench) -> dict[str, Any]:
    """Seconds from saving one file to finding its new words, five times, on a desk that is at rest."""
    _until(lambda: not bench.desk.jobs.unfinished(), 120)
    time.sleep(15)  # a desk that has just started warms its parser first
    path = next(path for path in sorted(bench.live()) if path.endswith(".md"))
    spent = []
    for number in range(5):
        word = f"zyxomma{number}quux"
        with (bench.docs / path).open("a", encoding="utf-8") as file:
            file.write(f"\n\nThe codeword of the day is {word}.\n")
        spent.append(round(_until(partial(_holds, bench, word, path), 60), 2))
    return {"seconds_from_edit_to_found": spent, "worst": max(spent)}


def _holds(bench: Bench, word: str, path: str) -> bool:
    query = Query(word, limit=20, filters=SearchFilters(path_prefix=path))
    hits = bench.desk.search.search(query, Principal(UserId(OWNER))).hits
    return any(word in hit.passage.text for hit in hits)


def _until(condition: Callable[[], bool], seconds: float) -> float:
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > seconds:
            raise TimeoutError("it does not come")
        time.sleep(0.02)
    return time.perf_counter() - began


def _printable(taken: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in taken.items() if name != "parsed_ids"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("changes", type=Path, nargs="?")
    parser.add_argument("--data", type=Path, help="Folder for the copy and the state.")
    parser.add_argument("--below", default=".", help="Only this part of both states.")
    parser.add_argument("--moves", type=int, default=20, help="Documents to move and to rename.")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""One stage at one size, in a process of its own.

    python -m benchmarks.size.run index|search|recall CONFIG JOB.json

JOB names `state`, `n_chunks`, `seed`, `began` and `result`. `index` takes the documents in through the real
pipeline, with made vectors (`vectors.py`). `search` times searches in process and through HTTP, by a reader of
everything and by one who may read 0.1 % of it, alone and while more documents are being indexed, those with the
real model at work. `recall` compares the index's dense leg with exact search over the same vectors.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import uvicorn

from benchmarks.machine import used_cpu_s
from benchmarks.rivals.stages import size_mb
from benchmarks.size.corpus import SECTIONS, MadeCorpus, sample_corpus
from benchmarks.size.vectors import open_made_corpus
from retrieval.access import Principal, PrincipalId, UserId, filter_for
from retrieval.adapters.qdrant_edge import QdrantEdgeIndex
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import SourceId
from retrieval.jobs import JobKind
from retrieval.metrics import percentile
from retrieval.ports import IndexQuery
from retrieval.query import Query, SearchMode
from retrieval.settings import load_settings
from retrieval.wiring import utc_now
from serving.desk import Desk
from serving.embedded import EmbeddedDesk, open_embedded
from serving.http.app import create_app
from serving.http.listening import open_listener
from serving.limits import UNLIMITED

_SOURCE = SourceId("made")
_STAFF, _FEW = PrincipalId("group:staff"), PrincipalId("group:few")
_READER = Principal(UserId("reader"), frozenset({_STAFF, _FEW}))
_GUEST = Principal(UserId("guest"), frozenset({_FEW}))
_GUEST_SHARE = 0.001
_SEARCHES = 200
_PER_FOLDER = 500
_MORE_DOCUMENTS = 500
_PAUSE_S = 0.05
_RECALL_K = 10
_LOOKUP = 1000


@dataclass(frozen=True, slots=True)
class Job:
    """What a stage is handed."""

    state: Path
    n_chunks: int
    corpus: MadeCorpus

    @property
    def n_documents(self) -> int:
        """Documents that give so many chunks."""
        return max(self.n_chunks // SECTIONS, 1)

    @property
    def documents(self) -> Path:
        """Folder of the made files."""
        return self.state.parent / "documents"

    def questions(self) -> list[str]:
        """As many as are asked, one more to begin with."""
        return [self.corpus.question(number, self.n_documents) for number in range(_SEARCHES + 1)]


def main() -> None:
    """Run one stage."""
    stage, _, job_file = sys.argv[1:4]
    given = json.loads(Path(job_file).read_text(encoding="utf-8"))
    job = Job(Path(given["state"]), int(given["n_chunks"]), sample_corpus(int(given["seed"])))
    stages: dict[str, Callable[[Job, float], dict[str, Any]]] = {
        "index": _index,
        "search": _search,
        "recall": _recall,
    }
    found = stages[stage](job, given["began"])
    Path(given["result"]).write_text(json.dumps(found), encoding="utf-8")


def write_documents(job: Job, first: int, last: int) -> None:
    """Write documents by number into folders of 500; the first 0.1 %, at least one, lie where guests may read."""
    n_few = max(round(job.n_documents * _GUEST_SHARE), 1)
    for name, group in (("few", "few"), ("all", "staff")):
        folder = job.documents / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".refdesk.toml").write_text(f'[acl]\nallow = ["group:{group}"]\n', encoding="utf-8")
    for number in range(first, last):
        parent = job.documents / ("few" if number < n_few else f"all/{number // _PER_FOLDER:04d}")
        parent.mkdir(exist_ok=True)
        (parent / f"{number:06d}.md").write_text(job.corpus.document(number), encoding="utf-8")


def _index(job: Job, _: float) -> dict[str, Any]:
    write_documents(job, 0, job.n_documents)
    with _opened(job, spends=False) as embedded:
        SqlSources(embedded.desk.database, utc_now).create(
            _SOURCE, name="made", kind="folder", location=str(job.documents), owner=UserId("nobody")
        )
        began, cpu = time.perf_counter(), used_cpu_s()
        done = _sync(embedded.desk)
        seconds, cpu_s = time.perf_counter() - began, used_cpu_s() - cpu
        n_chunks = embedded.toolbox.indexer.active().count()
        n_live = _live(embedded.desk)
        most = load_settings(data=job.state).index_optimise_above
        began = time.perf_counter()
        _wait_until_optimised(embedded.desk, most)
        optimise_s = time.perf_counter() - began if n_chunks > most else 0.0
    return {
        "n_documents": n_live,
        "n_chunks": n_chunks,
        "index_s": seconds,
        "chunks_per_s": n_chunks / seconds,
        "chunks_per_cpu_s": n_chunks / cpu_s,
        "late_rate_share": late_rate_share(done),
        "optimise_s": optimise_s,
        "disk_mb": size_mb(job.state),
        "index_disk_mb": size_mb(job.state / "indexes"),
    }


def _wait_until_optimised(desk: Desk, most: int) -> None:
    """Optimise until at most so many points lie outside optimised segments: the desk has begun by itself."""
    while True:
        with desk.indexes.answering() as opened:
            assert isinstance(opened.index, QdrantEdgeIndex)
            if opened.index.n_unoptimised() <= most:
                return
        if not desk.indexes.optimise(is_stopped=lambda: False):
            time.sleep(_PAUSE_S)  # the desk's own optimisation is under way


def late_rate_share(done: Sequence[tuple[float, int]]) -> float:
    """Rate over the last quarter of the documents divided by the rate over all; 1 means that it stays flat.

    Args:
        done: Seconds since the start and documents live by then, ascending; at least two entries.

    >>> late_rate_share([(0.0, 0), (1.0, 50), (1.5, 75), (3.0, 100)])
    0.5
    """
    total_s, total = done[-1]
    at, count = next(each for each in done if each[1] >= 0.75 * total)
    late = (total - count) / (total_s - at) if total_s > at else total / total_s
    return late / (total / total_s)


def _sync(desk: Desk) -> list[tuple[float, int]]:
    """Sync the folder and wait for its documents; seconds and live documents, twice a second."""
    began = time.perf_counter()
    desk.jobs.accept(JobRequest(JobKind.SYNC, "nobody", "benchmark", source_id=_SOURCE))
    done = [(0.0, 0)]
    while desk.jobs.unfinished():
        time.sleep(0.5)
        done.append((time.perf_counter() - began, _live(desk)))
    return [*done, (time.perf_counter() - began, _live(desk))]


def _live(desk: Desk) -> int:
    return desk.corpus.count_by_state(_READER, DocumentFilter(source_id=_SOURCE)).get("live", 0)


def _search(job: Job, process_began: float) -> dict[str, Any]:
    questions = job.questions()
    with _opened(job, spends=True) as embedded:
        desk = embedded.desk
        desk.search.search(Query(questions[0]), _READER)
        found: dict[str, Any] = {
            "cold_start_s": time.monotonic() - process_began,
            "idle_mb": psutil.Process().memory_full_info().pss / 2**20,
        }
        for name, principal in (("reader", _READER), ("guest", _GUEST)):
            for mode in SearchMode:
                asks = partial(_ask, desk, principal, mode)
                found[f"{name}_{mode.value}"] = timed(asks, questions)
        for name, principal in (("reader", _READER), ("guest", _GUEST)):
            desk.directory.put_user(principal.user_id, name=name, groups=principal.groups)
        with _served(desk) as client:
            found["http"] = timed(partial(_post, client), questions)
            found["http_while_indexing"] = _timed_while_indexing(job, desk, client, questions)
    return found


def timed(ask: Callable[[str], object], questions: Sequence[str]) -> dict[str, float]:
    """Percentiles of single calls, ms, the first one not counted, and calls per second of processor time."""
    ask(questions[0])
    taken, cpu = [], time.process_time()
    for question in questions[1:]:
        began = time.perf_counter()
        ask(question)
        taken.append((time.perf_counter() - began) * 1000)
    cpu_s = time.process_time() - cpu
    return {
        "p50_ms": percentile(taken, 0.5),
        "p95_ms": percentile(taken, 0.95),
        "per_cpu_s": len(taken) / cpu_s,
    }


def _ask(desk: Desk, principal: Principal, mode: SearchMode, question: str) -> None:
    desk.search.search(Query(question, mode=mode), principal)


def _post(client: httpx.Client, question: str) -> None:
    client.post("/api/v1/search", json={"query": question}).raise_for_status()


def _timed_while_indexing(
    job: Job, desk: Desk, client: httpx.Client, questions: Sequence[str]
) -> dict[str, float]:
    """Percentiles of searches while up to 500 more documents are taken in, twenty a second at most."""
    n_more = min(_MORE_DOCUMENTS, job.n_documents)
    write_documents(job, job.n_documents, job.n_documents + n_more)
    syncing = threading.Thread(target=_sync, args=(desk,), name="sync")
    syncing.start()
    taken: list[float] = []
    while syncing.is_alive():
        began = time.perf_counter()
        _post(client, questions[len(taken) % len(questions)])
        taken.append((time.perf_counter() - began) * 1000)
        time.sleep(_PAUSE_S)
    syncing.join()
    return {"p50_ms": percentile(taken, 0.5), "p95_ms": percentile(taken, 0.95), "n_searches": len(taken)}


def _recall(job: Job, _: float) -> dict[str, Any]:
    """Recall@10 of the index's dense leg against exact search, for the reader and the guest."""
    with _opened(job, spends=False) as embedded, embedded.desk.indexes.answering() as opened:
        ids = sorted(opened.index.chunk_ids())
        parts, is_few = [], []
        for start in range(0, len(ids), _LOOKUP):
            batch = ids[start : start + _LOOKUP]
            vectors, passages = opened.index.dense_of(batch), embedded.desk.corpus.passages(batch)
            parts.append(np.stack([vectors[each] for each in batch]))
            is_few += [passages[each].external_id.startswith("few/") for each in batch]
        matrix, few = np.concatenate(parts), np.array(is_few)
        found = {}
        for name, principal, rows in (("reader", _READER, slice(None)), ("guest", _GUEST, few)):
            shares = []
            mine = np.array(ids)[rows]
            for question in job.questions():
                asked = opened.encoders.embedder.embed_query(question)
                exact = set(mine[np.argsort(-(matrix[rows] @ asked), kind="stable")[:_RECALL_K]])
                query = IndexQuery(
                    access=filter_for(principal, outdated=()),
                    dense=asked,
                    sparse=opened.encoders.sparse.encode_query(question),
                    depth=_RECALL_K,
                    mode=SearchMode.DENSE,
                )
                given = {hit.chunk_id for hit in opened.index.search(query).dense}
                shares.append(len(exact & given) / max(len(exact), 1))
            found[f"{name}_recall"] = sum(shares) / len(shares)
    return found


@contextmanager
def _opened(job: Job, *, spends: bool) -> Iterator[EmbeddedDesk]:
    opener = partial(open_made_corpus, spends=spends)
    with open_embedded(load_settings(data=job.state), opener=opener) as embedded:
        yield embedded


@contextmanager
def _served(desk: Desk) -> Iterator[httpx.Client]:
    """A client that acts for the reader, of the desk's application on a free port of this machine."""
    app = create_app(desk, limits=UNLIMITED)
    with open_listener("127.0.0.1") as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.02)
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        headers = {"X-Refdesk-User": _READER.user_id}
        try:
            with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(timeout=10)


if __name__ == "__main__":
    main()

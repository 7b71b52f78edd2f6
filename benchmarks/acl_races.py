"""Races changes of access lists against searches, and changes the list of a large document under search.

usage: python -m benchmarks.acl_races [--races N] [--chunks N] [--changes N]

Catalogue, index, search, and the writing of access lists are the real ones; vectors are made from hashes, since
what they say does not matter here. In each race a reader loses a document while searching for it. A hit counts
as stale when the catalogue was asked about it after the change had been committed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.document import ChunkDraft, ParsedDocument
from ingest.ports import IndexableChunk, StagedChunk, StagedVersion
from retrieval.access import Acl, Principal, PrincipalId, UserId
from retrieval.adapters.sql.corpus import SqlCorpus
from retrieval.adapters.sql.sources import SqlSources
from retrieval.adapters.sql.upkeep import PushedDocument, SqlUpkeep
from retrieval.corpus import (
    ChunkId,
    DocumentId,
    Passage,
    SourceId,
    chunk_id_for,
    content_hash,
    version_id_for,
)
from retrieval.indexes import Encoders
from retrieval.ports import Embedding
from retrieval.query import Query, SearchFilters, SearchMode
from retrieval.search import MAX_LIMIT, Search, SearchSettings
from retrieval.sections import Place
from retrieval.settings import load_settings
from retrieval.wiring import Corpus, indexes_of, open_corpus, presence_of, utc_now
from workers.settings import WorkerSettings
from workers.tasks import Toolbox
from workers.wiring import open_toolbox

_DIMENSION = 64
_SOURCE = SourceId("races")
_OWNER = UserId("owner")
_READERS = ("ada", "bob")
_WORDS = "expense claims are settled within thirty days of the journey"


class HashedEmbedder:
    """Implements `Embedder` from hashes, and counts the texts that it is given."""

    fingerprint = "hashed"
    dimension = _DIMENSION
    languages: frozenset[str] = frozenset()

    def __init__(self) -> None:
        """Start counting."""
        self.n_texts = 0

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        self.n_texts += len(texts)
        return self.embed_texts(texts)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_texts`."""
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Embedding:
        """See `Embedder.embed_query`."""
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
        vector = np.random.default_rng(seed).standard_normal(_DIMENSION).astype(np.float32)
        return vector / np.linalg.norm(vector)


class TimedCorpus:
    """Implements `CorpusReader`; notes when the catalogue was last asked, by thread."""

    def __init__(self, corpus: SqlCorpus) -> None:
        """Ask `corpus`."""
        self._corpus = corpus
        self._asked = threading.local()

    def asked_at(self) -> float:
        """When this thread's last question began, monotonic seconds."""
        return float(self._asked.at)

    def passages(self, chunk_ids: Iterable[ChunkId]) -> dict[ChunkId, Passage]:
        """See `CorpusReader.passages`."""
        ids = list(chunk_ids)
        self._asked.at = time.monotonic()
        return self._corpus.passages(ids)

    def outdated_sources(self) -> frozenset[SourceId]:
        """See `CorpusReader.outdated_sources`."""
        return self._corpus.outdated_sources()

    def readable(self, document_ids: Collection[DocumentId], principal: Principal) -> frozenset[DocumentId]:
        """See `CorpusReader.readable`."""
        return self._corpus.readable(document_ids, principal)


@dataclass(frozen=True)
class RaceReport:
    """`overlapped`: races in which a search still showed the document, rightly, as its check came first."""

    races: int
    searches: int
    stale: int
    overlapped: int
    lost_after: int
    seconds: float


@dataclass(frozen=True)
class MixReport:
    """`mixed`: searches that showed a part of the passages only; `sizes` says of which number how often."""

    chunks: int
    changes: int
    searches: int
    mixed: int
    embedded: int
    sizes: dict[int, int]
    apply_ms_median: float


@dataclass
class Bench:
    """A catalogue and an index, without a queue."""

    corpus: Corpus
    toolbox: Toolbox
    embedder: HashedEmbedder
    reader: TimedCorpus
    search: Search

    def put(self, name: str, n_chunks: int, reader: str) -> DocumentId:
        """Bring in a document of as many chunks that one reader may read."""
        source = self.toolbox.store.source(_SOURCE)
        pushed = PushedDocument(
            source, name, name, "", (), name, 1, utc_now(), "", _acl(reader)
        )  # the bytes are made up, so nothing is stored
        upkeep = SqlUpkeep(self.corpus.database, utc_now)
        job = upkeep.push(pushed, requested_by=_OWNER, store_content=lambda: None)
        lease = self.toolbox.jobs.claim(job.id, lease_s=600)
        assert lease is not None
        assert job.document_id is not None
        version = _version(job.document_id, name, n_chunks)
        self.toolbox.store.stage(lease, version)
        chunks = [
            IndexableChunk(each.chunk_id, job.document_id, each.draft.text, "en", Place())
            for each in version.chunks
        ]
        written = self.toolbox.indexer.write(self.toolbox.store.index_target(job.document_id), chunks, {})
        self.toolbox.store.publish(lease, version.version_id, written=written)
        self.toolbox.indexer.apply_access([job.document_id])
        return job.document_id

    def share(self, document_id: DocumentId, reader: str) -> None:
        """Let one reader read a document, and nobody else; returns when that is committed."""
        SqlUpkeep(self.corpus.database, utc_now).set_acl(document_id, _acl(reader), requested_by=_OWNER)

    def hits(self, reader: str, document_id: DocumentId, limit: int = MAX_LIMIT) -> int:
        """Number of passages of a document that a search by a reader shows, at most `limit`."""
        query = Query(
            _WORDS,
            limit=limit,
            filters=SearchFilters(documents=(document_id,)),
            group_by_document=False,
            mode=SearchMode.DENSE,
        )
        return len(self.search.search(query, Principal(UserId(reader))).hits)


@contextmanager
def open_bench(folder: Path) -> Iterator[Bench]:
    """An empty desk in a folder."""
    settings = load_settings(data=folder)
    embedder = HashedEmbedder()
    with ExitStack() as stack:
        opened = stack.enter_context(open_corpus(settings))
        indexes = indexes_of(settings, opened.database, [Encoders(embedder, opened.sparse)])
        stack.callback(indexes.close)
        corpus = replace(opened, embedder=embedder, indexes=indexes)
        toolbox = stack.enter_context(open_toolbox(settings, corpus, WorkerSettings()))
        sources = SqlSources(corpus.database, utc_now)
        sources.create(_SOURCE, name=_SOURCE, kind="push", location="", owner=_OWNER)
        reader = TimedCorpus(SqlCorpus(corpus.database, presence_of(settings, utc_now)))
        search = Search(corpus=reader, answering=indexes.answering, settings=SearchSettings())
        yield Bench(corpus, toolbox, embedder, reader, search)


def race(bench: Bench, races: int) -> RaceReport:
    """Take a document from one reader and give it to another, while the first one searches for it."""
    document_id = bench.put("raced", 3, _READERS[0])
    began = time.monotonic()
    searches = stale = overlapped = lost_after = 0
    for number in range(races):
        loser, winner = _READERS[number % 2], _READERS[(number + 1) % 2]
        seen: list[tuple[float, int]] = []
        committed = threading.Event()
        searcher = threading.Thread(target=_search_until, args=(bench, loser, document_id, committed, seen))
        searcher.start()
        while not seen:  # the race begins with a search under way
            time.sleep(0.0002)
        bench.share(document_id, winner)
        committed_at = time.monotonic()
        committed.set()
        searcher.join()
        late = [hits for asked_at, hits in seen if asked_at > committed_at]
        searches += len(seen)
        stale += sum(hits > 0 for hits in late)
        overlapped += seen[0][1] > 0
        lost_after += bool(late) and late[-1] == 0
        bench.toolbox.indexer.apply_access([document_id])
    return RaceReport(races, searches, stale, overlapped, lost_after, round(time.monotonic() - began, 1))


def change_large_document(bench: Bench, n_chunks: int, changes: int) -> MixReport:
    """Move a large document between two readers while both search for it without pause."""
    document_id = bench.put("large", n_chunks, _READERS[0])
    embedded_before = bench.embedder.n_texts
    stopped = threading.Event()
    sizes: list[list[int]] = [[] for _ in _READERS]
    threads = [
        threading.Thread(target=_collect, args=(bench, reader, document_id, stopped, found))
        for reader, found in zip(_READERS, sizes, strict=True)
    ]
    for thread in threads:
        thread.start()
    spent_ms = []
    for number in range(changes):
        bench.share(document_id, _READERS[(number + 1) % 2])
        time.sleep(0.02)  # searches meet the old list in the index and the new one in the catalogue
        began = time.perf_counter()
        bench.toolbox.indexer.apply_access([document_id])
        spent_ms.append((time.perf_counter() - began) * 1000)
        time.sleep(0.02)
    stopped.set()
    for thread in threads:
        thread.join()
    counted = [size for found in sizes for size in found]
    return MixReport(
        chunks=n_chunks,
        changes=changes,
        searches=len(counted),
        mixed=sum(size not in (0, min(n_chunks, MAX_LIMIT)) for size in counted),
        embedded=bench.embedder.n_texts - embedded_before,
        sizes={size: counted.count(size) for size in sorted(set(counted))},
        apply_ms_median=round(float(np.median(spent_ms)), 1),
    )


def _search_until(
    bench: Bench,
    reader: str,
    document_id: DocumentId,
    committed: threading.Event,
    seen: list[tuple[float, int]],
) -> None:
    """Search without pause until the change is committed, and once more."""
    while True:
        is_last = committed.is_set()
        hits = bench.hits(reader, document_id, limit=3)
        seen.append((bench.reader.asked_at(), hits))
        if is_last:
            return


def _collect(
    bench: Bench, reader: str, document_id: DocumentId, stopped: threading.Event, found: list[int]
) -> None:
    while not stopped.is_set():
        found.append(bench.hits(reader, document_id))


def _acl(reader: str) -> Acl:
    return Acl(_OWNER, frozenset({PrincipalId(f"user:{reader}")}), frozenset())


def _version(document_id: DocumentId, name: str, n_chunks: int) -> StagedVersion:
    hashed = content_hash(name.encode())
    version_id = version_id_for(document_id, hashed, "races", "1")
    texts = [f"{_WORDS}, case {number}" for number in range(n_chunks)]
    drafts = [ChunkDraft(n, 0, len(text), text, (), None, "", 12) for n, text in enumerate(texts)]
    return StagedVersion(
        version_id=version_id,
        document_id=document_id,
        content_hash=hashed,
        recipe="races",
        document=ParsedDocument("text/plain", name, "\n\n".join(texts), ()),
        size_bytes=1,
        chunks=tuple(
            StagedChunk(chunk_id_for(document_id, version_id, draft.position), draft, 12) for draft in drafts
        ),
        reason="races",
        requested_by=_OWNER,
    )


def main() -> None:
    """Run both and print what came of them as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--chunks", type=int, default=5_000)
    parser.add_argument("--changes", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_bench(Path(folder)) as bench:
        mixes = change_large_document(bench, given.chunks, given.changes)
        print(json.dumps(asdict(mixes)), flush=True)
        print(json.dumps(asdict(race(bench, given.races))), flush=True)


if __name__ == "__main__":
    main()

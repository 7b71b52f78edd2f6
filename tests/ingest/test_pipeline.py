"""One document's way in, with real parts: nothing is done twice, versions replace one another, deletions last."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from celery import Celery
from numpy.typing import NDArray

from retrieval.access import Principal, PrincipalId, UserId
from retrieval.adapters.sql.corpus import DocumentFilter, SqlCorpus
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import Document, SourceId
from retrieval.indexes import Calibration, Encoders
from retrieval.jobs import PATHS, TASK_NAMES, JobKind
from retrieval.ports import Embedder, Embedding
from retrieval.query import Query
from retrieval.search import Search, SearchSettings
from retrieval.settings import load_settings
from retrieval.wiring import Corpus, indexes_of, open_corpus, utc_now
from tests.make import PRESENCE
from workers.queue import make_app
from workers.settings import WorkerSettings
from workers.tasks import Toolbox, register
from workers.wiring import open_toolbox

pytestmark = pytest.mark.timeout(300)

OLGA = Principal(UserId("olga"))
RULES = 'owner = "olga"\n[acl]\nallow = [{}]\n'


class CountingEmbedder:
    """An embedder that counts the documents' texts it is given."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.n_texts = 0

    @property
    def fingerprint(self) -> str:
        """See `Embedder.fingerprint`."""
        return self._embedder.fingerprint

    @property
    def languages(self) -> frozenset[str]:
        """See `Embedder.languages`."""
        return self._embedder.languages

    @property
    def dimension(self) -> int:
        """See `Embedder.dimension`."""
        return self._embedder.dimension

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        self.n_texts += len(texts)
        return self._embedder.embed_documents(texts)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_texts`."""
        return self._embedder.embed_texts(texts)

    def embed_query(self, text: str) -> Embedding:
        """See `Embedder.embed_query`."""
        return self._embedder.embed_query(text)


@dataclass
class Bench:
    """A folder, and the parts that index it without a queue."""

    docs: Path
    corpus: Corpus
    toolbox: Toolbox
    app: Celery
    embedder: CountingEmbedder

    def sync(self) -> dict[str, int]:
        """Sync the folder and work on every job at once; returns the counts of the sync."""
        self.toolbox.jobs.accept(JobRequest(JobKind.SYNC, "olga", "test", source_id=SourceId("s")))
        return self.sync_waiting()

    def sync_waiting(self) -> dict[str, int]:
        """Work on every job that waits; returns the counts of the newest sync."""
        (job,) = self.toolbox.jobs.jobs_of(source_id=SourceId("s"), limit=1)
        while messages := self.toolbox.jobs.unsent(limit=100):
            self.toolbox.jobs.mark_sent([message.id for message in messages])
            for message in messages:
                self.app.tasks[message.task](message.job_id)
        return {name: count for name, count in self.toolbox.jobs.job(job.id).report.items() if count}

    def documents(self, principal: Principal = OLGA) -> dict[str, Document]:
        """Readable documents by external id."""
        reader = SqlCorpus(self.corpus.database, PRESENCE)
        found = reader.documents(principal, DocumentFilter(), after=None, limit=100)
        return {document.external_id: document for document in found}

    def search(self, text: str, principal: Principal = OLGA) -> list[str]:
        """External ids of the hits."""
        search = Search(
            corpus=SqlCorpus(self.corpus.database, PRESENCE),
            answering=self.corpus.indexes.answering,
            settings=SearchSettings(),
        )
        return [hit.passage.external_id for hit in search.search(Query(text), principal).hits]


@pytest.fixture
def bench(tmp_path: Path, catalogue_url: str) -> Iterator[Bench]:
    """Two documents, indexed."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "travel.md").write_text("# Travel\n\nMileage is 42 cents per kilometre.")
    (docs / "leave.md").write_text("# Leave\n\nEverybody has 27 days of leave.")
    settings = load_settings(data=tmp_path / "data", catalogue_url=catalogue_url)
    with open_corpus(settings) as opened:
        embedder = CountingEmbedder(opened.embedder)
        indexes = indexes_of(settings, opened.database, [Encoders(embedder, opened.sparse)])
        corpus = replace(opened, embedder=embedder, indexes=indexes)
        with open_toolbox(settings, corpus, WorkerSettings()) as toolbox:
            sources = SqlSources(corpus.database, utc_now)
            sources.create(SourceId("s"), name="s", kind="folder", location=str(docs), owner=UserId("olga"))
            app = make_app("memory://")
            register(app, toolbox)
            bench = Bench(docs, corpus, toolbox, app, embedder)
            assert bench.sync() == {"added": 2}
            embedder.n_texts = 0
            yield bench


def test_indexed_documents_are_live_and_found(bench: Bench) -> None:
    """What was listed is live in its first version, and the index holds just that."""
    assert {d.external_id: (d.state, d.live_version) for d in bench.documents().values()} == {
        "travel.md": ("live", 1),
        "leave.md": ("live", 1),
    }
    assert bench.search("mileage per kilometre")[0] == "travel.md"
    assert set(bench.toolbox.indexer.active().chunk_ids()) == bench.toolbox.store.live_chunk_ids()
    assert set(TASK_NAMES.values()) <= set(bench.app.tasks)


def test_unchanged_bytes_are_neither_parsed_nor_embedded(bench: Bench) -> None:
    """A file that was only touched keeps its version and costs no embedding."""
    (bench.docs / "travel.md").touch()
    assert bench.sync() == {"modified": 1, "unchanged": 1}
    assert bench.embedder.n_texts == 0
    assert bench.documents()["travel.md"].live_version == 1
    assert bench.sync() == {"unchanged": 2}


def test_new_content_replaces_the_old_version(bench: Bench) -> None:
    """Readers see the new version only, and the old one's points are gone."""
    (bench.docs / "travel.md").write_text("# Travel\n\nTrains are booked in the portal.")
    assert bench.sync() == {"modified": 1, "unchanged": 1}
    assert bench.documents()["travel.md"].live_version == 2
    assert set(bench.toolbox.indexer.active().chunk_ids()) == bench.toolbox.store.live_chunk_ids()
    assert bench.search("trains portal")[0] == "travel.md"
    assert bench.embedder.n_texts == 1


def test_access_change_embeds_nothing_and_counts_at_once(bench: Bench) -> None:
    """A new access list reaches the index without an embedding; before and after nobody else reads."""
    ada = Principal(UserId("ada"), frozenset({PrincipalId("group:hr")}))
    assert bench.search("mileage", ada) == []
    (bench.docs / ".refdesk.toml").write_text(RULES.format('"group:hr"'))
    assert bench.sync() == {"touched": 2}
    assert bench.embedder.n_texts == 0
    assert "travel.md" in bench.search("mileage", ada)
    (bench.docs / ".refdesk.toml").write_text(RULES.format(""))
    assert bench.sync() == {"touched": 2}
    assert bench.search("mileage", ada) == []
    assert bench.documents(ada) == {}


def test_deleted_file_is_gone_and_can_come_back(bench: Bench) -> None:
    """A file that vanished is neither found nor listed nor in the index; the same file later is live again."""
    text = (bench.docs / "travel.md").read_text()
    (bench.docs / "travel.md").unlink()
    assert bench.sync() == {"deleted": 1, "unchanged": 1}
    assert "travel.md" not in bench.search("mileage per kilometre")
    assert set(bench.documents()) == {"leave.md"}
    assert set(bench.toolbox.indexer.active().chunk_ids()) == bench.toolbox.store.live_chunk_ids()
    (bench.docs / "travel.md").write_text(text)
    assert bench.sync() == {"added": 1, "unchanged": 1}
    assert bench.search("mileage per kilometre")[0] == "travel.md"


def test_failed_document_says_why_and_keeps_its_last_version(bench: Bench) -> None:
    """A new version that cannot be parsed leaves the old one readable, with the reason beside it."""
    (bench.docs / "travel.md").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    bench.sync()
    document = bench.documents()["travel.md"]
    assert (document.state, document.error_code, document.live_version) == ("failed", "unsupported_type", 1)
    assert bench.search("mileage per kilometre")[0] == "travel.md"


def test_reconciliation_mends_the_index(bench: Bench) -> None:
    """Missing points come back and surplus ones go; a second run finds nothing to do."""
    index = bench.toolbox.indexer.active()
    lost = next(iter(bench.toolbox.store.live_chunk_ids()))
    index.delete([lost])
    repair = bench.toolbox.indexer.reconcile()
    assert (repair.missing, repair.surplus) == (1, 0)
    again = bench.toolbox.indexer.reconcile()
    assert (again.missing, again.surplus, again.access) == (0, 0, 0)
    assert set(index.chunk_ids()) == bench.toolbox.store.live_chunk_ids()


def test_a_moved_file_embeds_nothing(bench: Bench) -> None:
    """Its title and text stay, so every passage comes from the cache; the old place is gone."""

    def n_remembered() -> int:
        with closing(sqlite3.connect(bench.docs.parent / "data" / "embeddings.db")) as cache:
            return int(cache.execute("SELECT count(*) FROM embeddings").fetchone()[0])

    before = n_remembered()
    (bench.docs / "sub").mkdir()
    (bench.docs / "travel.md").rename(bench.docs / "sub" / "travel.md")
    assert bench.sync() == {"added": 1, "unchanged": 1, "deleted": 1}
    assert bench.search("mileage per kilometre")[0] == "sub/travel.md"
    assert "travel.md" not in bench.documents()
    assert n_remembered() == before


def test_a_part_of_the_source_is_synced(bench: Bench) -> None:
    """Only what lies at the paths is compared; the rest waits for a whole sync, which alone makes it fresh."""
    synced_at = bench.toolbox.store.source(SourceId("s")).synced_at
    (bench.docs / "travel.md").write_text("# Travel\n\nMileage is 50 cents per kilometre.")
    (bench.docs / "leave.md").write_text("# Leave\n\nEverybody has 30 days of leave.")
    request = JobRequest(
        JobKind.SYNC, "olga", "x", source_id=SourceId("s"), parameters={PATHS: ["travel.md"]}
    )
    bench.toolbox.jobs.accept(request)
    assert bench.sync_waiting() == {"modified": 1}
    assert bench.toolbox.store.source(SourceId("s")).synced_at == synced_at
    assert bench.sync() == {"modified": 1, "unchanged": 1}


def test_a_corpus_in_german_is_asked_in_german(bench: Bench) -> None:
    """The index learns which languages its documents are in; then an inflected word finds its document."""
    assert _calibration(bench).languages == ("en",)
    text = "Anträge auf Elternzeit werden bei den Vorgesetzten gestellt und von der Leitung geprüft."
    for number in range(4):
        (bench.docs / f"urlaub-{number}.md").write_text(f"# Urlaub {number}\n\n{text}", encoding="utf-8")
    assert bench.sync() == {"added": 4, "unchanged": 2}
    assert _calibration(bench).languages == ("de", "en")
    assert bench.search("Antrag Vorgesetzter")[0].startswith("urlaub-")
    assert bench.search("mileage per kilometre")[0] == "travel.md"


def _calibration(bench: Bench) -> Calibration:
    with bench.corpus.indexes.answering() as opened:
        return opened.record.calibration

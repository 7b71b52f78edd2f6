"""A second index beside the first: complete, never mixed, resumable, and a way back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ingest.indexing import Vectors
from ingest.ports import IndexableChunk, IndexTarget
from retrieval.access import Principal, UserId
from retrieval.adapters.sql.corpus import SqlCorpus
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import ChunkId, SourceId
from retrieval.errors import ConflictError, IndexMismatchError
from retrieval.indexes import ASSUMED_CALIBRATION, IndexRecord, IndexState, OpenIndex, record_in
from retrieval.jobs import JobKind
from retrieval.query import Query, SearchMode
from retrieval.search import Search, SearchSettings
from retrieval.settings import load_settings
from retrieval.wiring import Corpus, open_corpus, utc_now
from serving.embedded import CorpusOpener
from tests.make import PRESENCE
from tests.rotated import opening_rotated
from workers.queue import make_app
from workers.settings import WorkerSettings
from workers.tasks import Toolbox, register
from workers.wiring import open_toolbox

pytestmark = pytest.mark.timeout(300)

OLGA = Principal(UserId("olga"))
TEXTS = {
    "travel.md": "# Travel\n\nMileage is 42 cents per kilometre.",
    "leave.md": "# Leave\n\nEverybody has 27 days of leave.",
    "parking.md": "# Parking\n\nThe garage closes at nine.",
}


@dataclass
class Bench:
    """A folder and the parts that index it, without a queue."""

    docs: Path
    corpus: Corpus
    toolbox: Toolbox

    def __post_init__(self) -> None:
        self._app = make_app("memory://")
        register(self._app, self.toolbox)
        self.builds = SqlIndexBuilds(self.corpus.database, utc_now)

    def work(self) -> None:
        """Work on every job that waits."""
        while messages := self.toolbox.jobs.unsent(limit=100):
            self.toolbox.jobs.mark_sent([message.id for message in messages])
            for message in messages:
                self._app.tasks[message.task](message.job_id)

    def sync(self) -> None:
        """Bring the folder in."""
        self.toolbox.jobs.accept(JobRequest(JobKind.SYNC, "olga", "test", source_id=SourceId("s")))
        self.work()

    def rebuild(self) -> dict[str, object]:
        """Run a build as the job that it is; returns its report."""
        job = self.toolbox.jobs.accept(JobRequest(JobKind.REBUILD, "olga", "test"))
        self.work()
        return dict(self.toolbox.jobs.job(job.id).report)

    def record(self, state: IndexState) -> IndexRecord:
        """The index in a state; there has to be one."""
        found = record_in(self.builds, state)
        assert found is not None
        return found

    def assert_complete(self) -> None:
        """Every index on record holds exactly the live chunks."""
        for record in self.builds.records():
            with self.corpus.indexes.opened(record) as opened:
                assert set(opened.index.chunk_ids()) == self.toolbox.store.live_chunk_ids(), record.state

    def search(self, text: str) -> list[str]:
        """External ids of the dense hits."""
        search = Search(
            corpus=SqlCorpus(self.corpus.database, PRESENCE),
            answering=self.corpus.indexes.answering,
            settings=SearchSettings(),
        )
        found = search.search(Query(text, mode=SearchMode.DENSE), OLGA)
        return [hit.passage.external_id for hit in found.hits]


@contextmanager
def open_bench(folder: Path, opener: CorpusOpener = open_corpus) -> Iterator[Bench]:
    """The bench in a folder, opened by `opener`."""
    settings = load_settings(data=folder / "data")
    with opener(settings) as corpus, open_toolbox(settings, corpus, WorkerSettings()) as toolbox:
        yield Bench(folder / "docs", corpus, toolbox)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three documents, indexed by the plain model once for all tests."""
    folder = tmp_path_factory.mktemp("template")
    docs = folder / "docs"
    docs.mkdir()
    for name, text in TEXTS.items():
        (docs / name).write_text(text)
    with open_bench(folder) as bench:
        sources = SqlSources(bench.corpus.database, utc_now)
        sources.create(SourceId("s"), name="s", kind="folder", location=str(docs), owner=UserId("olga"))
        bench.sync()
    return folder


@pytest.fixture
def indexed(template: Path, tmp_path: Path) -> Path:
    """A copy of the indexed folder, to be changed."""
    folder = tmp_path / "copy"
    shutil.copytree(template, folder)
    with closing(sqlite3.connect(folder / "data" / "catalogue.db")) as connection:
        connection.execute("UPDATE sources SET location = ?", (str(folder / "docs"),))
        connection.commit()
    return folder


def test_a_change_of_model_builds_beside_and_switches(indexed: Path) -> None:
    """The old index answers with the old model until the switch, the new one with the new model after it."""
    with open_bench(indexed, opening_rotated()) as bench:
        before = bench.record(IndexState.ACTIVE)
        assert bench.search("mileage per kilometre")[0] == "travel.md"
        report = bench.rebuild()
        after = bench.record(IndexState.ACTIVE)
        assert report == {"index": after.name, "chunks": 3, "rereading": 0}
        assert after.fingerprint.startswith("rotated-")
        assert bench.record(IndexState.RETIRED).name == before.name
        assert bench.search("mileage per kilometre")[0] == "travel.md"
        bench.assert_complete()


def test_a_rollback_finds_what_happened_since_the_switch(indexed: Path) -> None:
    """New, changed and deleted documents are in the retired index as well, in its own space."""
    with open_bench(indexed, opening_rotated()) as bench:
        first = bench.record(IndexState.ACTIVE).name
        bench.rebuild()
        (bench.docs / "leave.md").write_text("# Leave\n\nLeave is booked in the calendar.")
        (bench.docs / "parking.md").unlink()
        (bench.docs / "canteen.md").write_text("# Canteen\n\nLunch is served from noon.")
        bench.sync()
        bench.builds.activate(first)
        assert bench.record(IndexState.ACTIVE).name == first
        assert bench.search("when is lunch")[0] == "canteen.md"
        assert bench.search("booking of leave")[0] == "leave.md"
        assert "parking.md" not in bench.search("garage")
        bench.assert_complete()


def test_a_model_that_is_gone_neither_answers_nor_is_written(indexed: Path) -> None:
    """Without the old model its index refuses both, and a build mends that; there is no way back then."""
    with open_bench(indexed, opening_rotated(keep_plain=False)) as bench:
        with pytest.raises(IndexMismatchError):
            bench.search("mileage")
        with pytest.raises(IndexMismatchError):
            bench.toolbox.indexer.embedders()
        bench.rebuild()
        assert bench.search("mileage per kilometre")[0] == "travel.md"
        assert [record.state for record in bench.builds.records()] == [IndexState.ACTIVE]


def test_a_killed_build_goes_on_where_it_stopped(indexed: Path) -> None:
    """A record left behind is continued, what it lacks is filled in, and documents changed since are there."""
    with open_bench(indexed, opening_rotated()) as bench:
        fingerprint = bench.toolbox.builder._recipes.index
        bench.builds.begin("index-half", fingerprint, ASSUMED_CALIBRATION)
        with bench.corpus.indexes.opened(bench.record(IndexState.BUILDING)) as half:
            bench.toolbox.indexer.fill(half, sorted(bench.toolbox.store.live_chunk_ids())[:1])
    with open_bench(indexed, opening_rotated()) as bench:
        (bench.docs / "leave.md").write_text("# Leave\n\nLeave is booked in the calendar.")
        bench.sync()
        assert bench.rebuild()["index"] == "index-half"
        bench.assert_complete()


def test_a_half_built_index_of_another_model_is_dropped(indexed: Path) -> None:
    """It cannot be gone on with, so the build begins anew."""
    with open_bench(indexed, opening_rotated()) as bench:
        bench.builds.begin("index-other", "gone|chunks|terms", ASSUMED_CALIBRATION)
        assert bench.rebuild()["index"] != "index-other"
        assert {record.name for record in bench.builds.records()}.isdisjoint({"index-other"})


def test_a_version_is_not_published_past_an_index_that_came_up(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a build begins between writing and publishing, the points are written again, to both."""
    with open_bench(indexed, opening_rotated()) as bench:
        write = bench.toolbox.indexer.write
        began: list[bool] = []

        def write_then_begin(
            target: IndexTarget, chunks: list[IndexableChunk], vectors: Vectors
        ) -> frozenset[str]:
            written = write(target, chunks, vectors)
            if not began:
                began.append(True)
                bench.builds.begin("index-new", bench.toolbox.builder._recipes.index, ASSUMED_CALIBRATION)
            return written

        monkeypatch.setattr(bench.toolbox.indexer, "write", write_then_begin)
        (bench.docs / "leave.md").write_text("# Leave\n\nLeave is booked in the calendar.")
        bench.sync()
        live = {
            chunk.chunk_id
            for chunk in bench.toolbox.store.live_chunks(sorted(bench.toolbox.store.live_chunk_ids()))
            if "calendar" in chunk.text
        }
        with bench.corpus.indexes.opened(bench.record(IndexState.BUILDING)) as opened:
            assert set(opened.index.chunk_ids()) == live


def test_vectors_of_another_model_are_found_before_the_switch(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that was filled with the wrong vectors never answers; it is dropped."""
    with open_bench(indexed, opening_rotated()) as bench:
        plain = bench.corpus.indexes.encoders_of(bench.record(IndexState.ACTIVE))
        assert plain is not None
        fill = bench.toolbox.indexer.fill

        def fill_wrongly(opened: OpenIndex, chunk_ids: Sequence[ChunkId]) -> None:
            fill(OpenIndex(opened.record, opened.index, plain), chunk_ids)

        monkeypatch.setattr(bench.toolbox.indexer, "fill", fill_wrongly)
        before = bench.record(IndexState.ACTIVE)
        bench.rebuild()
        assert bench.record(IndexState.ACTIVE) == before
        assert record_in(bench.builds, IndexState.BUILDING) is None


def test_documents_of_another_recipe_are_read_anew(indexed: Path) -> None:
    """After a change of parsers or chunker a rebuild replaces each document's chunks, in every index."""
    with open_bench(indexed) as bench:
        pipeline = bench.toolbox.pipeline
        settings, builder = pipeline._settings, bench.toolbox.builder
        object.__setattr__(settings, "recipe", "parsers-v2|other")
        object.__setattr__(builder._recipes, "version", "parsers-v2|other")
        before = bench.toolbox.store.live_chunk_ids()
        assert bench.rebuild()["rereading"] == len(TEXTS)
        assert bench.toolbox.store.live_chunk_ids().isdisjoint(before)
        bench.assert_complete()
        assert bench.rebuild()["rereading"] == 0


def test_only_one_index_is_in_each_state(indexed: Path) -> None:
    """A second build is refused, and an unknown index cannot be switched to."""
    with open_bench(indexed) as bench:
        bench.builds.begin("index-a", "x|y|z", ASSUMED_CALIBRATION)
        with pytest.raises(ConflictError):
            bench.builds.begin("index-b", "x|y|z", ASSUMED_CALIBRATION)
        with pytest.raises(ConflictError):
            bench.builds.activate("index-b")
        active = bench.record(IndexState.ACTIVE)
        bench.builds.forget(active.name)  # what answers is never forgotten
        assert bench.record(IndexState.ACTIVE) == active


def test_stored_vectors_are_those_of_the_index_s_own_model(indexed: Path) -> None:
    """Both spaces differ in every vector, and each index holds its own."""
    with open_bench(indexed, opening_rotated()) as bench:
        bench.rebuild()
        ids = sorted(bench.toolbox.store.live_chunk_ids())
        texts = [chunk.text for chunk in bench.toolbox.store.live_chunks(ids)]
        order = [chunk.chunk_id for chunk in bench.toolbox.store.live_chunks(ids)]
        for record in bench.builds.records():
            with bench.corpus.indexes.opened(record) as opened:
                stored = opened.index.dense_of(order)
                fresh = opened.encoders.embedder.embed_texts(texts)
                found = np.stack([stored[id_] for id_ in order])
                assert np.allclose(found, fresh, atol=1e-4)

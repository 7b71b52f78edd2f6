"""What is done to a state folder that no desk runs on: fill its index, compare it, try its parser.

With `serving.embedded` the one module of `serving` that may import `ingest` and `workers` (import contract).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingest.adapters.sql_store import SqlDocumentStore
from ingest.sandbox import SandboxExtractor
from ingest.sandbox_budgets import SandboxSettings
from ingest.settings import ChunkingSettings
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.indexes import IndexRecord, IndexState, record_in
from retrieval.settings import Settings
from retrieval.wiring import model_folder, open_corpus, owned_folder, utc_now
from serving.embedded import CLEAN_MARK
from workers.settings import WorkerSettings
from workers.wiring import index_fingerprint, open_toolbox


@dataclass(frozen=True, slots=True)
class IndexComparison:
    """The active index against the catalogue.

    Attributes:
        fingerprint: Of what built the index, empty when there is none.
        expected: Of the embedder, chunker and sparse encoder in use now.
        missing: Live chunks that the index lacks.
        surplus: Points that are no live chunk.
    """

    fingerprint: str
    expected: str
    missing: int
    surplus: int


def fill_index(settings: Settings, *, progress: Callable[[int, int], None]) -> IndexRecord:
    """Make the index of a catalogue that was restored without one. Text that was embedded before is not again.

    Raises:
        AlreadyRunningError: A desk runs on this folder.
        IndexUnavailableError: The index cannot be written.
    """
    with owned_folder(settings.data), open_corpus(settings) as corpus:
        builds = SqlIndexBuilds(corpus.database, utc_now)
        builds.forget_all()
        measured = SqlDocumentStore(corpus.database, utc_now).calibration()
        if measured is not None:
            builds.begin_first(index_fingerprint(settings, corpus), measured)
        with open_toolbox(settings, corpus, WorkerSettings()) as toolbox:
            toolbox.indexer.reconcile(progress=progress)
            with corpus.indexes.answering() as opened:
                record = opened.record
        (settings.data / CLEAN_MARK).touch()
        return record


def compare_index(settings: Settings) -> IndexComparison:
    """Compare the active index with the catalogue, changing neither.

    Raises:
        AlreadyRunningError: A desk runs on this folder.
        IndexUnavailableError: The index cannot be opened.
    """
    with owned_folder(settings.data), open_corpus(settings) as corpus:
        wanted = SqlDocumentStore(corpus.database, utc_now).live_chunk_ids()
        expected = index_fingerprint(settings, corpus)
        record = record_in(SqlIndexBuilds(corpus.database, utc_now), IndexState.ACTIVE)
        if record is None or corpus.indexes.encoders_of(record) is None:
            return IndexComparison(record.fingerprint if record else "", expected, len(wanted), 0)
        with corpus.indexes.opened(record) as opened:
            present = set(opened.index.chunk_ids())
        return IndexComparison(record.fingerprint, expected, len(wanted - present), len(present - wanted))


def probe_parser(settings: Settings) -> tuple[str, dict[str, bool]]:
    """Parse a few words in the sandbox, as every file is.

    Returns:
        What was read, and the layers of the sandbox with whether this machine has them.

    Raises:
        IngestError: The sandbox does not start, or does not read them.
    """
    words = "The parser answers."
    with tempfile.TemporaryDirectory(prefix="refdesk-probe-") as folder:
        file = Path(folder) / "probe.txt"
        file.write_text(words, encoding="utf-8")
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        chunking = ChunkingSettings(model_folder(settings) / "tokenizer.json")
        extractor = SandboxExtractor(SandboxSettings(scratch_dir=scratch, chunking=chunking, max_children=1))
        try:
            read = extractor.extract(file, name=file.name, title="probe").document.text
            return read, extractor.protections()
        finally:
            extractor.close()

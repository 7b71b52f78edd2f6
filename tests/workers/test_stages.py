"""What the catalogue says of a document while a job reads it, and what a worker's death then counts for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from ingest.adapters.sql_store import SqlDocumentStore
from ingest.document import ChunkDraft, ParsedDocument
from ingest.ports import Heartbeat, StagedChunk, StagedVersion
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import JobRequest, SqlJobs
from retrieval.adapters.sql.models import DocumentRow, JobRow, SourceRow
from retrieval.corpus import ChunkId, DocumentId, DocumentState, JobId, VersionId
from retrieval.errors import LeaseLostError
from retrieval.jobs import ACCESS_ONLY, MAX_DEATHS, JobKind, JobState, Lease
from tests.make import NOON
from workers.running import JobRunner
from workers.settings import WorkerSettings

DOCUMENT = DocumentId("a")
EMPTY = ParsedDocument(title="A", media_type="text/plain", language="en", text="", blocks=(), warnings=())

_DUE = update(JobRow).values(not_before=None)


@dataclass
class Board:
    """One document of one source, and the jobs for it."""

    database: Database
    jobs: SqlJobs
    store: SqlDocumentStore

    def accept(self, **parameters: Any) -> JobId:
        """A job that reads the document."""
        request = JobRequest(JobKind.INDEX, "ada", "test", document_id=DOCUMENT, parameters=parameters)
        return self.jobs.accept(request).id

    def claim(self, job_id: JobId) -> Lease:
        """The job, taken."""
        lease = self.jobs.claim(job_id, lease_s=60)
        assert lease is not None
        return lease

    @property
    def state(self) -> DocumentState:
        """Of the document."""
        return self.store.document(DOCUMENT).state

    def set_state(self, state: DocumentState) -> None:
        """Bring the document into a state."""
        with self.database.write() as session:
            session.get_one(DocumentRow, DOCUMENT).state = state


@pytest.fixture
def board(catalogue_url: str) -> Iterator[Board]:
    """A document that waits."""
    database = Database(catalogue_url)
    database.migrate()
    with database.write() as session:
        session.add(
            SourceRow(
                id="s", name="s", kind="folder", location="", owner="o", allow=[], deny=[], created_at=NOON
            )
        )
        session.flush()
        session.add(
            DocumentRow(
                id=DOCUMENT,
                source_id="s",
                external_id="a",
                title="a",
                source_title="",
                url="",
                tags=[],
                owner="o",
                state="queued",
                warnings=[],
                fingerprint="",
                modified_at=NOON,
                created_at=NOON,
                updated_at=NOON,
            )
        )

    def clock() -> datetime:
        return datetime.now(UTC)

    yield Board(database, SqlJobs(database, clock), SqlDocumentStore(database, clock))
    database.close()


def test_a_taken_document_is_being_read(board: Board) -> None:
    """From the moment on that its job is taken."""
    board.claim(board.accept())
    assert board.state is DocumentState.FETCHING


@pytest.mark.parametrize("state", [DocumentState.LIVE, DocumentState.QUEUED])
def test_a_job_that_is_not_taken_changes_no_state(board: Board, state: DocumentState) -> None:
    """Not the second message for a job that is in work, nor one that is not due yet."""
    lease = board.claim(board.accept())
    board.set_state(state)
    assert board.jobs.claim(lease.job.id, lease_s=60) is None
    board.jobs.fail(lease, code="x", message="x", retry_in_s=600)
    assert board.jobs.claim(lease.job.id, lease_s=60) is None
    assert board.state is state


def test_a_job_for_a_new_access_list_reads_nothing(board: Board) -> None:
    """The document stays live."""
    board.set_state(DocumentState.LIVE)
    board.claim(board.accept(**{ACCESS_ONLY: True}))
    assert board.state is DocumentState.LIVE


def test_a_stage_that_lasts_is_on_record_and_a_short_one_is_not(board: Board) -> None:
    """Nobody sees a state of milliseconds, and writing it costs more than it."""
    seen: list[DocumentState] = []

    def work(_lease: Lease, heartbeat: Heartbeat) -> Mapping[str, Any]:
        heartbeat.reached(DocumentState.PARSING)
        seen.append(board.state)
        heartbeat.reached(DocumentState.EMBEDDING)
        deadline = time.monotonic() + 20
        while board.state is not DocumentState.EMBEDDING and time.monotonic() < deadline:
            time.sleep(0.05)
        seen.append(board.state)
        return {}

    runner = JobRunner(board.jobs, WorkerSettings(lease_s=60), note_reading=board.store.note_reading)
    runner.run(board.accept(), work, lambda *_: None)
    assert seen == [DocumentState.FETCHING, DocumentState.EMBEDDING]


def test_a_note_that_comes_late_changes_nothing(board: Board) -> None:
    """What is staged or live is not set back by the thread that notes stages."""
    lease = board.claim(board.accept())
    chunk = ChunkDraft(0, 0, 1, "A", (), None, "", 1)
    version = StagedVersion(
        VersionId("v"), DOCUMENT, "hash", "recipe", EMPTY, 1, (StagedChunk(ChunkId("c"), chunk, 1),), "test", "ada"
    )  # fmt: skip
    board.store.stage(lease, version)
    board.store.stage(lease, version)
    board.store.note_reading(lease, DocumentState.EMBEDDING)
    assert board.state == "indexing"
    published = board.store.publish(lease, VersionId("v"))
    assert published is not None
    assert published.replaced == []
    board.store.note_reading(lease, DocumentState.EMBEDDING)
    assert board.state == "live"
    assert board.store.chunk_ids(DOCUMENT) == [ChunkId("c")]
    board.jobs.finish(lease)
    with pytest.raises(LeaseLostError):
        board.store.note_reading(lease, DocumentState.EMBEDDING)


@pytest.mark.parametrize(
    ("died_at", "outcome"),
    [
        (None, JobState.FAILED),
        (DocumentState.PARSING, JobState.FAILED),
        (DocumentState.INDEXING, JobState.QUEUED),
    ],
)
def test_deaths_while_reading_count(board: Board, died_at: DocumentState | None, outcome: JobState) -> None:
    """However soon the worker dies: a document that kills it in its first instant is found out, too."""
    job_id = board.accept()
    for _ in range(MAX_DEATHS):
        with board.database.write() as session:  # suspects wait for their turn
            session.execute(_DUE)
        board.claim(job_id)
        if died_at is not None:
            board.set_state(died_at)
        board.jobs.requeue_lost(everything=True)
    assert board.jobs.job(job_id).state is outcome
    quarantined = board.state is DocumentState.QUARANTINED
    assert quarantined is (outcome is JobState.FAILED)


def test_counting_stops_where_it_is_told(board: Board) -> None:
    """The last jobs are told apart from many without counting the many."""
    board.accept()
    board.jobs.accept(JobRequest(JobKind.RECONCILE, "ada", "test"))
    assert board.jobs.unfinished() == 2
    assert board.jobs.unfinished(at_most=1) == 1

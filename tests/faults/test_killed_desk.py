"""Killed at any moment, a desk goes on by itself, and every document ends live exactly once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingest.adapters.sql_store import SqlDocumentStore
from retrieval.access import Principal, UserId
from retrieval.adapters.qdrant_edge import QdrantEdgeIndex
from retrieval.adapters.sql.corpus import DocumentFilter, SqlCorpus
from retrieval.adapters.sql.database import Database
from retrieval.wiring import utc_now
from tests.make import PRESENCE
from tests.services.servers import kill_tree

TIMEOUT_S = int(os.environ.get("REFDESK_FAULT_TIMEOUT_S", "900"))

pytestmark = [pytest.mark.faults, pytest.mark.timeout(TIMEOUT_S)]

KILLS = int(os.environ.get("REFDESK_FAULT_KILLS", "6"))
DOCS = os.environ.get("REFDESK_FAULT_DOCS", "")
SEED = int(os.environ.get("REFDESK_FAULT_SEED", "20261123"))
LONGEST_LIFE_S = float(os.environ.get("REFDESK_FAULT_LIFE_S", "6"))


def test_killed_desk_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """After kill -9 of the whole tree at random moments, catalogue and index hold each document once."""
    docs = Path(DOCS) if DOCS else _written_documents(tmp_path / "docs", count=60)
    data, moments = tmp_path / "data", random.Random(SEED)
    for _ in range(KILLS):
        life_s = moments.uniform(0.5, LONGEST_LIFE_S)
        _run_desk(data, docs, kill_after_s=life_s)
    _run_desk(data, docs, kill_after_s=None)
    expected = {
        path.relative_to(docs).as_posix()
        for path in docs.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(docs).parts)
    }
    _check_consistency(data, expected)


def _check_consistency(data: Path, expected: set[str]) -> None:
    database = Database(f"sqlite:///{data / 'catalogue.db'}")
    corpus = SqlCorpus(database, PRESENCE)
    documents = corpus.documents(Principal(UserId("local")), DocumentFilter(), after=None, limit=100_000)
    assert {document.external_id for document in documents} == expected
    unfinished = [document.external_id for document in documents if not document.state.is_terminal]
    assert unfinished == []
    wanted = SqlDocumentStore(database, utc_now).live_chunk_ids()
    (folder,) = (data / "indexes").iterdir()
    index = QdrantEdgeIndex(folder, dimension=384)
    found = list(index.chunk_ids())
    index.close()
    assert len(found) == len(set(found))
    assert set(found) == wanted
    live = [document for document in documents if document.state == "live"]
    assert live
    passages = corpus.passages(wanted)
    assert {passage.document_id for passage in passages.values()} == {document.id for document in live}
    by_place = {(passage.document_id, passage.position) for passage in passages.values()}
    assert len(by_place) == len(passages)


def _run_desk(data: Path, docs: Path, *, kill_after_s: float | None) -> None:
    """Run a desk until it is idle, or kill it and all its children after a while."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.desk_under_fire", str(data), str(docs)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        if kill_after_s is None:
            lines = process.stdout.read().split()
            assert process.wait(timeout=30) == 0
            assert lines == ["ready", "idle"]
            return
        assert process.stdout.readline() == "ready\n"
        time.sleep(kill_after_s)
    finally:
        kill_tree(process.pid)
        process.wait(timeout=30)


def _written_documents(folder: Path, *, count: int) -> Path:
    folder.mkdir()
    words = random.Random(SEED)
    vocabulary = [f"word{number}" for number in range(400)]
    for number in range(count):
        paragraphs = [" ".join(words.choices(vocabulary, k=120)) + "." for _ in range(words.randint(1, 6))]
        (folder / f"{number:03}.md").write_text(f"# Document {number}\n\n" + "\n\n".join(paragraphs))
    return folder

"""Having many documents read anew: what is chosen, and that nothing is queued twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.adapters.sql.models import DocumentRow
from retrieval.adapters.sql.reindexing import Requeued, Selection, SqlReindexing
from retrieval.adapters.sql.sources import SourceChange, SqlSources
from retrieval.corpus import SourceId
from tests.make import NOON, PRESENCE

DOCUMENTS = {"p/a.md": "olga", "p/q/b.md": "olga", "pq.md": "ada", "p_.md": "ada"}
FAILED = "pq.md"
S = SourceId("s")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A source with four documents, one of which failed."""
    opened = Database(f"sqlite:///{tmp_path / 'catalogue.db'}")
    opened.migrate()
    SqlSources(opened, lambda: NOON).create(S, name="s", kind="push", location="", owner=UserId("olga"))
    with opened.write() as session:
        for name, owner in DOCUMENTS.items():
            state = "failed" if name == FAILED else "live"
            session.add(
                DocumentRow(
                    id=name,
                    source_id="s",
                    external_id=name,
                    title=name,
                    source_title="",
                    url="",
                    tags=[],
                    owner=owner,
                    state=state,
                    warnings=[],
                    fingerprint="",
                    modified_at=NOON,
                    created_at=NOON,
                    updated_at=NOON,
                )
            )
    yield opened
    opened.close()


def _reindex(database: Database, selection: Selection, who: str = "olga") -> Requeued:
    return SqlReindexing(database, lambda: NOON, PRESENCE).reindex(selection, requested_by=who)


@pytest.mark.parametrize(
    ("selection", "n"),
    [
        (Selection(), 4),
        (Selection(source_id=SourceId("other")), 0),
        (Selection(path="p"), 2),
        (Selection(path="p/"), 2),
        (Selection(path="p_"), 0),
        (Selection(path="pq.md"), 1),
        (Selection(only_failed=True), 1),
        (Selection(owned_by=Principal(UserId("ada"))), 2),
        (Selection(owned_by=Principal(UserId("nobody"))), 0),
    ],
)
def test_what_is_chosen(database: Database, selection: Selection, n: int) -> None:
    """A folder is what lies below it; an owner is offered nothing of others."""
    found = _reindex(database, selection)
    assert found.n_queued == n
    documents = SqlJobs(database, lambda: NOON).documents_of_runs([found.run.id])
    assert documents == ({found.run.id: documents[found.run.id]} if n else {})
    assert sum(each.unfinished for each in documents.values()) == n


def test_a_repeated_click_is_one_job(database: Database) -> None:
    """The second click gives the first one's job; somebody else's gives a job of its own, queuing nothing."""
    first, second = _reindex(database, Selection(path="p")), _reindex(database, Selection(path="p"))
    assert (first.n_queued, second.n_queued, second.n_already) == (2, 0, 2)
    assert second.run.id == first.run.id
    assert _reindex(database, Selection(path="p"), who="ada").run.id != first.run.id
    assert SqlJobs(database, lambda: NOON).unfinished() == 2
    wider = _reindex(database, Selection())
    assert (wider.n_queued, wider.n_already) == (2, 2)


def test_documents_of_paused_sources_are_left_out(database: Database) -> None:
    """They are counted, not queued."""
    SqlSources(database, lambda: NOON).change(S, SourceChange(paused=True))
    found = _reindex(database, Selection())
    assert (found.n_queued, found.n_paused) == (0, 4)

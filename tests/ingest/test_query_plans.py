"""What is asked of the catalogue for every document and every search costs the same however much there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import event

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.jobs import FORCE, JobKind
from retrieval.query import Query
from tests.desks import sample_desk, wait_until_idle

_GROWING = re.compile(r"\bSCAN (chunks|documents|versions|acl_entries|jobs|audit)\b")

_COUNTS_ALL = "sum(chunks.n_terms)"
"""An index's calibration counts everything, once when the last jobs of a batch are done."""


def test_no_table_is_read_from_end_to_end(tmp_path: Path) -> None:
    """Neither by the jobs of a document, nor by a search: SQLite's own plans for their statements say so."""
    owner = Principal(UserId("local"))
    with sample_desk(tmp_path) as embedded:
        desk = embedded.desk
        some = desk.corpus.documents(owner, DocumentFilter(state="live"), after=None, limit=2)
        asked: dict[str, Any] = {}

        def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
            asked.setdefault(statement, values[0] if isinstance(values, list) else values)

        event.listen(desk.database.engine, "before_cursor_execute", note)
        for document in some:
            desk.jobs.accept(
                JobRequest(JobKind.INDEX, "local", "", document_id=document.id, parameters={FORCE: True})
            )
        wait_until_idle(desk)
        assert desk.search.search(Query("travel"), owner).hits
        event.remove(desk.database.engine, "before_cursor_execute", note)
        with desk.database.engine.connect() as connection:
            plans = {
                statement: [
                    str(step[3])
                    for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                ]
                for statement, values in asked.items()
                if statement.startswith(("SELECT", "UPDATE", "DELETE")) and _COUNTS_ALL not in statement
            }
    assert any("FROM chunks" in statement for statement in plans)
    assert {statement: plan for statement, plan in plans.items() if _GROWING.search(" ; ".join(plan))} == {}

"""The audit trail as a chain: every change to what is stored is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from retrieval.adapters.sql.audit import Span, SqlAudit
from retrieval.adapters.sql.database import Database
from retrieval.audit import GENESIS, Head, names, split
from retrieval.wiring import utc_now

Tamper = Callable[[Database], None]


@pytest.fixture
def database(catalogue_url: str) -> Iterator[Database]:
    """An empty catalogue."""
    database = Database(catalogue_url)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def trail(database: Database) -> SqlAudit:
    """A trail of ten records."""
    trail = SqlAudit(database, utc_now)
    for number in range(10):
        facts = {"user_id": f"u{number}", "question_sha256": "00", "chunks": [number], "by": "key"}
        trail.append("test", principal="ada", request_id=f"r{number}", body=facts)
    return trail


def run(database: Database, *statements: str) -> None:
    """Change the catalogue behind the trail's back."""
    with database.write() as session:
        for statement in statements:
            session.execute(text(statement))


def test_a_record_says_what_it_was_written_with(trail: SqlAudit) -> None:
    """Persons stand apart from the rest, and are put together again for whoever reads."""
    record = trail.records(after=3, limit=1)[0]
    assert record.body == {"chunks": [3]}
    assert set(record.parts) == set(record.commitments) == {"actor", "agent", "subject"}
    assert record.principal == "ada"
    assert record.facts == {"user_id": "u3", "question_sha256": "00", "chunks": [3], "by": "key"}
    assert trail.records(after=0, limit=1)[0].previous_hash == GENESIS


def test_an_untouched_trail_is_whole(trail: SqlAudit) -> None:
    """It says how far it reaches; a head that was noted earlier is still in it."""
    noted = trail.head()
    trail.append("test", principal="bob", request_id="r", body={})
    seen: list[tuple[int, int]] = []
    verdict = trail.verify(kept=noted, progress=lambda *at: seen.append(at))
    assert verdict.is_intact
    assert (verdict.n_records, verdict.n_erased, verdict.n_pruned) == (11, 0, 0)
    assert verdict.head == trail.head() != noted
    assert seen[-1] == (11, 11)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE audit SET body = '{\"chunks\": []}' WHERE sequence = 5", "changed"),
        ("UPDATE audit SET event = 'other' WHERE sequence = 5", "changed"),
        ("UPDATE audit SET request_id = 'other' WHERE sequence = 5", "changed"),
        ("UPDATE audit SET at = '2020-01-01 00:00:00.000000' WHERE sequence = 5", "changed"),
        ("UPDATE audit SET commitments = '{}' WHERE sequence = 5", "changed"),
        (f"UPDATE audit SET hash = '{'1' * 64}' WHERE sequence = 5", "changed"),
        (f"UPDATE audit SET previous_hash = '{'1' * 64}' WHERE sequence = 5", "unlinked"),
        ("UPDATE audit SET format = 1 WHERE sequence = 5", "unlinked"),
        ('UPDATE audit_parts SET content = \'{"principal": "eve"}\' WHERE sequence = 5', "part_changed"),
        (f"UPDATE audit_parts SET salt = '{'0' * 64}' WHERE sequence = 5", "part_changed"),
        ("DELETE FROM audit_parts WHERE sequence = 5 AND part = 'actor'", "parts_missing"),
        ("INSERT INTO audit_parts VALUES (5, 'more', '00', '{}')", "part_changed"),
    ],
)
def test_a_change_of_any_column_is_found(
    trail: SqlAudit, database: Database, statement: str, reason: str
) -> None:
    """By the record in which it was made."""
    run(database, statement)
    verdict = trail.verify()
    assert (verdict.broken_at, verdict.reason) == (5, reason)


@pytest.mark.parametrize(
    ("gone", "broken_at", "reason"), [("= 5", 6, "unlinked"), ("< 4", 4, "start_missing")]
)
def test_missing_records_are_found(
    trail: SqlAudit, database: Database, gone: str, broken_at: int, reason: str
) -> None:
    """In the middle and at the old end."""
    run(
        database, f"DELETE FROM audit_parts WHERE sequence {gone}", f"DELETE FROM audit WHERE sequence {gone}"
    )
    verdict = trail.verify()
    assert (verdict.broken_at, verdict.reason) == (broken_at, reason)


def test_only_a_kept_head_shows_a_trail_that_was_cut_off(trail: SqlAudit, database: Database) -> None:
    """The rest of it is a whole chain."""
    noted = trail.head()
    run(database, "DELETE FROM audit_parts WHERE sequence > 8", "DELETE FROM audit WHERE sequence > 8")
    assert trail.verify().is_intact
    assert trail.verify(kept=noted).reason == "head_differs"
    assert trail.verify(kept=Head(8, "0" * 64)).reason == "head_differs"


def test_renumbered_records_are_found(trail: SqlAudit, database: Database) -> None:
    """A number is part of what is hashed."""
    run(database, "DELETE FROM audit_parts", "UPDATE audit SET sequence = 11 WHERE sequence = 10")
    assert trail.verify().broken_at == 11


def test_a_span_is_streamed_in_order(trail: SqlAudit) -> None:
    """By number, time and event."""
    moment = trail.records(after=4, limit=1)[0].at
    trail.append("other", principal="bob", request_id="r", body={})
    assert [each.sequence for each in trail.stream(Span(after=7))] == [8, 9, 10, 11]
    assert [each.sequence for each in trail.stream(Span(until=moment, through=2))] == [1, 2]
    assert [each.sequence for each in trail.stream(Span(since=moment, events=("other",)))] == [11]
    assert trail.count(Span(since=moment)) == len(list(trail.stream(Span(since=moment))))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("ada", True),
        ({"allow": ["group:x", "user:ada"]}, True),
        ("adamant", False),
        ({"ada": ["adam", 1, None]}, False),
    ],
)
def test_a_person_is_named_by_its_whole_id(value: Any, found: bool) -> None:
    """With or without `user:`, at any depth."""
    assert names(value, "ada") is found


def test_every_record_has_an_actor() -> None:
    """Other parts are there when the record has something to say in them."""
    body, parts = split("ada", {"chunks": [], "allow": ["user:bob"]})
    assert body == {"chunks": []}
    assert parts == {"actor": {"principal": "ada"}, "subject": {"allow": ["user:bob"]}}
    assert json.loads(json.dumps(parts)) == parts

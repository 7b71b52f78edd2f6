"""Erasing a person and pruning the trail: what has to go is gone, and what is left still verifies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    String,
    Table,
    delete,
    insert,
    select,
    text,
)

from retrieval.access import UserId, user_principal
from retrieval.adapters.sql import models
from retrieval.adapters.sql.audit import Span, SqlAudit
from retrieval.adapters.sql.audit_pruning import SqlPruning
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.directory import SqlDirectory, UserChange
from retrieval.adapters.sql.erasing import AUDIT_PLACE, PLACES, WITHOUT_PERSONS, Form, SqlErasing
from retrieval.adapters.sql.links import SqlLinks
from retrieval.adapters.sql.section_rules import stored_rules
from retrieval.audit import GENESIS, Head
from retrieval.errors import ConflictError
from retrieval.sections import SectionRule
from retrieval.wiring import utc_now

METADATA = models.Table.metadata
PERSON, BYSTANDER, HEIR = UserId('Zoë "Z" O\'Hara_%'), UserId("bystander"), UserId("heir")
OLD = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture
def database(catalogue_url: str) -> Iterator[Database]:
    """An empty catalogue."""
    database = Database(catalogue_url)
    database.migrate()
    yield database
    database.close()


def text_columns() -> set[str]:
    """Every column in which an id could stand."""
    kinds = (String, JSON)
    return {
        f"{t.name}.{c.name}" for t in METADATA.sorted_tables for c in t.columns if isinstance(c.type, kinds)
    }


def test_every_column_of_text_is_accounted_for() -> None:
    """A new column fails here until somebody says whether it names persons, and what becomes of it then."""
    places = {place.column for place in PLACES}
    assert not places & WITHOUT_PERSONS
    assert places | WITHOUT_PERSONS == text_columns()
    assert len(places) == len(PLACES)


def fill(database: Database, person: str) -> None:
    """A row in every table that names the person wherever a person can be named."""
    forms = {place.column: place.form for place in PLACES}
    with database.write() as session:
        session.execute(text("PRAGMA defer_foreign_keys = ON")) if is_sqlite(database) else None
        for table in METADATA.sorted_tables:
            if table.name not in ("audit", "audit_parts"):
                row = {column.name: value_for(table, column, person, forms) for column in table.columns}
                session.execute(insert(table).values(row))


def is_sqlite(database: Database) -> bool:
    """Whether this is the embedded database."""
    return database.engine.dialect.name == "sqlite"


def value_for(table: Table, column: Column[Any], person: str, forms: dict[str, Form]) -> Any:
    """What a column of the row about a person holds."""
    match forms.get(f"{table.name}.{column.name}"):
        case Form.ID:
            return person
        case Form.PRINCIPAL:
            return f"user:{person}"
        case Form.JSON:
            listed = ["group:x", f"user:{person}"]
            return {"user_id": person} if table.name == "idempotency" else listed
        case Form.RULES:
            rule = SectionRule(("A heading",), frozenset({user_principal(UserId(person))}))
            return stored_rules([rule])
    if column.foreign_keys:
        (key,) = column.foreign_keys
        return f"{key.column.table.name}-{len(person)}"
    if isinstance(column.type, JSON):
        return []
    if isinstance(column.type, models.UtcDateTime):
        return utc_now()
    if isinstance(column.type, Boolean):
        return False
    if isinstance(column.type, Float):
        return 0.0
    if isinstance(column.type, Integer | BigInteger):
        return len(person)
    name = f"{table.name}-{len(person)}"
    return name[: column.type.length] if isinstance(column.type, String) and column.type.length else name


def contents(database: Database) -> dict[str, list[Any]]:
    """All rows of all tables."""
    with database.read() as session:
        return {t.name: [tuple(row) for row in session.execute(select(t))] for t in METADATA.sorted_tables}


def test_nothing_of_a_person_is_left_anywhere(database: Database) -> None:
    """In no column of any table; everybody else's rows are as they were, and the chain holds."""
    fill(database, BYSTANDER)
    fill(database, PERSON)
    trail = SqlAudit(database, utc_now)
    trail.append("answer", principal=PERSON, request_id="r1", body={"question_sha256": "00", "cited": ["c"]})
    trail.append("directory.put", principal="admin", request_id="r2", body={"user_id": PERSON, "groups": []})
    trail.append("answer", principal=BYSTANDER, request_id="r3", body={"question_sha256": "00"})
    before = contents(database)
    erasing = SqlErasing(database, utc_now)
    surveyed = erasing.survey(PERSON)
    assert set(surveyed) == set(PLACES)
    assert contents(database) == before
    assert erasing.erase(PERSON, heir=HEIR, principal="admin") == surveyed
    after = contents(database)
    assert PERSON not in str(after)
    assert "O'Hara" not in str(after)
    assert erasing.survey(PERSON) == {}
    assert erasing.survey(BYSTANDER) == dict.fromkeys(PLACES, 1)
    verdict = trail.verify()
    assert verdict.is_intact
    assert verdict.n_erased == 2
    first, second, third, told = trail.records(after=0, limit=10)
    assert (first.principal, first.erased, first.facts) == ("", ("actor",), {"cited": ["c"]})
    assert (second.principal, second.erased) == ("admin", ("subject",))
    assert third.principal == BYSTANDER
    assert (told.event, told.principal, told.facts["parts"], told.facts["heir"]) == (
        "audit.erase",
        "admin",
        2,
        HEIR,
    )


def test_a_person_goes_with_every_other_id(database: Database) -> None:
    """What is granted to a linked id, owned by it or recorded of it goes too; so does an id that has ended."""
    mara, mail, subject = UserId("mara"), "mara@example.org", UserId("oidc:42")
    fill(database, mail)
    with database.write() as session:
        session.execute(delete(models.UserRow))
        session.execute(delete(models.IdentityRow))
    SqlDirectory(database, utc_now).create_user(mara, UserChange(name="Mara", login="m.l@example.org"))
    links = SqlLinks(database, utc_now)
    links.link(mara, "mail", mail)
    links.link(mara, "oidc", "42")
    links.unlink(mara, "oidc", "42")
    trail = SqlAudit(database, utc_now)
    record = {"user_id": "bo", "issuer": "mail", "subject": mail}
    trail.append("directory.unlink", principal="admin", request_id="r1", body=record)
    members = {"group_id": "group:hr", "members": [f"user:{subject}"], "n_members": 1}
    trail.append("directory.group_change", principal="admin", request_id="r2", body=members)
    trail.append("answer", principal=subject, request_id="r3", body={})
    erasing = SqlErasing(database, utc_now)
    with pytest.raises(ConflictError, match="another id of mara"):
        erasing.survey(UserId(mail))
    with pytest.raises(ConflictError, match="another id of mara"):
        erasing.erase(UserId(mail), heir=HEIR, principal="admin")
    with pytest.raises(ConflictError, match="inherits"):
        erasing.erase(mara, heir=UserId(mail), principal="admin")
    assert erasing.survey(mara)[AUDIT_PLACE] == 3
    erasing.erase(mara, heir=HEIR, principal="admin")
    assert not any(word in str(contents(database)) for word in ("mara", "oidc:42", "m.l@example.org"))
    assert trail.verify().is_intact


def test_who_reads_what_reaches_the_index(database: Database) -> None:
    """Documents whose access list changed are marked for the next reconciliation, and have an owner."""
    fill(database, PERSON)
    SqlErasing(database, utc_now).erase(PERSON, heir=HEIR, principal="admin")
    with database.read() as session:
        (row,) = session.scalars(select(models.DocumentRow))
    assert row.owner == HEIR
    assert row.acl_epoch == row.indexed_acl_epoch + 1


def test_what_is_owned_needs_an_heir(database: Database) -> None:
    """Nobody comes to read what the person owned unless it is said who; nothing has been done then."""
    fill(database, PERSON)
    before = contents(database)
    erasing = SqlErasing(database, utc_now)
    for heir, principal in ((None, "admin"), (PERSON, "admin"), (HEIR, PERSON)):
        with pytest.raises(ConflictError):
            erasing.erase(PERSON, heir=heir, principal=principal)
    assert contents(database) == before


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_parts WHERE sequence = 3",
        "UPDATE audit SET body = '{\"parts\": 9, \"places\": {}}' WHERE event = 'audit.erase'",
        "UPDATE audit SET body = '{\"parts\": 9}' WHERE sequence = 1",
    ],
)
def test_an_erasure_hides_no_other_one(database: Database, statement: str) -> None:
    """What goes without a record of it is missed, and what is left of an erased record cannot be changed."""
    trail = SqlAudit(database, utc_now)
    for person in (PERSON, BYSTANDER, BYSTANDER):
        trail.append("answer", principal=person, request_id="r", body={"cited": []})
    SqlErasing(database, utc_now).erase(PERSON, heir=None, principal="admin")
    assert trail.verify().is_intact
    with database.write() as session:
        session.execute(text(statement))
    assert not trail.verify().is_intact


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        """Begin long ago."""
        self.now = OLD

    def __call__(self) -> datetime:
        """The time."""
        return self.now


def test_a_pruned_trail_still_verifies(database: Database) -> None:
    """Pruned twice, with erasures before, between and after; it says how much went."""
    clock = Clock()
    trail, erasing, pruning = (
        SqlAudit(database, clock),
        SqlErasing(database, clock),
        SqlPruning(database, clock),
    )
    heads: list[Head | None] = []
    for day in range(12):
        clock.now = OLD + timedelta(days=day)
        trail.append("answer", principal=f"p{day % 3}", request_id=f"r{day}", body={"cited": []})
        heads.append(trail.head())
        if day == 5:
            erasing.erase(UserId("p1"), heir=None, principal="admin")
    assert pruning.due(OLD + timedelta(days=4)) == 4
    seen: list[tuple[int, int]] = []
    assert (
        pruning.prune(OLD + timedelta(days=4), principal="admin", progress=lambda *at: seen.append(at)) == 4
    )
    assert seen == [(4, 4)]
    assert trail.verify().is_intact
    erasing.erase(UserId("p2"), heir=None, principal="admin")
    assert pruning.prune(OLD + timedelta(days=8), principal="admin") == 5
    erasing.erase(UserId("p0"), heir=None, principal="admin")
    verdict = trail.verify()
    assert verdict.is_intact
    assert verdict.n_pruned == 9
    assert trail.records(after=0, limit=1)[0].previous_hash != GENESIS
    assert trail.verify(kept=heads[-1]).is_intact
    assert trail.verify(kept=heads[0]).is_intact  # it is gone, so there is nothing to compare with
    assert pruning.prune(OLD + timedelta(days=8), principal="admin") == 0


def test_an_idle_trail_is_pruned_to_the_record_of_it(database: Database) -> None:
    """And goes on from there."""
    clock = Clock()
    trail, pruning = SqlAudit(database, clock), SqlPruning(database, clock)
    for _ in range(3):
        trail.append("answer", principal="p", request_id="r", body={})
    last = trail.head()
    clock.now = OLD + timedelta(days=400)
    assert pruning.prune(OLD + timedelta(days=1), principal="admin") == 3
    assert trail.count(Span()) == 1
    trail.append("answer", principal="p", request_id="r", body={})
    assert trail.verify(kept=last).is_intact
    assert trail.verify(kept=Head(3, "0" * 64)).reason == "head_differs"
    with pytest.raises(ValueError, match="future"):
        pruning.prune(clock.now + timedelta(days=1), principal="admin")


def test_pruning_counts_for_what_it_says_only(database: Database) -> None:
    """Taking more away behind its back is found."""
    clock = Clock()
    trail, pruning = SqlAudit(database, clock), SqlPruning(database, clock)
    for day in range(6):
        clock.now = OLD + timedelta(days=day)
        trail.append("answer", principal="p", request_id="r", body={})
    pruning.prune(OLD + timedelta(days=2), principal="admin")
    with database.write() as session:
        session.execute(text("DELETE FROM audit_parts WHERE sequence = 3"))
        session.execute(text("DELETE FROM audit WHERE sequence = 3"))
    verdict = trail.verify()
    assert (verdict.broken_at, verdict.reason) == (4, "start_missing")

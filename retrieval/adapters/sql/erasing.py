"""Erasing a person: every column that holds a person's id, and what becomes of it. docs/audit.md describes it.

`PLACES` and `WITHOUT_PERSONS` together name every column of text; a test compares them with the tables, so that
a new column is not forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Text, cast, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from retrieval.access import UserId, user_principal
from retrieval.adapters.sql.audit import append_record
from retrieval.adapters.sql.database import Database, one_at_a_time
from retrieval.adapters.sql.groups import lock_directory
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import DocumentRow, IdentityRow, Table
from retrieval.adapters.sql.rows import batches
from retrieval.adapters.sql.section_rules import NAMES_IN_RULE
from retrieval.audit import ERASED_EVENT, names
from retrieval.errors import ConflictError

_BATCH = 200


class Fate(StrEnum):
    """What becomes of a row that names the person."""

    DELETED = "deleted"
    EMPTIED = "emptied"
    HANDED_OVER = "handed over"
    TAKEN_OUT = "taken out of the list"


class Form(StrEnum):
    """How the column names a person: by its id, as `user:<id>`, anywhere in JSON, or in section rules' lists."""

    ID = "id"
    PRINCIPAL = "principal"
    JSON = "json"
    RULES = "rules"


@dataclass(frozen=True, slots=True)
class Place:
    """A column that may hold a person's id, as `table.column`."""

    column: str
    fate: Fate
    form: Form = Form.ID


AUDIT_PLACE = Place("audit_parts.content", Fate.DELETED, Form.JSON)

PLACES = (
    Place("users.id", Fate.DELETED),
    Place("identities.user_id", Fate.DELETED),
    Place("identities.known_as", Fate.DELETED),
    Place("memberships.member_id", Fate.DELETED, Form.PRINCIPAL),
    Place("api_keys.user_id", Fate.DELETED),
    Place("sessions.user_id", Fate.DELETED),
    Place("conversation_turns.user_id", Fate.DELETED),
    Place("feedback.user_id", Fate.DELETED),
    Place("token_use.user_id", Fate.DELETED),
    Place("idempotency.body", Fate.DELETED, Form.JSON),
    Place("sources.owner", Fate.HANDED_OVER),
    Place("sources.allow", Fate.TAKEN_OUT, Form.JSON),
    Place("sources.deny", Fate.TAKEN_OUT, Form.JSON),
    Place("documents.owner", Fate.HANDED_OVER),
    Place("acl_entries.principal_id", Fate.DELETED, Form.PRINCIPAL),
    Place("documents.section_rules", Fate.TAKEN_OUT, Form.RULES),
    Place("versions.requested_by", Fate.EMPTIED),
    Place("jobs.requested_by", Fate.EMPTIED),
    AUDIT_PLACE,
)
"""Where persons are named. Rows of an idempotency key that name nobody are gone after a day by themselves."""

WITHOUT_PERSONS = frozenset(
    (
        # Of rows that go with the person; a group is nobody.
        *(
            "users.name",
            "users.login",
            "users.login_key",
            "users.external_id",
            "users.source",
            "users.details",
        ),
        *("identities.issuer", "identities.subject", "memberships.group_id"),
        *("groups.id", "groups.name", "groups.source", "groups.external_id"),
        *("api_keys.id", "api_keys.prefix", "api_keys.secret_hash", "api_keys.name", "api_keys.scopes"),
        *("sessions.id", "sessions.name", "sessions.groups"),
        *("conversation_turns.conversation_id", "conversation_turns.role", "conversation_turns.text"),
        *("feedback.request_id", "feedback.comment"),
        *("idempotency.key", "idempotency.request_hash"),  # hashes
        *("audit.event", "audit.request_id", "audit.body", "audit.commitments"),
        *("audit.previous_hash", "audit.hash", "audit_parts.part", "audit_parts.salt"),
        *("outbox.task", "outbox.job_id", "token_use.day"),
        *("indexes.name", "indexes.fingerprint", "indexes.languages", "indexes.state"),
        *("jobs.id", "jobs.kind", "jobs.document_id", "jobs.source_id", "jobs.run_id", "jobs.state"),
        *("jobs.active_key", "jobs.lease_token", "jobs.error_code", "jobs.error_message"),
        *("jobs.parameters", "jobs.report", "jobs.reason"),
        *("acl_entries.document_id", "acl_entries.effect"),
        *("document_labels.document_id", "document_labels.origin", "document_labels.label"),
        *("source_labels.source_id", "source_labels.label"),
        # What a source is and what its documents say. People who are mentioned there are erased with the document.
        *("sources.id", "sources.name", "sources.kind", "sources.location", "sources.options"),
        *("sources.error_code", "sources.error_message", "sources.acl_error_code"),
        *("documents.id", "documents.source_id", "documents.external_id", "documents.parent_id"),
        *("documents.title", "documents.source_title", "documents.url", "documents.media_type"),
        *("documents.language", "documents.tags", "documents.state", "documents.error_code"),
        *("documents.error_message", "documents.warnings", "documents.fingerprint"),
        *("documents.superseded_by", "documents.live_version_id", "documents.acl_origin"),
        *("versions.id", "versions.document_id", "versions.content_hash", "versions.recipe"),
        *("versions.title", "versions.media_type", "versions.language", "versions.facts", "versions.reason"),
        *("chunks.id", "chunks.document_id", "chunks.version_id", "chunks.heading_path"),
        *("chunks.section_paths", "chunks.context", "chunks.text"),
    )
)
"""Columns of text that name no person by id."""


class SqlErasing:
    """Finds a person in the catalogue and erases it there. Checks no permission: it is for operators."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Work on this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def survey(self, person: UserId) -> dict[Place, int]:
        """How many rows name the person, by place, in the order of `PLACES`; those with none are left out.

        Raises:
            ConflictError: It is another id of a user, who has to be named.
        """
        with self._database.read() as session:
            ids = _ids_of(session, person)
            counts = {place: len(_keys(session, place, ids)) for place in PLACES}
        return {place: count for place, count in counts.items() if count}

    def erase(
        self, person: UserId, *, heir: UserId | None, principal: str, request_id: str = ""
    ) -> dict[Place, int]:
        """Erase a person everywhere, and put on record that somebody was erased, in one transaction.

        Args:
            person: Whom, with all ids that are linked to it, or were last.
            heir: Who owns from now on, and so reads, what the person owned.
            principal: Who erases.
            request_id: Of the request, if there is one.

        Returns:
            What `survey` would have said.

        Raises:
            ConflictError: The person owns something and there is no heir; or is the heir, or erases itself; or
                it is another id of a user, who has to be named.
        """
        now = self._clock()
        with self._database.write() as session:
            lock_directory(session)
            one_at_a_time(session, "audit")
            ids = _ids_of(session, person)
            if not ids.isdisjoint((heir, principal)):
                raise ConflictError(
                    "nobody inherits from oneself, or erases oneself: somebody else has to do it"
                )
            found = {place: _keys(session, place, ids) for place in PLACES}
            found = {place: keys for place, keys in found.items() if keys}
            if heir is None and any(place.fate is Fate.HANDED_OVER for place in found):
                raise ConflictError("the person owns sources or documents: name who owns them from now on")
            _index_anew(session, _documents_in(found))
            for place, keys in found.items():
                for batch in batches(keys, _BATCH):
                    _carry_out(session, place, batch, ids, heir)
            counts = {place: len(keys) for place, keys in found.items()}
            facts: dict[str, Any] = {
                "parts": counts.get(AUDIT_PLACE, 0),
                "places": {place.column: count for place, count in counts.items()},
            }
            if heir is not None:
                facts["heir"] = heir
            append_record(session, now, ERASED_EVENT, principal=principal, request_id=request_id, facts=facts)
        return counts


def _column(place: Place) -> Column[Any]:
    table, _, column = place.column.partition(".")
    return Table.metadata.tables[table].c[column]


def _ids_of(session: Session, person: UserId) -> frozenset[UserId]:
    """Every id by which the catalogue names a person: links that have ended too, until somebody else has the id."""
    other = select(IdentityRow.user_id).where(
        IdentityRow.known_as == person, IdentityRow.user_id != person, IdentityRow.ended_at.is_(None)
    )
    user = session.scalar(other)
    if user is not None:
        raise ConflictError(f"this is another id of {user}: a person is erased with all ids, or not at all")
    linked = session.scalars(select(IdentityRow.known_as).where(IdentityRow.user_id == person))
    return frozenset((person, *(UserId(id_) for id_ in linked)))


def _keys(session: Session, place: Place, persons: frozenset[UserId]) -> list[tuple[Any, ...]]:
    """Primary keys of the rows that name the person."""
    column = _column(place)
    key = column.table.primary_key.columns
    if place.form not in (Form.JSON, Form.RULES):
        wanted = sorted(persons if place.form is Form.ID else map(user_principal, persons))
        return [tuple(row) for row in session.execute(select(*key).where(column.in_(wanted)).order_by(*key))]
    stored = cast(column, Text)
    written = [json.dumps(person)[1:-1] for person in sorted(persons)]  # as it stands in the stored text
    is_maybe = or_(*(stored.contains(each, autoescape=True) for each in written))
    rows = session.execute(select(column, *key).where(is_maybe).order_by(*key))
    return [tuple(row[1:]) for row in rows if _names_any(_naming(place, row[0]), persons)]


def _names_any(value: object, persons: frozenset[UserId]) -> bool:
    return any(names(value, person) for person in persons)


def _naming(place: Place, value: Any) -> Any:
    """The parts of a JSON value that name persons: of section rules their lists, since a heading names nobody."""
    if place.form is not Form.RULES:
        return value
    return [rule[part] for rule in value or () for part in NAMES_IN_RULE]


def _without(place: Place, value: list[Any], persons: frozenset[UserId]) -> list[Any]:
    def rest(of: list[Any]) -> list[Any]:
        return [each for each in of if not _names_any(each, persons)]

    if place.form is Form.RULES:
        return [{**rule, **{part: rest(rule[part]) for part in NAMES_IN_RULE}} for rule in value]
    return rest(value)


def _carry_out(
    session: Session,
    place: Place,
    keys: Sequence[tuple[Any, ...]],
    persons: frozenset[UserId],
    heir: UserId | None,
) -> None:
    column = _column(place)
    table = column.table
    here = tuple_(*table.primary_key.columns).in_(keys)
    match place.fate:
        case Fate.DELETED:
            session.execute(delete(table).where(here))
        case Fate.EMPTIED:
            session.execute(update(table).where(here).values({column: ""}))
        case Fate.HANDED_OVER:
            session.execute(update(table).where(here).values({column: heir}))
        case Fate.TAKEN_OUT:
            for row in session.execute(select(column, *table.primary_key.columns).where(here)).all():
                rest = _without(place, row[0], persons)
                this = tuple_(*table.primary_key.columns).in_([tuple(row[1:])])
                session.execute(update(table).where(this).values({column: rest}))


def _documents_in(found: Mapping[Place, Sequence[tuple[Any, ...]]]) -> set[str]:
    """Documents whose access list changes. Both tables' keys begin with the document's id."""
    lists = ("documents.owner", "acl_entries.principal_id", "documents.section_rules")
    places = [place for place in found if place.column in lists]
    return {str(key[0]) for place in places for key in found[place]}


def _index_anew(session: Session, document_ids: Iterable[str]) -> None:
    """Let the next reconciliation tell the index who reads these; the catalogue decides until then."""
    for batch in batches(sorted(document_ids), _BATCH):
        changed = update(DocumentRow).where(DocumentRow.id.in_(batch))
        session.execute(changed.values(acl_epoch=func.coalesce(DocumentRow.acl_epoch, 0) + 1))

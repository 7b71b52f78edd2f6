"""The audit trail in SQL: append-only, each record bound to the one before it (retrieval/audit.py)."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVarTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from retrieval.access import Principal
from retrieval.adapters.sql.database import Database, one_at_a_time
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import AuditPartRow, AuditRow
from retrieval.audit import GENESIS, Head, Part, Record, Verdict, check_chain, commitment, record_hash, split

Ts = TypeVarTuple("Ts")

_AT_A_TIME = 1000
"""Records that are in memory at once while many are read."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which records are meant.

    Attributes:
        after: Those with a higher number.
        through: Those up to this number; None for all.
        since: Those written at this moment or later; None for all.
        until: Those written before this moment; None for all.
        events: Those of these events; empty for all.
    """

    after: int = 0
    through: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    events: Collection[str] = ()


class SqlAudit:
    """The audit trail in SQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the trail in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def append(
        self, event: str, *, principal: Principal | str, request_id: str, body: Mapping[str, Any]
    ) -> None:
        """Write one record; it is committed on return.

        Args:
            event: What is about to be done, or was.
            principal: Who does it, by id where nobody can be acting for it.
            request_id: Of the request that asked for it.
            body: What there is to say of it; fields that name persons are kept apart (`retrieval.audit.split`).

        Raises:
            CatalogueUnavailableError: It could not be written; what it was to record must not happen.
        """
        who = principal if isinstance(principal, str) else principal.user_id
        agent = {} if isinstance(principal, str) or not principal.acted_by else {"by": principal.acted_by}
        facts = {**body, **agent}
        with self._database.write() as session:
            append_record(session, self._clock(), event, principal=who, request_id=request_id, facts=facts)

    def records(self, *, after: int, limit: int) -> list[Record]:
        """Records with a sequence number over `after`, oldest first."""
        return self._page(Span(after), limit)

    def _page(self, span: Span, limit: int) -> list[Record]:
        query = _within(select(AuditRow.sequence), span).order_by(AuditRow.sequence)
        chosen = query.limit(limit).subquery()
        with self._database.read() as session:
            return list(_records(session, _joined().join(chosen, chosen.c.sequence == AuditRow.sequence)))

    def stream(self, span: Span) -> Iterator[Record]:
        """The records of a span, oldest first, as one state of the trail; not held in memory.

        Raises:
            CatalogueUnavailableError: The catalogue stopped answering; what came so far is right.
        """
        with self._database.read() as session:
            yield from records_within(session, span)

    def pages(self, span: Span) -> Iterator[list[Record]]:
        """The records of a span in pages, oldest first; whoever takes its time over one holds nothing up.

        Raises:
            CatalogueUnavailableError: The catalogue stopped answering; what came so far is right.
        """
        after = span.after
        while page := self._page(replace(span, after=after), _AT_A_TIME):
            yield page
            after = page[-1].sequence

    def count(self, span: Span) -> int:
        """How many records a span holds."""
        with self._database.read() as session:
            return session.scalar(_within(select(func.count()).select_from(AuditRow), span)) or 0

    def head(self) -> Head | None:
        """The newest record; None for an empty trail."""
        with self._database.read() as session:
            return newest(session)

    def verify(
        self, *, kept: Head | None = None, progress: Callable[[int, int], None] = lambda *_: None
    ) -> Verdict:
        """Check the whole trail as `check_chain` does; records that are written meanwhile are left out.

        Raises:
            CatalogueUnavailableError: The catalogue did not answer.
        """
        total = self.count(Span())
        # one statement, one state of the trail: an erasure meanwhile shows with its record or not at all
        records = self.stream(Span())
        return check_chain(records, kept=kept, looked_at=lambda done: progress(done, max(done, total)))


def append_record(
    session: Session,
    at: datetime,
    event: str,
    *,
    principal: str,
    request_id: str,
    facts: Mapping[str, Any],
) -> None:
    """Write one record within a transaction; transactions that do so wait for one another."""
    one_at_a_time(session, "audit")
    body, contents = split(principal, facts)
    parts = {name: Part(secrets.token_hex(32), content) for name, content in contents.items()}
    before = newest(session) or Head(0, GENESIS)
    record = Record(
        sequence=before.sequence + 1,
        at=at,
        event=event,
        request_id=request_id,
        body=body,
        commitments={name: commitment(name, part.salt, part.content) for name, part in parts.items()},
        parts=parts,
        previous_hash=before.hash,
        hash="",
    )
    _add(session, replace(record, hash=record_hash(record)))


def newest(session: Session) -> Head | None:
    """The newest record as a transaction sees it; None for an empty trail."""
    query = select(AuditRow.sequence, AuditRow.hash).order_by(AuditRow.sequence.desc()).limit(1)
    found = session.execute(query).first()
    return None if found is None else Head(found.sequence, found.hash)


def records_within(session: Session, span: Span) -> Iterator[Record]:
    """The records of a span as a transaction sees them, oldest first."""
    return _records(session, _within(_joined(), span))


def _add(session: Session, record: Record) -> None:
    row = AuditRow(
        sequence=record.sequence,
        at=record.at,
        event=record.event,
        request_id=record.request_id,
        body=dict(record.body),
        commitments=dict(record.commitments),
        format=record.format,
        previous_hash=record.previous_hash,
        hash=record.hash,
    )
    session.add(row)
    session.flush()  # parts refer to it
    session.add_all(
        AuditPartRow(sequence=record.sequence, part=name, salt=part.salt, content=dict(part.content))
        for name, part in record.parts.items()
    )


def _joined() -> Select[AuditRow, AuditPartRow | None]:
    """Records with their parts, one row for each part, in order of records."""
    on = AuditPartRow.sequence == AuditRow.sequence
    query = select(AuditRow, AuditPartRow).outerjoin(AuditPartRow, on)
    return query.order_by(AuditRow.sequence, AuditPartRow.part)


def _within(query: Select[*Ts], span: Span) -> Select[*Ts]:
    query = query.where(AuditRow.sequence > span.after)
    if span.through is not None:
        query = query.where(AuditRow.sequence <= span.through)
    if span.since is not None:
        query = query.where(AuditRow.at >= span.since)
    if span.until is not None:
        query = query.where(AuditRow.at < span.until)
    return query.where(AuditRow.event.in_(span.events)) if span.events else query


def _records(session: Session, query: Select[AuditRow, AuditPartRow | None]) -> Iterator[Record]:
    rows = session.execute(query.execution_options(yield_per=_AT_A_TIME))
    for _, group in itertools.groupby(rows, key=lambda pair: pair[0].sequence):
        pairs = list(group)
        yield _to_record(pairs[0][0], [part for _, part in pairs if part is not None])


def _to_record(row: AuditRow, parts: list[AuditPartRow]) -> Record:
    return Record(
        sequence=row.sequence,
        at=row.at,
        event=row.event,
        request_id=row.request_id,
        body=row.body,
        commitments=row.commitments,
        parts={part.part: Part(part.salt, part.content) for part in parts},
        previous_hash=row.previous_hash,
        hash=row.hash,
        format=row.format,
    )

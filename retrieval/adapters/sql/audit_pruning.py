"""Removing old records of the audit trail, so that the rest can still be checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from retrieval.adapters.sql.audit import Span, append_record, newest, records_within
from retrieval.adapters.sql.database import Database, one_at_a_time
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import AuditPartRow, AuditRow
from retrieval.audit import GENESIS, PRUNED_EVENT, balance_of

_AT_A_TIME = 20_000
"""Records that one transaction removes."""


@dataclass(frozen=True, slots=True)
class _Oldest:
    """Records to remove: as many as the oldest ones up to `through`, whose hash the rest goes on from."""

    through: int
    hash: str
    n_records: int


class SqlPruning:
    """Removes the oldest records. Checks no permission: it is for operators."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Work on this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def due(self, before: datetime) -> int:
        """How many records would go."""
        with self._database.read() as session:
            oldest = _oldest(session, before, limit=None)
            return oldest.n_records if oldest else 0

    def prune(
        self, before: datetime, *, principal: str, progress: Callable[[int, int], None] = lambda *_: None
    ) -> int:
        """Remove the oldest records, up to the first that was written at `before` or later.

        Each transaction removes some and puts on record how many, and the hash that the rest goes on from.

        Returns:
            How many records went.

        Raises:
            ValueError: `before` is yet to come: there would be no end of records to remove.
        """
        if before > self._clock():
            raise ValueError("before is in the future")
        total, done = self.due(before), 0
        while n_removed := self._prune_some(before, principal):
            done += n_removed
            progress(min(done, total), total)
        return done

    def _prune_some(self, before: datetime, principal: str) -> int:
        now = self._clock()
        with self._database.write() as session:
            one_at_a_time(session, "audit")
            oldest = _oldest(session, before, limit=_AT_A_TIME)
            if oldest is None:
                return 0
            earlier = _earlier_pruning(session)
            removed = records_within(session, Span(through=oldest.through))
            facts = {
                "through": oldest.through,
                "hash": oldest.hash,
                "before": before.isoformat(),
                "records": oldest.n_records,
                "records_ever": oldest.n_records + earlier.get("records_ever", 0),
                "balance": balance_of(removed) + earlier.get("balance", 0),
            }
            session.execute(delete(AuditPartRow).where(AuditPartRow.sequence <= oldest.through))
            append_record(session, now, PRUNED_EVENT, principal=principal, request_id="", facts=facts)
            session.execute(delete(AuditRow).where(AuditRow.sequence <= oldest.through))
        return oldest.n_records


def _oldest(session: Session, before: datetime, *, limit: int | None) -> _Oldest | None:
    """The oldest records that are due, at most `limit`; None when none is."""
    first_kept = session.scalar(select(func.min(AuditRow.sequence)).where(AuditRow.at >= before))
    head = newest(session)
    if head is None:
        return None
    due = select(AuditRow.sequence, AuditRow.hash).order_by(AuditRow.sequence)
    if first_kept is not None:
        due = due.where(AuditRow.sequence < first_kept)
    limited = due.limit(limit).subquery()
    n_records, through = session.execute(select(func.count(), func.max(limited.c.sequence))).one()
    if not n_records:
        return None
    hash_ = session.scalars(select(AuditRow.hash).where(AuditRow.sequence == through)).one()
    return _Oldest(through, hash_, n_records)


def _earlier_pruning(session: Session) -> dict[str, Any]:
    """What the record of the pruning says that this trail starts from; empty for a trail from its beginning."""
    start = session.scalars(select(AuditRow.previous_hash).order_by(AuditRow.sequence).limit(1)).one()
    if start == GENESIS:
        return {}
    prunings = select(AuditRow.body).where(AuditRow.event == PRUNED_EVENT)
    return next((body for body in session.scalars(prunings) if body["hash"] == start), {})

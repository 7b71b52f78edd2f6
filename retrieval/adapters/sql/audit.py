"""The audit trail: append-only, each record bound to the one before it by a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from retrieval.adapters.sql.database import Database, one_at_a_time
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import AuditRow

_GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One record. `hash` is the SHA-256 over its fields and `previous_hash`."""

    sequence: int
    at: datetime
    event: str
    principal: str
    request_id: str
    body: Mapping[str, Any]
    previous_hash: str
    hash: str


class SqlAudit:
    """The audit trail in SQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the trail in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def append(self, event: str, *, principal: str, request_id: str, body: Mapping[str, Any]) -> None:
        """Write one record; it is committed on return.

        Raises:
            CatalogueUnavailableError: It could not be written; what it was to record must not happen.
        """
        at = self._clock()
        with self._database.write() as session:
            one_at_a_time(session, "audit")
            newest = select(AuditRow.hash).order_by(AuditRow.sequence.desc()).limit(1)
            previous = session.scalar(newest) or _GENESIS
            fields = (at.isoformat(), event, principal, request_id, dict(body))
            session.add(
                AuditRow(
                    at=at,
                    event=event,
                    principal=principal,
                    request_id=request_id,
                    body=dict(body),
                    previous_hash=previous,
                    hash=chained_hash(previous, *fields),
                )
            )

    def records(self, *, after: int, limit: int) -> list[AuditRecord]:
        """Records with a sequence number over `after`, oldest first."""
        query = select(AuditRow).where(AuditRow.sequence > after).order_by(AuditRow.sequence).limit(limit)
        with self._database.read() as session:
            return [_to_record(row) for row in session.scalars(query)]

    def first_break(self) -> int | None:
        """Sequence number of the first record that does not fit the chain, None when all do."""
        previous, after = _GENESIS, 0
        while page := self.records(after=after, limit=1000):
            for record in page:
                fields = (record.at.isoformat(), record.event, record.principal, record.request_id)
                expected = chained_hash(previous, *fields, dict(record.body))
                if record.previous_hash != previous or record.hash != expected:
                    return record.sequence
                previous, after = record.hash, record.sequence
        return None


def chained_hash(
    previous: str, at: str, event: str, principal: str, request_id: str, body: dict[str, Any]
) -> str:
    """SHA-256 over a record and its predecessor's hash, as canonical JSON (sorted keys, no spaces)."""
    canonical = json.dumps(
        [previous, at, event, principal, request_id, body], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _to_record(row: AuditRow) -> AuditRecord:
    return AuditRecord(
        sequence=row.sequence,
        at=row.at,
        event=row.event,
        principal=row.principal,
        request_id=row.request_id,
        body=row.body,
        previous_hash=row.previous_hash,
        hash=row.hash,
    )

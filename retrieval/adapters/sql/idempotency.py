"""Replies to writes that carried an Idempotency-Key, in SQL, kept for a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, update

from retrieval.adapters.sql.database import Database, one_at_a_time
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import IdempotencyRow

_KEPT = timedelta(hours=24)
_UNFINISHED_FOR = timedelta(minutes=5)
"""A request that has not finished after this long died with its process: its key is free again."""

_IN_PROGRESS = 0


@dataclass(frozen=True, slots=True)
class StoredReply:
    """What a key was used for before.

    Attributes:
        request_hash: Hash of the request that came first.
        is_finished: Whether there is a reply already.
        status: Status of the reply, 0 while there is none.
    """

    request_hash: str
    is_finished: bool
    status: int
    body: Mapping[str, Any]


class SqlIdempotency:
    """Claims keys and keeps replies. A claim is taken by the primary key, so only one request wins."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep replies in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def claim(self, key: str, request_hash: str) -> StoredReply | None:
        """Take a key for this request; None when it was free, else what it was used for before."""
        now = self._clock()
        with self._database.write() as session:
            session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < now - _KEPT))
            session.execute(
                delete(IdempotencyRow).where(
                    IdempotencyRow.key == key,
                    IdempotencyRow.status == _IN_PROGRESS,
                    IdempotencyRow.created_at < now - _UNFINISHED_FOR,
                )
            )
            one_at_a_time(session, f"idempotency:{key}")
            row = session.get(IdempotencyRow, key)
            if row is not None:
                return StoredReply(row.request_hash, row.status != _IN_PROGRESS, row.status, row.body)
            session.add(
                IdempotencyRow(
                    key=key, request_hash=request_hash, status=_IN_PROGRESS, body={}, created_at=now
                )
            )
        return None

    def keep(self, key: str, *, status: int, body: Mapping[str, Any]) -> None:
        """Keep the reply of the request that claimed the key."""
        with self._database.write() as session:
            session.execute(
                update(IdempotencyRow).where(IdempotencyRow.key == key).values(status=status, body=dict(body))
            )

    def release(self, key: str) -> None:
        """Give a key back: its request came to nothing, so it may be tried again."""
        with self._database.write() as session:
            session.execute(
                delete(IdempotencyRow).where(IdempotencyRow.key == key, IdempotencyRow.status == _IN_PROGRESS)
            )

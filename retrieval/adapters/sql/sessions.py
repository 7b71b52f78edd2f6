"""Sessions of browsers. The catalogue keeps a hash of each cookie, so a copy of it opens no session."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, update

from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import SessionRow

_NOTED_EVERY = timedelta(seconds=60)
"""A use is written down at most this often, so that reading does not write each time."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a session lasts.

    Attributes:
        idle: Without any request.
        longest: In all, however busy it is.
    """

    idle: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is still open.

    Attributes:
        user_id: Who signed in.
        name: The name to show; may be empty.
        groups: What the provider said at sign-in; None: the directory decides.
    """

    user_id: UserId
    name: str
    groups: frozenset[PrincipalId] | None


class SqlSessions:
    """Sessions in SQL. Beginning and ending one counts from the commit on."""

    def __init__(self, database: Database, clock: Clock, lifetime: Lifetime) -> None:
        """Keep sessions of this lifetime in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock
        self._lifetime = lifetime

    def begin(
        self, user_id: UserId, *, name: str, groups: Collection[PrincipalId] | None, replaces: str = ""
    ) -> str:
        """Begin a session and return its secret, 256 random bits, which is kept nowhere.

        Args:
            user_id: Who signed in.
            name: The name to show.
            groups: What the provider said; None: the directory decides.
            replaces: Secret of a session that ends with this, if the browser has one.
        """
        secret, now = secrets.token_urlsafe(32), self._clock()
        row = SessionRow(
            id=_hash(secret),
            user_id=user_id,
            name=name,
            groups=None if groups is None else sorted(groups),
            begun_at=now,
            seen_at=now,
            ends_at=now + self._lifetime.longest,
        )
        is_over = or_(
            SessionRow.id == _hash(replaces),
            SessionRow.ends_at <= now,
            SessionRow.seen_at <= now - self._lifetime.idle,
        )
        with self._database.write() as session:
            session.execute(delete(SessionRow).where(is_over))
            session.add(row)
        return secret

    def find(self, secret: str) -> Session | None:
        """The session that is still open under this secret, and note its use; None when there is none."""
        now = self._clock()
        with self._database.read() as session:
            row = session.get(SessionRow, _hash(secret))
        if row is None or not self._is_open(row, now):
            return None
        if now - row.seen_at > _NOTED_EVERY:
            self._note_use(row.id, now)
        groups = None if row.groups is None else frozenset(PrincipalId(group) for group in row.groups)
        return Session(UserId(row.user_id), row.name, groups)

    def end(self, secret: str) -> None:
        """End the session under this secret; nothing happens when there is none."""
        with self._database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.id == _hash(secret)))

    def end_all(self, user_id: UserId) -> int:
        """End every session of a user; how many there were."""
        with self._database.write() as session:
            ended = session.scalars(
                delete(SessionRow).where(SessionRow.user_id == user_id).returning(SessionRow.id)
            )
            return len(ended.all())

    def _is_open(self, row: SessionRow, now: datetime) -> bool:
        return now < row.ends_at and now - row.seen_at < self._lifetime.idle

    def _note_use(self, id_: str, now: datetime) -> None:
        with self._database.write() as session:
            session.execute(update(SessionRow).where(SessionRow.id == id_).values(seen_at=now))


def _hash(secret: str) -> str:
    """SHA-256 is enough for 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()

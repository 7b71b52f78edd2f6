"""Tokens that models were asked to read and write, by user and day (UTC), in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from retrieval.access import UserId
from retrieval.adapters.sql.database import Database, one_at_a_time
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import TokenUseRow

_KEPT = timedelta(days=90)


class SqlTokenUse:
    """Counts tokens in SQL, so a restart forgets nothing and several query services count together."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Count in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def reserve(self, user: UserId, tokens: int, *, per_user: int | None, total: int | None) -> str | None:
        """Count tokens before they are used: the day that they count for, None where they would be too many.

        Reservations wait for one another, so together they never go over a bound.

        Args:
            user: For whom.
            tokens: At most how many.
            per_user: Most tokens of one user in a day; None for no bound.
            total: Most tokens of all together in a day; None for no bound.
        """
        now = self._clock()
        day = _day(now)
        with self._database.write() as session:
            one_at_a_time(session, "token_use")
            row = session.get(TokenUseRow, (day, user))
            of_user = row.tokens if row is not None else 0
            if per_user is not None and of_user + tokens > per_user:
                return None
            if total is not None and _total(session, day) + tokens > total:
                return None
            if row is None:
                session.execute(delete(TokenUseRow).where(TokenUseRow.day < _day(now - _KEPT)))
                session.add(TokenUseRow(day=day, user_id=user, tokens=tokens))
            else:
                row.tokens = of_user + tokens
        return day

    def settle(self, user: UserId, day: str, *, reserved: int, used: int) -> None:
        """Count what was used in place of what was reserved."""
        with self._database.write() as session:
            session.execute(
                update(TokenUseRow)
                .where(TokenUseRow.day == day, TokenUseRow.user_id == user)
                .values(tokens=TokenUseRow.tokens + (used - reserved))
            )

    def today(self) -> Mapping[UserId, int]:
        """Tokens of this day by user, what is under way included."""
        query = select(TokenUseRow).where(TokenUseRow.day == _day(self._clock()))
        with self._database.read() as session:
            return {UserId(row.user_id): row.tokens for row in session.scalars(query)}


def _total(session: Session, day: str) -> int:
    return session.scalar(select(func.sum(TokenUseRow.tokens)).where(TokenUseRow.day == day)) or 0


def _day(moment: datetime) -> str:
    """ISO date; moments are in UTC."""
    return moment.date().isoformat()

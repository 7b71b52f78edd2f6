"""Other ids of a user: at an OpenID provider, at a source, or a mail address.

An id is linked by somebody who looks after the directory, never because two things are called alike. It belongs
to one user at a time, and one that was taken away is remembered: whoever gets it next has to be let in by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from retrieval.access import UserId
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.groups import lock_directory
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import IdentityRow, UserRow
from retrieval.errors import IdentityTakenError, NotFoundError

MAIL = "mail"
"""The issuer of mail addresses, by which sources name people."""


@dataclass(frozen=True, slots=True)
class Link:
    """Another id of a user.

    Attributes:
        issuer: Who gave it out: `oidc` or whatever name stands for the provider, a source's id, or `mail`.
        subject: The id there; an address in lower case.
        known_as: The user id that it comes to, by which access lists and tokens name it.
    """

    issuer: str
    subject: str
    known_as: UserId
    user_id: UserId
    linked_at: datetime


class SqlLinks:
    """Links in SQL. A change counts from its commit on."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep links in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def of(self, user_id: UserId) -> list[Link]:
        """Ids that are linked to a user, in order."""
        query = select(IdentityRow).where(IdentityRow.user_id == user_id, IdentityRow.ended_at.is_(None))
        with self._database.read() as session:
            rows = session.scalars(query.order_by(IdentityRow.issuer, IdentityRow.subject))
            return [_to_link(row) for row in rows]

    def link(self, user_id: UserId, issuer: str, subject: str, *, takeover: bool = False) -> Link:
        """Link an id to a user; linked again, nothing changes.

        Args:
            takeover: Whether the user may have the id although somebody else had it, and with it all that
                was granted to it.

        Raises:
            NotFoundError: There is no such user.
            IdentityTakenError: It is, or was, somebody else's, or a user of the directory is called so.
        """
        with self._database.write() as session:
            lock_directory(session)
            if session.get(UserRow, user_id) is None:
                raise NotFoundError(f"no user {user_id}")
            return link_in(session, user_id, (issuer, subject), self._clock(), takeover=takeover)

    def unlink(self, user_id: UserId, issuer: str, subject: str) -> None:
        """Take an id from a user. Raises `NotFoundError` when it is not the user's."""
        with self._database.write() as session:
            row = session.get(IdentityRow, (issuer, subject))
            if row is None or row.user_id != user_id or row.ended_at is not None:
                raise NotFoundError(f"{user_id} has no such id")
            row.ended_at = self._clock()


def link_in(
    session: Session, user_id: UserId, identity: tuple[str, str], now: datetime, *, takeover: bool = False
) -> Link:
    """Link an (issuer, subject) to a user; the caller holds the directory's lock. Raises as `link`."""
    issuer, subject = identity
    known_as = known_as_of(issuer, subject)
    if known_as != user_id and session.get(UserRow, known_as) is not None:
        raise IdentityTakenError("a user of the directory has this id")
    row = session.scalar(select(IdentityRow).where(IdentityRow.known_as == known_as))
    if row is not None and row.user_id != user_id and not takeover:
        raise IdentityTakenError("the id belongs to another user, or once did")
    if row is None:
        row = IdentityRow(issuer=issuer, subject=subject, known_as=known_as, user_id=user_id, linked_at=now)
        session.add(row)
    elif row.user_id != user_id or row.ended_at is not None:
        row.user_id, row.linked_at, row.ended_at = user_id, now, None
    session.flush()
    return _to_link(row)


def known_as_of(issuer: str, subject: str) -> UserId:
    """The user id that an id comes to."""
    return UserId(subject if issuer == MAIL else f"{issuer}:{subject}")


def linked_user(session: Session, user_id: UserId) -> str | None:
    """The user whose other id this is; None for one that is nobody's. Mail addresses let nobody in."""
    return session.scalar(_linked_user(), {"id": user_id})


@cache
def _linked_user() -> Select[str]:
    """Put together once, like that of the other ids: every request runs them."""
    return select(IdentityRow.user_id).where(
        IdentityRow.known_as == bindparam("id"), IdentityRow.issuer != MAIL, IdentityRow.ended_at.is_(None)
    )


def aliases_of(session: Session, user_id: UserId) -> frozenset[UserId]:
    """Other ids of a user."""
    return frozenset(UserId(id_) for id_ in session.scalars(_aliases(), {"id": user_id}))


@cache
def _aliases() -> Select[str]:
    return select(IdentityRow.known_as).where(
        IdentityRow.user_id == bindparam("id"), IdentityRow.ended_at.is_(None)
    )


def _to_link(row: IdentityRow) -> Link:
    return Link(row.issuer, row.subject, UserId(row.known_as), UserId(row.user_id), row.linked_at)

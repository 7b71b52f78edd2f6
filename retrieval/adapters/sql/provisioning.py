"""Users and groups as a provisioning system looks after them: found by its names, never deleted for good.

Its names change and are given again; ids here do neither. So a user keeps its id when it is renamed, a deleted
one stays as a disabled row, and somebody new of the same name gets another id, with nothing that was granted to
the one before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import count

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.directory import User, UserChange, add_user, change_user, to_users
from retrieval.adapters.sql.groups import (
    Group,
    GroupChange,
    change_group,
    ensure_groups,
    lock_directory,
    to_groups,
)
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.links import link_in
from retrieval.adapters.sql.models import GroupRow, IdentityRow, UserRow
from retrieval.errors import IdentityTakenError, NotFoundError, TakenError

Conditions = Mapping[str, str | bool]
"""Values by attribute: `id` (ours), `username` (in any case), `externalid`, `displayname`, `active`."""

Identities = Collection[tuple[str, str]]
"""Pairs of issuer and subject."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """Other ids that a user has by what its provisioning system says.

    Attributes:
        required: Ids to link; one that is somebody else's refuses the whole change.
        wanted: Ids to link, left out where they are somebody else's.
        ended: Ids that the user no longer has.
    """

    required: Identities = ()
    wanted: Identities = ()
    ended: Identities = ()


class SqlProvisioning:
    """What a provisioning system called `source` sees: all users, and the groups that its name qualifies."""

    def __init__(self, database: Database, clock: Clock, source: str) -> None:
        """Work on this database's directory, for one provisioning system."""
        self._database = database
        self._clock = clock
        self._source = source

    def users(self, conditions: Conditions, *, start: int, limit: int) -> tuple[list[User], int]:
        """Users in order of id, from the position `start` (counted from 1) on, and how many there are."""
        where: list[ColumnElement[bool]] = [UserRow.deleted_at.is_(None)]
        where += [_of_user(name, value) for name, value in conditions.items()]
        query = select(UserRow).where(*where).order_by(UserRow.id).offset(start - 1).limit(limit)
        with self._database.read() as session:
            total = session.scalar(select(func.count()).select_from(UserRow).where(*where)) or 0
            return to_users(session, list(session.scalars(query))), total

    def user(self, user_id: UserId) -> User:
        """One user. Raises `NotFoundError` when there is none, or it was deleted."""
        with self._database.read() as session:
            return to_users(session, [_present(session, user_id)])[0]

    def id_for(self, change: UserChange) -> UserId:
        """The id that a user made like this would have now. Raises `TakenError` as `create_user`."""
        with self._database.read() as session:
            return _id_for(session, change)

    def create_user(
        self, user_id: UserId, change: UserChange, subjects: Subjects
    ) -> tuple[User, list[tuple[str, str]]]:
        """Make a user; one that was deleted is back when login and external id are the same.

        Args:
            user_id: What `id_for` said.
            change: With a login.
            subjects: Other ids of the user.

        Returns:
            The user, and the wanted ids that were left out.

        Raises:
            TakenError: Another user has this login, or got the id meanwhile.
            IdentityTakenError: A required id is somebody else's.
        """
        now = self._clock()
        with self._database.write() as session:
            lock_directory(session)
            if _id_for(session, change) != user_id:
                raise TakenError("another user got this id meanwhile")
            row = session.get(UserRow, user_id) or add_user(session, user_id, now)
            change_user(session, row, UserChange(source=self._source, is_deleted=False), now)
            change_user(session, row, change, now)
            left_out = _link(session, UserId(row.id), subjects, self._clock)
            return to_users(session, [row])[0], left_out

    def change_user(
        self, user_id: UserId, change: UserChange, subjects: Subjects
    ) -> tuple[User, list[tuple[str, str]]]:
        """Change a user. Returns and raises as `create_user`; `NotFoundError` when there is none."""
        with self._database.write() as session:
            lock_directory(session)
            row = _present(session, user_id)
            if change.login is not None and change.login.lower() != row.login_key:
                _refuse_taken(session, change.login)
            change_user(session, row, change, self._clock())
            left_out = _link(session, user_id, subjects, self._clock)
            return to_users(session, [row])[0], left_out

    def groups(self, conditions: Conditions, *, start: int, limit: int) -> tuple[list[Group], int]:
        """Groups of this system, as `users`."""
        where: list[ColumnElement[bool]] = [GroupRow.source == self._source]
        where += [_of_group(name, value) for name, value in conditions.items()]
        query = select(GroupRow).where(*where).order_by(GroupRow.id).offset(start - 1).limit(limit)
        with self._database.read() as session:
            total = session.scalar(select(func.count()).select_from(GroupRow).where(*where)) or 0
            return to_groups(session, list(session.scalars(query))), total

    def create_group(self, change: GroupChange) -> Group:
        """Make a group. Its id comes from its name, and stays when it is renamed.

        Raises:
            TakenError: Another group of this system has the name.
            GroupsTooDeepError: Its members would lie too deep in it.
        """
        assert change.name
        now = self._clock()
        with self._database.write() as session:
            lock_directory(session)
            of_the_name = select(GroupRow.id).where(
                GroupRow.source == self._source, GroupRow.name == change.name
            )
            if session.scalar(of_the_name.limit(1)) is not None:
                raise TakenError("another group has this displayName")
            group_id = _free_group_id(session, self._source, change.name)
            ensure_groups(session, [group_id], now)
            return change_group(session, group_id, replace(change, is_complete=True), now)


def _id_for(session: Session, change: UserChange) -> UserId:
    assert change.login
    _refuse_taken(session, change.login)
    deleted = _deleted_row(session, change.login, change.external_id or "")
    return UserId(deleted.id) if deleted is not None else _free_user_id(session, change.login)


def _deleted_row(session: Session, login: str, external_id: str) -> UserRow | None:
    """The deleted row of the same person; None for somebody new, who may only be called alike."""
    if not external_id:
        return None
    same = (UserRow.login_key == login.lower(), UserRow.external_id == external_id)
    query = select(UserRow).where(*same, UserRow.deleted_at.is_not(None))
    return session.scalar(query.order_by(UserRow.deleted_at.desc()).limit(1))


def _refuse_taken(session: Session, login: str) -> None:
    query = select(UserRow.id).where(UserRow.login_key == login.lower(), UserRow.deleted_at.is_(None))
    if session.scalar(query.limit(1)) is not None:
        raise TakenError("another user has this userName")


def _link(session: Session, user_id: UserId, subjects: Subjects, clock: Clock) -> list[tuple[str, str]]:
    for identity in subjects.ended:
        row = session.get(IdentityRow, identity)
        if row is not None and row.user_id == user_id and row.ended_at is None:
            row.ended_at = clock()
    for identity in subjects.required:
        link_in(session, user_id, identity, clock())
    left_out = []
    for identity in subjects.wanted:
        try:
            link_in(session, user_id, identity, clock())
        except IdentityTakenError:
            left_out.append(identity)
    return left_out


def _present(session: Session, user_id: UserId) -> UserRow:
    row = session.get(UserRow, user_id)
    if row is None or row.deleted_at is not None:
        raise NotFoundError(f"no user {user_id}")
    return row


def _free_user_id(session: Session, login: str) -> UserId:
    """The login itself, or where that is or was somebody's id, the login with a number."""
    for number in count(1):
        id_ = UserId(login if number == 1 else f"{login}~{number}")
        linked = session.scalar(select(IdentityRow.user_id).where(IdentityRow.known_as == id_))
        if session.get(UserRow, id_) is None and linked is None:
            return id_
    raise AssertionError("numbers do not end")


def _free_group_id(session: Session, source: str, name: str) -> PrincipalId:
    """The id of the name; with a number where a renamed group has it. One without a name of its own is taken.

    A membership may name a group before its system does: that group is this one, and not a second.
    """
    for number in count(1):
        id_ = PrincipalId(f"group:{source}/{name}" if number == 1 else f"group:{source}/{name}~{number}")
        row = session.get(GroupRow, id_)
        if row is None or row.name == id_.removeprefix("group:"):
            return id_
    raise AssertionError("numbers do not end")


def _of_user(name: str, value: str | bool) -> ColumnElement[bool]:
    if isinstance(value, bool):
        return UserRow.disabled_at.is_(None) if value else UserRow.disabled_at.is_not(None)
    columns = {"id": UserRow.id, "externalid": UserRow.external_id, "displayname": UserRow.name}
    return UserRow.login_key == value.lower() if name == "username" else columns[name] == value


def _of_group(name: str, value: str | bool) -> ColumnElement[bool]:
    columns = {"id": GroupRow.id, "externalid": GroupRow.external_id, "displayname": GroupRow.name}
    return columns[name] == value

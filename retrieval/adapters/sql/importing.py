"""Many users and groups at once: what a list would change, and changing that, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retrieval.access import PrincipalId, UserId, user_principal
from retrieval.adapters.sql.audit import append_record
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.directory import User, UserChange, add_user, change_user, to_users
from retrieval.adapters.sql.groups import (
    GroupChange,
    change_group,
    ensure_groups,
    known_groups,
    lock_directory,
)
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import GroupRow, MembershipRow, UserRow
from retrieval.adapters.sql.rows import batches

_BATCH = 500


@dataclass(frozen=True, slots=True)
class ListedUser:
    """A user as a list has it. An empty name stays, and so do groups and being disabled where they are None."""

    id: UserId
    name: str = ""
    groups: frozenset[PrincipalId] | None = None
    is_disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class ListedGroup:
    """A group as a list has it. An empty name stays, and so do the members where they are None."""

    id: PrincipalId
    name: str = ""
    members: frozenset[PrincipalId] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes of one user or group.

    Attributes:
        id: `user:…` or `group:…`.
        is_new: Whether it is made.
        name: The new name; empty where it stays.
        added, removed: Groups that a user joins and leaves; members that come to and leave a group.
        is_disabled: The new state of a user; None where it stays.
    """

    id: PrincipalId
    is_new: bool
    name: str = ""
    added: frozenset[PrincipalId] = frozenset()
    removed: frozenset[PrincipalId] = frozenset()
    is_disabled: bool | None = None

    @property
    def is_none(self) -> bool:
        """Whether nothing changes."""
        return self == Difference(self.id, is_new=False)


@dataclass(frozen=True, slots=True)
class Imported:
    """What a list changes, users first, each in order of id; `new_groups` are made because members name them."""

    differences: tuple[Difference, ...]
    new_groups: tuple[PrincipalId, ...]
    n_unchanged: int


class SqlImporting:
    """Imports lists of users and groups. Whom a list does not name stays as it is."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Work on this database's directory."""
        self._database = database
        self._clock = clock

    def run(
        self,
        users: Collection[ListedUser],
        groups: Collection[ListedGroup],
        *,
        principal: str,
        request_id: str,
        dry_run: bool,
    ) -> Imported:
        """Bring in a list: all of it or nothing. Each change is on record, in the same transaction.

        Args:
            users: No id twice.
            groups: No id twice.
            principal: Who does it.
            request_id: Of the request.
            dry_run: Whether to find out what would change, and what would be refused, and to change nothing.

        Raises:
            IdentityTakenError: A user's id is another id of somebody.
            GroupsTooDeepError: A group would lie too deep.
        """
        now = self._clock()
        with self._database.write() as session:
            lock_directory(session)
            imported = self._imported(session, users, groups)
            for each in imported.differences:
                _record(session, now, each, principal=principal, request_id=request_id)
            _apply(session, imported.differences, now)
            if dry_run:
                session.rollback()
        return imported

    @staticmethod
    def _imported(
        session: Session, users: Collection[ListedUser], groups: Collection[ListedGroup]
    ) -> Imported:
        of_users = _present_users(session, [user.id for user in users])
        of_groups = _present_groups(session, [group.id for group in groups])
        differences = [
            *(user_difference(user, of_users.get(user.id)) for user in sorted(users, key=lambda u: u.id)),
            *(
                group_difference(group, of_groups.get(group.id))
                for group in sorted(groups, key=lambda g: g.id)
            ),
        ]
        changed = tuple(each for each in differences if not each.is_none)
        named = {id_ for each in changed for id_ in each.added if id_.startswith("group:")}
        new = named - known_groups(session, named) - {group.id for group in groups}
        return Imported(changed, tuple(sorted(new)), len(differences) - len(changed))


def user_difference(wanted: ListedUser, present: User | None) -> Difference:
    """What changes of a user; `present` is None for one that is new."""
    has = frozenset(present.groups) if present is not None else frozenset()
    groups = has if wanted.groups is None else wanted.groups
    was_disabled = present is not None and present.disabled_at is not None
    is_switched = wanted.is_disabled is not None and wanted.is_disabled != was_disabled
    return Difference(
        user_principal(wanted.id),
        is_new=present is None,
        name=wanted.name if present is None or wanted.name != present.name else "",
        added=groups - has,
        removed=has - groups,
        is_disabled=wanted.is_disabled if is_switched else None,
    )


def group_difference(wanted: ListedGroup, present: tuple[str, frozenset[PrincipalId]] | None) -> Difference:
    """What changes of a group; `present` is its name and members, None for one that is new."""
    name, has = present if present is not None else ("", frozenset())
    members = has if wanted.members is None else wanted.members
    return Difference(
        wanted.id,
        is_new=present is None,
        name=wanted.name if wanted.name != name else "",
        added=members - has,
        removed=has - members,
    )


def _apply(session: Session, differences: Iterable[Difference], now: datetime) -> None:
    for each in differences:
        if each.id.startswith("group:"):
            ensure_groups(session, [each.id], now)
            is_complete = True if each.added or each.removed else None  # a list of members is a whole one
            change = GroupChange(each.name, add=each.added, remove=each.removed, is_complete=is_complete)
            change_group(session, each.id, change, now)
        else:
            _change_user(session, each, now)


def _change_user(session: Session, difference: Difference, now: datetime) -> None:
    user_id = UserId(difference.id.removeprefix("user:"))
    row = session.get(UserRow, user_id) or add_user(session, user_id, now)
    (present,) = to_users(session, [row])
    groups = (frozenset(present.groups) | difference.added) - difference.removed
    change = UserChange(name=difference.name, groups=groups, is_disabled=difference.is_disabled)
    change_user(session, row, change, now)


def _present_users(session: Session, ids: Collection[UserId]) -> dict[UserId, User]:
    found: dict[UserId, User] = {}
    for batch in batches(sorted(ids), _BATCH):
        rows = list(session.scalars(select(UserRow).where(UserRow.id.in_(batch))))
        found |= {user.id: user for user in to_users(session, rows)}
    return found


def _present_groups(
    session: Session, ids: Collection[PrincipalId]
) -> dict[PrincipalId, tuple[str, frozenset[PrincipalId]]]:
    names: dict[str, str] = {}
    members: dict[str, set[PrincipalId]] = {}
    for batch in batches(sorted(ids), _BATCH):
        rows = session.execute(select(GroupRow.id, GroupRow.name).where(GroupRow.id.in_(batch)))
        names |= dict(rows.tuples().all())
        query = select(MembershipRow.group_id, MembershipRow.member_id)
        for group, member in session.execute(query.where(MembershipRow.group_id.in_(batch))):
            members.setdefault(group, set()).add(PrincipalId(member))
    return {PrincipalId(id_): (name, frozenset(members.get(id_, frozenset()))) for id_, name in names.items()}


def _record(
    session: Session, now: datetime, difference: Difference, *, principal: str, request_id: str
) -> None:
    """Put a change on record: rights, not personal details."""
    kind, _, name = difference.id.partition(":")
    facts: dict[str, Any] = {"user_id": name} if kind == "user" else {"group_id": difference.id}
    listed = {"add": sorted(difference.added), "remove": sorted(difference.removed)}
    facts |= {field: ids for field, ids in listed.items() if ids}
    if difference.is_disabled is not None:
        facts["disabled"] = difference.is_disabled
    append_record(session, now, "directory.import", principal=principal, request_id=request_id, facts=facts)

"""The directory: users, what stands for them now, and API keys."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from retrieval.access import Principal, PrincipalId, UserId, user_principal
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.groups import (
    add_members,
    ensure_groups,
    groups_around,
    lock_directory,
    remove_members,
)
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.links import aliases_of, linked_user
from retrieval.adapters.sql.models import ApiKeyRow, IdentityRow, MembershipRow, UserRow
from retrieval.adapters.sql.rows import batches
from retrieval.errors import IdentityTakenError, NotFoundError, TakenError

_KEY = re.compile(r"(rd_[0-9a-f]{8})\.([A-Za-z0-9_-]{43})", re.ASCII)
"""A key as it is presented: the prefix by which it is found, and 256 random bits in base64url."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody the desk knows.

    Attributes:
        groups: The groups the user is directly in, in order.
        login: The name by which a provisioning system knows the user; the id where there is none.
        external_id: The id that a provisioning system has for the user; empty without one.
        source: Who provisions the user; empty for the directory itself.
        details: What a provisioning system said of the user besides.
        disabled_at: Since when the user may not come in; None for one who may.
        deleted_at: When a provisioning system deleted the user, who is disabled since.
    """

    id: UserId
    name: str
    groups: tuple[PrincipalId, ...]
    login: str
    external_id: str
    source: str
    details: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class UserChange:
    """What to change of a user; None stays.

    Attributes:
        groups: The groups the user is directly in afterwards.
        is_deleted: True deletes the user for its provisioning system, and disables it; False takes it back.
    """

    name: str | None = None
    groups: frozenset[PrincipalId] | None = None
    login: str | None = None
    external_id: str | None = None
    source: str | None = None
    details: Mapping[str, Any] | None = None
    is_disabled: bool | None = None
    is_deleted: bool | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the directory says of a user id now.

    Attributes:
        user_id: Whose it is: the id asked for, or the user that it is linked to.
        is_known: Whether the user is in the directory.
        is_disabled: Whether the user may no longer come in, whatever credential is shown.
        groups: All groups, by way of groups too, whose members are known for certain; for a user that the directory
            does not know, those around the groups for which somebody else vouches; none for a disabled one.
        aliases: Other ids that are linked to the user; none for an unknown or disabled user.
        deny_only: Groups that count where an access list denies, and nowhere else.
    """

    user_id: UserId
    is_known: bool
    is_disabled: bool
    groups: frozenset[PrincipalId] = frozenset()
    aliases: frozenset[UserId] = frozenset()
    deny_only: frozenset[PrincipalId] = frozenset()

    @property
    def may_come_in(self) -> bool:
        """Whether the directory knows the user and has not disabled it."""
        return self.is_known and not self.is_disabled

    def principal(self, scopes: Collection[str] = (), *, acted_by: UserId = UserId("")) -> Principal:
        """The user as somebody who asks, with the groups and other ids of now."""
        return Principal(self.user_id, self.groups, frozenset(scopes), acted_by, self.aliases, self.deny_only)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret."""

    id: str
    prefix: str
    name: str
    user_id: UserId
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class SqlDirectory:
    """Users, groups and keys in SQL. A change counts from its commit on."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the directory in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def put_user(self, user_id: UserId, *, name: str, groups: Collection[PrincipalId]) -> User:
        """Create or replace a user; the groups given are the only direct ones afterwards.

        Raises:
            IdentityTakenError: The id is linked to another user.
        """
        with self._database.write() as session:
            lock_directory(session)
            row = session.get(UserRow, user_id) or add_user(session, user_id, self._clock())
            change = UserChange(name=name or row.name, groups=frozenset(groups))
            return change_user(session, row, change, self._clock())

    def create_user(self, user_id: UserId, change: UserChange) -> User:
        """Make a user. Raises `TakenError` or `IdentityTakenError` when the id is somebody's."""
        with self._database.write() as session:
            lock_directory(session)
            if session.get(UserRow, user_id) is not None:
                raise TakenError(f"there is a user {user_id} already")
            return change_user(session, add_user(session, user_id, self._clock()), change, self._clock())

    def change_user(self, user_id: UserId, change: UserChange) -> User:
        """Change a user. Raises `NotFoundError` when there is none."""
        with self._database.write() as session:
            lock_directory(session)
            return change_user(session, _user_row(session, user_id), change, self._clock())

    def user(self, user_id: UserId) -> User:
        """One user. Raises `NotFoundError` when there is none."""
        with self._database.read() as session:
            return to_users(session, [_user_row(session, user_id)])[0]

    def users(self, *, after: str = "", limit: int | None = None) -> list[User]:
        """Users in order of id, those after an id."""
        query = select(UserRow).where(UserRow.id > after)
        with self._database.read() as session:
            return to_users(session, list(session.scalars(query.order_by(UserRow.id).limit(limit))))

    def standing_of(self, user_id: UserId, *, vouched: Collection[PrincipalId] = ()) -> Standing:
        """What the directory says of a user id now. An id that is linked to a user stands for that user.

        Args:
            vouched: Groups that a provider says the user is in, for the groups around them.
        """
        now = self._clock()
        with self._database.read() as session:
            found = UserId(linked_user(session, user_id) or user_id)
            row = session.get(UserRow, found)
            if row is not None and row.disabled_at is not None:
                return Standing(found, is_known=True, is_disabled=True)
            if row is None:
                around = groups_around(session, vouched, now, doubtful=[user_principal(found)])
                return Standing(found, False, False, around.certain, deny_only=around.deny_only)
            aliases = aliases_of(session, found)
            members = [user_principal(each) for each in (found, *aliases)]
            around = groups_around(session, [*members, *vouched], now)
            return Standing(found, True, False, around.certain, aliases, around.deny_only)

    def create_key(
        self, user_id: UserId, *, name: str, scopes: Collection[str], expires_at: datetime | None
    ) -> tuple[ApiKey, str]:
        """Make a key. The secret is returned once and cannot be read again."""
        row, secret = _new_key(
            user_id, name=name, scopes=scopes, created_at=self._clock(), expires_at=expires_at
        )
        with self._database.write() as session:
            session.add(row)
        return _to_key(row), secret

    def rotate_key(self, key_id: str, *, grace: timedelta) -> tuple[ApiKey, str]:
        """Replace a key by a new one of the same name, user and scopes; the secret is returned once.

        The old key is refused once `grace` is over, at once without any. The new one lasts as long as the
        old one was made for.

        Raises:
            NotFoundError: There is no such key, or it is revoked or expired.
        """
        now = self._clock()
        with self._database.write() as session:
            old = session.scalar(select(ApiKeyRow).where(ApiKeyRow.id == key_id).with_for_update())
            if old is None or not _is_valid(old, now):
                raise NotFoundError(f"no key {key_id}")
            expires_at = None if old.expires_at is None else now + (old.expires_at - old.created_at)
            row, secret = _new_key(
                UserId(old.user_id), name=old.name, scopes=old.scopes, created_at=now, expires_at=expires_at
            )
            session.add(row)
            if grace:
                old.expires_at = min(old.expires_at or now + grace, now + grace)
            else:
                old.revoked_at = now
        return _to_key(row), secret

    def keys(self) -> list[ApiKey]:
        """Keys that are not revoked, newest first."""
        query = select(ApiKeyRow).where(ApiKeyRow.revoked_at.is_(None))
        with self._database.read() as session:
            return [_to_key(row) for row in session.scalars(query.order_by(ApiKeyRow.created_at.desc()))]

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key; it is refused from the next request on.

        Raises:
            NotFoundError: There is no such key, or it was revoked before.
        """
        with self._database.write() as session:
            revoked = session.execute(
                update(ApiKeyRow)
                .where(ApiKeyRow.id == key_id, ApiKeyRow.revoked_at.is_(None))
                .values(revoked_at=self._clock())
                .returning(ApiKeyRow.id)
            ).scalar()
        if revoked is None:
            raise NotFoundError(f"no key {key_id}")

    def authenticate(self, presented: str) -> ApiKey | None:
        """The key that was presented, or None when it is malformed, unknown, expired or revoked."""
        parts = _KEY.fullmatch(presented)
        if parts is None:
            return None
        prefix, secret = parts.groups()
        now = self._clock()
        with self._database.read() as session:
            row = session.scalar(select(ApiKeyRow).where(ApiKeyRow.prefix == prefix))
        stored = row.secret_hash if row is not None else _hash("")
        matches = hmac.compare_digest(stored, _hash(secret))
        if row is None or not matches or not _is_valid(row, now):
            return None
        if row.last_used_at is None or (now - row.last_used_at).total_seconds() > 60:
            self._note_use(row.id, now)
        return _to_key(row)

    def _note_use(self, key_id: str, now: datetime) -> None:
        with self._database.write() as session:
            session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(last_used_at=now))


def _new_key(
    user_id: UserId,
    *,
    name: str,
    scopes: Collection[str],
    created_at: datetime,
    expires_at: datetime | None,
) -> tuple[ApiKeyRow, str]:
    """A row for a new key, and the whole key as its holder presents it."""
    prefix, secret = f"rd_{secrets.token_hex(4)}", secrets.token_urlsafe(32)
    row = ApiKeyRow(
        id=str(uuid.uuid4()),
        prefix=prefix,
        secret_hash=_hash(secret),
        name=name,
        user_id=user_id,
        scopes=sorted(set(scopes)),
        created_at=created_at,
        expires_at=expires_at,
    )
    return row, f"{prefix}.{secret}"


def _is_valid(row: ApiKeyRow, now: datetime) -> bool:
    return row.revoked_at is None and (row.expires_at is None or now < row.expires_at)


def _hash(secret: str) -> str:
    """SHA-256 is enough: the secret has 256 random bits, so it cannot be guessed from its hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add_user(session: Session, user_id: UserId, now: datetime) -> UserRow:
    """A new row for a user. The caller holds the directory's lock and knows that there is none.

    Raises:
        IdentityTakenError: The id is linked to another user, or once was.
    """
    if session.scalar(select(IdentityRow.user_id).where(IdentityRow.known_as == user_id)) is not None:
        raise IdentityTakenError(f"{user_id} is another id of somebody else")
    row = UserRow(id=user_id, name=user_id, login=user_id, login_key=user_id.lower(), source="", details={})
    row.created_at = row.updated_at = now
    session.add(row)
    return row


def change_user(session: Session, row: UserRow, change: UserChange, now: datetime) -> User:
    """Change a user's row and memberships. The caller holds the directory's lock."""
    row.name = change.name or row.name
    if change.login is not None:
        row.login, row.login_key = change.login, change.login.lower()
    row.external_id = row.external_id if change.external_id is None else change.external_id or None
    row.source = row.source if change.source is None else change.source
    row.details = row.details if change.details is None else dict(change.details)
    if change.is_disabled is not None:
        row.disabled_at = (row.disabled_at or now) if change.is_disabled else None
        row.deleted_at = row.deleted_at if change.is_disabled else None
    if change.is_deleted is not None:
        row.deleted_at = now if change.is_deleted else None
        row.disabled_at = (row.disabled_at or now) if change.is_deleted else None
    row.updated_at = now
    session.flush()
    if change.groups is not None:
        _set_groups(session, user_principal(UserId(row.id)), change.groups, now)
    return to_users(session, [row])[0]


def _set_groups(session: Session, member: PrincipalId, groups: frozenset[PrincipalId], now: datetime) -> None:
    query = select(MembershipRow.group_id).where(MembershipRow.member_id == member)
    present = frozenset(PrincipalId(group) for group in session.scalars(query))
    for group in present - groups:
        remove_members(session, group, [member])
    ensure_groups(session, groups, now)
    add_members(session, [(group, member) for group in groups - present])


def to_users(session: Session, rows: Sequence[UserRow]) -> list[User]:
    """Users with the groups they are directly in, in the order of the rows."""
    groups: dict[str, list[PrincipalId]] = defaultdict(list)
    members = [user_principal(UserId(row.id)) for row in rows]
    for batch in batches(members, 500):
        query = select(MembershipRow.member_id, MembershipRow.group_id).where(
            MembershipRow.member_id.in_(batch)
        )
        for member, group in session.execute(query.order_by(MembershipRow.group_id)):
            groups[member].append(PrincipalId(group))
    return [
        User(
            id=UserId(row.id),
            name=row.name,
            groups=tuple(groups[member]),
            login=row.login,
            external_id=row.external_id or "",
            source=row.source,
            details=row.details,
            created_at=row.created_at,
            updated_at=row.updated_at,
            disabled_at=row.disabled_at,
            deleted_at=row.deleted_at,
        )
        for row, member in zip(rows, members, strict=True)
    ]


def _user_row(session: Session, user_id: UserId) -> UserRow:
    row = session.get(UserRow, user_id)
    if row is None:
        raise NotFoundError(f"no user {user_id}")
    return row


def _to_key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        prefix=row.prefix,
        name=row.name,
        user_id=UserId(row.user_id),
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )

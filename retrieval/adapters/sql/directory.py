"""The directory: users, groups and API keys."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from retrieval.access import PrincipalId, UserId, user_principal
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import ApiKeyRow, MembershipRow, UserRow
from retrieval.errors import NotFoundError

_MAX_GROUP_DEPTH = 10

_KEY = re.compile(r"(rd_[0-9a-f]{8})\.([A-Za-z0-9_-]{43})", re.ASCII)
"""A key as it is presented: the prefix by which it is found, and 256 random bits in base64url."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody the desk knows, with the groups they are directly in."""

    id: UserId
    name: str
    groups: tuple[PrincipalId, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the directory says of a user id now.

    Attributes:
        is_known: Whether the user is in the directory.
        is_disabled: Whether the user may no longer come in, whatever credential is shown.
        groups: All groups, nested ones to a depth of 10; none for an unknown or disabled user.
    """

    is_known: bool
    is_disabled: bool
    groups: frozenset[PrincipalId]


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
        """Create or replace a user; the groups given are the only direct ones afterwards."""
        with self._database.write() as session:
            row = session.get(UserRow, user_id)
            if row is None:
                row = UserRow(id=user_id, name=name, created_at=self._clock())
                session.add(row)
            row.name = name or row.name or user_id
            member = user_principal(user_id)
            session.execute(delete(MembershipRow).where(MembershipRow.member_id == member))
            rows = [MembershipRow(group_id=group, member_id=member) for group in sorted(set(groups))]
            session.add_all(rows)
            return User(user_id, row.name, tuple(sorted(set(groups))))

    def users(self) -> list[User]:
        """Everybody, in order of id."""
        with self._database.read() as session:
            rows = list(session.scalars(select(UserRow).order_by(UserRow.id)))
            return [User(UserId(row.id), row.name, _direct_groups(session, UserId(row.id))) for row in rows]

    def groups_of(self, user_id: UserId) -> frozenset[PrincipalId] | None:
        """All groups of a user now, nested ones to a depth of 10; None for an unknown or disabled user."""
        standing = self.standing_of(user_id)
        return standing.groups if standing.is_known and not standing.is_disabled else None

    def standing_of(self, user_id: UserId) -> Standing:
        """What the directory says of a user id now."""
        with self._database.read() as session:
            row = session.get(UserRow, user_id)
            if row is None or row.disabled_at is not None:
                return Standing(row is not None, row is not None, frozenset())
            return Standing(True, False, _all_groups(session, user_principal(user_id)))

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


def _direct_groups(session: Session, user_id: UserId) -> tuple[PrincipalId, ...]:
    query = select(MembershipRow.group_id).where(MembershipRow.member_id == user_principal(user_id))
    return tuple(PrincipalId(group) for group in session.scalars(query.order_by(MembershipRow.group_id)))


def _all_groups(session: Session, member: PrincipalId) -> frozenset[PrincipalId]:
    found: set[PrincipalId] = set()
    frontier = {member}
    for _ in range(_MAX_GROUP_DEPTH):
        query = select(MembershipRow.group_id).where(MembershipRow.member_id.in_(sorted(frontier)))
        frontier = {PrincipalId(group) for group in session.scalars(query)} - found
        if not frontier:
            break
        found |= frontier
    return frozenset(found)


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

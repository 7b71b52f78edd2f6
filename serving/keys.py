"""Who may make, see and revoke which API keys."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.directory import ApiKey
from retrieval.errors import InvalidQueryError, NotFoundError, NotPermittedError
from retrieval.wiring import utc_now
from serving.desk import Desk
from serving.scopes import ALL_SCOPES, is_admin


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to make. `expires_at` None means that it does not expire."""

    user_id: UserId
    name: str
    scopes: frozenset[str]
    expires_at: datetime | None


class Keys:
    """API keys, as one principal at a time may see and change them."""

    def __init__(self, desk: Desk) -> None:
        """Work on this desk's directory."""
        self._desk = desk

    def create(self, principal: Principal, new: NewKey, *, request_id: str) -> tuple[ApiKey, str]:
        """Make a key. The secret is returned once and cannot be read again.

        Raises:
            NotPermittedError: It is for somebody else, or has a scope that the principal lacks.
            InvalidQueryError: A scope is unknown, or the expiry is past.
        """
        unknown = new.scopes - ALL_SCOPES
        if unknown:
            raise InvalidQueryError(f"there is no scope {min(unknown)}")
        _refuse_gain(principal, new.scopes)
        if new.user_id not in principal.user_ids and not is_admin(principal):
            raise NotPermittedError("making a key for somebody else needs the scope admin")
        if new.expires_at is not None and new.expires_at <= utc_now():
            raise InvalidQueryError("expires_at is past")
        body = {"user_id": new.user_id, "scopes": sorted(new.scopes)}
        self._desk.audit.append("key.create", principal=principal.user_id, request_id=request_id, body=body)
        return self._desk.directory.create_key(
            new.user_id, name=new.name, scopes=new.scopes, expires_at=new.expires_at
        )

    def rotate(
        self, principal: Principal, key_id: str, *, grace: timedelta, request_id: str
    ) -> tuple[ApiKey, str]:
        """Replace a key by one with a new secret, which is returned once; the old one ends after `grace`.

        Raises:
            NotFoundError: There is no such key, it is no longer valid, or it is somebody else's.
            NotPermittedError: It has a scope that the principal lacks: its secret would be a gain.
        """
        key = self._visible_key(principal, key_id)
        _refuse_gain(principal, key.scopes)
        body = {"key_id": key_id, "grace_s": int(grace.total_seconds())}
        self._desk.audit.append("key.rotate", principal=principal.user_id, request_id=request_id, body=body)
        return self._desk.directory.rotate_key(key_id, grace=grace)

    def visible(self, principal: Principal) -> list[ApiKey]:
        """The principal's own keys; for administrators everybody's."""
        keys = self._desk.directory.keys()
        return [key for key in keys if is_admin(principal) or key.user_id in principal.user_ids]

    def revoke(self, principal: Principal, key_id: str, *, request_id: str) -> None:
        """Revoke a key; it is refused from the next request on.

        Raises:
            NotFoundError: There is no such key, or it is somebody else's.
        """
        self._visible_key(principal, key_id)
        body = {"key_id": key_id}
        self._desk.audit.append("key.revoke", principal=principal.user_id, request_id=request_id, body=body)
        self._desk.directory.revoke_key(key_id)

    def _visible_key(self, principal: Principal, key_id: str) -> ApiKey:
        found = next((key for key in self.visible(principal) if key.id == key_id), None)
        if found is None:
            raise NotFoundError(f"no key {key_id}")
        return found


def _refuse_gain(principal: Principal, scopes: Collection[str]) -> None:
    """Refuse to hand out a key that may do more than who asks for it."""
    lacking = set(scopes) - principal.scopes
    if lacking:
        raise NotPermittedError(f"a key cannot have a scope that its maker lacks: {min(lacking)}")

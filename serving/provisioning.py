"""What a provisioning system does to the directory by SCIM. Every change is on record first."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from retrieval.access import Principal, PrincipalId, UserId
from retrieval.adapters.sql.directory import User, UserChange
from retrieval.adapters.sql.groups import Group
from retrieval.adapters.sql.links import MAIL
from retrieval.adapters.sql.provisioning import SqlProvisioning, Subjects
from retrieval.errors import ConflictError, InvalidQueryError, NotFoundError
from retrieval.wiring import utc_now
from serving.desk import Desk
from serving.directory import Directory, checked_identity
from serving.scim import (
    Operation,
    ScimUser,
    attributes_of,
    group_change,
    group_of,
    mails_of,
    patched_user,
    principal_of,
)

_log = logging.getLogger(__name__)

Conditions = Mapping[str, str | bool]


class Provisioning:
    """The directory as a provisioning system sees it: all users, and the groups that it made."""

    def __init__(self, desk: Desk) -> None:
        """Work on this desk's directory."""
        self._desk = desk
        self._settings = desk.settings
        self._directory = Directory(desk)
        self._stored = SqlProvisioning(desk.database, utc_now, desk.settings.scim_name)

    def users(self, conditions: Conditions, *, start: int, limit: int) -> tuple[list[User], int]:
        """A page of users, from position `start` on, and how many there are in all."""
        return self._stored.users(_by_our_id(conditions, "user"), start=start, limit=limit)

    def user(self, id_: str) -> User:
        """One user. Raises `NotFoundError` when there is none, or it was deleted."""
        return self._stored.user(_user_id(id_))

    def create_user(self, principal: Principal, user: ScimUser, *, request_id: str) -> User:
        """Make a user.

        Raises:
            TakenError: Another user has this userName.
            IdentityTakenError: The subject that the settings say is this user's is somebody else's.
        """
        change = _change(user, is_disabled=user.is_active is False)
        user_id = self._stored.id_for(change)
        self._note("scim.user_create", principal, request_id, {"user_id": user_id, **_told(change)})
        made, left_out = self._stored.create_user(user_id, change, self._subjects(user, None))
        _warn(made, left_out, request_id)
        return made

    def replace_user(self, principal: Principal, id_: str, user: ScimUser, *, request_id: str) -> User:
        """Replace a user; where it is not said whether it is active, that stays. Raises as `patch_user`."""
        return self._change(principal, self.user(id_), user, request_id)

    def patch_user(
        self, principal: Principal, id_: str, operations: list[Operation], *, request_id: str
    ) -> User:
        """Change a user.

        Raises:
            NotFoundError: There is no such user.
            ScimRequestError: The patch cannot be understood.
            TakenError, IdentityTakenError: As for `create_user`.
            ConflictError: Somebody would shut themselves out.
        """
        before = self.user(id_)
        return self._change(principal, before, patched_user(attributes_of(before), operations), request_id)

    def delete_user(self, principal: Principal, id_: str, *, request_id: str) -> None:
        """Delete a user: disabled, and gone for the provisioning system. Raises as `patch_user`."""
        user = self.user(id_)
        self._directory.change_user(principal, user.id, UserChange(is_deleted=True), request_id=request_id)

    def groups(self, conditions: Conditions, *, start: int, limit: int) -> tuple[list[Group], int]:
        """A page of groups, as `users`."""
        return self._stored.groups(_by_our_id(conditions, "group"), start=start, limit=limit)

    def group(self, id_: str) -> Group:
        """One group. Raises `NotFoundError` when there is none, or it is of another source."""
        group = self._directory.group(_group_id(id_))
        if group.source != self._settings.scim_name:
            raise NotFoundError(f"no group {id_}")
        return group

    def members(self, group: Group) -> list[PrincipalId]:
        """Direct members of a group, in order of id."""
        return self._directory.members(group.id)

    def create_group(self, principal: Principal, body: Mapping[str, Any], *, request_id: str) -> Group:
        """Make a group. Raises `TakenError`, `GroupsTooDeepError` or `ScimRequestError`."""
        change = group_of(body)
        told = {"name": change.name, "n_members": len(change.members or ())}
        self._note("scim.group_create", principal, request_id, told)
        return self._stored.create_group(change)

    def replace_group(
        self, principal: Principal, id_: str, body: Mapping[str, Any], *, request_id: str
    ) -> Group:
        """Replace a group with all its members. Raises as `patch_group`."""
        group = self.group(id_)
        return self._directory.change_group(principal, group.id, group_of(body), request_id=request_id)

    def patch_group(
        self, principal: Principal, id_: str, operations: list[Operation], *, request_id: str
    ) -> Group:
        """Change a group.

        Raises:
            NotFoundError: There is no such group.
            ScimRequestError: The patch cannot be understood.
            GroupsTooDeepError: A member would lie too deep.
        """
        group = self.group(id_)
        change = group_change(operations)
        return self._directory.change_group(principal, group.id, change, request_id=request_id)

    def delete_group(self, principal: Principal, id_: str, *, request_id: str) -> None:
        """Delete a group. Raises `NotFoundError` when there is none."""
        self._directory.delete_group(principal, self.group(id_).id, request_id=request_id)

    def _change(self, principal: Principal, before: User, user: ScimUser, request_id: str) -> User:
        is_disabled = None if user.is_active is None else not user.is_active
        if is_disabled and before.id in principal.user_ids:
            raise ConflictError("nobody disables the user that they come in as")
        change = _change(user, is_disabled=is_disabled)
        self._note("scim.user_change", principal, request_id, {"user_id": before.id, **_told(change)})
        changed, left_out = self._stored.change_user(before.id, change, self._subjects(user, before))
        _warn(changed, left_out, request_id)
        return changed

    def _subjects(self, user: ScimUser, before: User | None) -> Subjects:
        """The ids that the settings make the user's, and those that were and are no longer."""
        attribute, provider = self._settings.scim_subject, self._settings.oidc_name
        has = {"externalId": user.external_id, "userName": user.user_name}.get(attribute, "")
        required = _identities(provider, [has])
        wanted = _identities(MAIL, user.mails) if self._settings.scim_mails else frozenset()
        ended: frozenset[tuple[str, str]] = frozenset()
        if before is not None:
            had = {"externalId": before.external_id, "userName": before.login}.get(attribute, "")
            had_mails = mails_of(before.details) if self._settings.scim_mails else ()
            ended = (_identities(provider, [had]) - required) | (_identities(MAIL, had_mails) - wanted)
        return Subjects(sorted(required), sorted(wanted), sorted(ended))

    def _note(self, event: str, principal: Principal, request_id: str, body: Mapping[str, Any]) -> None:
        self._desk.audit.append(event, principal=principal.user_id, request_id=request_id, body=body)


def _change(user: ScimUser, *, is_disabled: bool | None) -> UserChange:
    return UserChange(
        name=user.shown_name,
        login=user.user_name,
        external_id=user.external_id,
        details=user.details,
        is_disabled=is_disabled,
    )


def _told(change: UserChange) -> dict[str, Any]:
    return {} if change.is_disabled is None else {"disabled": change.is_disabled}


def _identities(issuer: str, subjects: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Ids as they are kept; what makes none, an address without "@" for example, is left out."""
    found = set()
    for subject in filter(None, subjects):
        try:
            found.add(checked_identity(issuer, subject))
        except InvalidQueryError:
            continue
    return frozenset(found)


def _warn(user: User, left_out: list[tuple[str, str]], request_id: str) -> None:
    """Say that ids were somebody else's; not which, as an address is personal."""
    if left_out:
        _log.warning(
            "ids of a provisioned user belong to others",
            extra={"n_left_out": len(left_out), "user": user.id, "request_id": request_id},
        )


def _by_our_id(conditions: Conditions, kind: str) -> Conditions:
    """Conditions with the catalogue's id for SCIM's; an id that is none of ours matches nothing."""
    if "id" not in conditions:
        return conditions
    principal = principal_of(str(conditions["id"])) or ""
    ours = principal if principal.startswith(f"{kind}:") else ""
    return {**conditions, "id": ours.removeprefix("user:")}


def _user_id(id_: str) -> UserId:
    principal = principal_of(id_) or ""
    if not principal.startswith("user:"):
        raise NotFoundError(f"no user {id_}")
    return UserId(principal.removeprefix("user:"))


def _group_id(id_: str) -> PrincipalId:
    principal = principal_of(id_)
    if principal is None or not principal.startswith("group:"):
        raise NotFoundError(f"no group {id_}")
    return principal

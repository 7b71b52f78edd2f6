"""Users, groups and other ids, for those who look after the directory. Every change is on record first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from retrieval.access import EVERYONE, Principal, PrincipalId, UserId
from retrieval.adapters.sql.directory import User, UserChange
from retrieval.adapters.sql.groups import Group, GroupChange, SqlGroups
from retrieval.adapters.sql.importing import Imported, ListedGroup, ListedUser, SqlImporting
from retrieval.adapters.sql.links import MAIL, Link, SqlLinks
from retrieval.errors import ConflictError, InvalidQueryError
from retrieval.wiring import utc_now
from serving.desk import Desk
from serving.documents import named_principals
from serving.importing import check_agreement

_MAX_ID_CHARS = 255
_MAX_NAMED = 100
"""Most members that a record of the audit trail names; it counts all of them."""


class Directory:
    """The directory, as somebody with the scope for it may see and change it."""

    def __init__(self, desk: Desk) -> None:
        """Work on this desk's directory."""
        self._desk = desk
        self._groups = SqlGroups(desk.database, utc_now)
        self._links = SqlLinks(desk.database, utc_now)

    def put_user(
        self, principal: Principal, user_id: UserId, *, name: str, groups: Collection[str], request_id: str
    ) -> User:
        """Create or replace a user; it counts from the next request on.

        Raises:
            InvalidQueryError: A group's name is empty, or is that of a user.
            IdentityTakenError: The id is linked to somebody else.
        """
        ids = group_ids(groups)
        self._note("directory.put", principal, request_id, {"user_id": user_id, "groups": sorted(ids)})
        return self._desk.directory.put_user(user_id, name=name, groups=ids)

    def change_user(
        self, principal: Principal, user_id: UserId, change: UserChange, *, request_id: str
    ) -> User:
        """Change a user; it counts from the next request on.

        Raises:
            NotFoundError: The directory does not know the user.
            ConflictError: Somebody would shut themselves out.
        """
        self._refuse_own_end(principal, user_id, change)
        self._note("directory.change", principal, request_id, {"user_id": user_id, **_told(change)})
        return self._desk.directory.change_user(user_id, change)

    def create_user(
        self, principal: Principal, user_id: UserId, change: UserChange, *, request_id: str
    ) -> User:
        """Make a user. Raises `ConflictError` or `IdentityTakenError` when the id is somebody's."""
        self._note("directory.create", principal, request_id, {"user_id": user_id, **_told(change)})
        return self._desk.directory.create_user(user_id, change)

    def end_sessions(self, principal: Principal, user_id: UserId, *, request_id: str) -> int:
        """End every session of a user's browsers, from the next request on; how many there were."""
        self._note("session.end_all", principal, request_id, {"user_id": user_id})
        ids = [user_id, *(link.known_as for link in self._links.of(user_id))]
        return sum(self._desk.sessions.end_all(each) for each in ids)

    def users(self, *, after: str, limit: int) -> list[User]:
        """Users in order of id, those after an id."""
        return self._desk.directory.users(after=after, limit=limit)

    def user(self, user_id: UserId) -> User:
        """One user. Raises `NotFoundError` when the directory does not know it."""
        return self._desk.directory.user(user_id)

    def links(self, user_id: UserId) -> list[Link]:
        """Other ids of a user. Raises `NotFoundError` when the directory does not know it."""
        self._desk.directory.user(user_id)
        return self._links.of(user_id)

    def link(
        self,
        principal: Principal,
        user_id: UserId,
        identity: tuple[str, str],
        *,
        takeover: bool = False,
        request_id: str,
    ) -> Link:
        """Link an (issuer, subject) to a user; it counts from the next request on.

        Raises:
            NotFoundError: The directory does not know the user.
            IdentityTakenError: It is, or was, somebody else's, and `takeover` does not say that it may go over.
            InvalidQueryError: Issuer and subject make no id.
        """
        issuer, subject = checked_identity(*identity)
        body = {"user_id": user_id, "issuer": issuer, "subject": subject, "takeover": takeover}
        self._note("directory.link", principal, request_id, body)
        return self._links.link(user_id, issuer, subject, takeover=takeover)

    def unlink(
        self, principal: Principal, user_id: UserId, identity: tuple[str, str], *, request_id: str
    ) -> None:
        """Take an id from a user. Raises `NotFoundError` when it is not the user's."""
        issuer, subject = checked_identity(*identity)
        body = {"user_id": user_id, "issuer": issuer, "subject": subject}
        self._note("directory.unlink", principal, request_id, body)
        self._links.unlink(user_id, issuer, subject)

    def groups(self, *, after: str, limit: int, source: str | None = None) -> list[Group]:
        """Groups in order of id, those after an id."""
        return self._groups.groups(after=after, limit=limit, source=source)

    def group(self, group_id: PrincipalId) -> Group:
        """One group. Raises `NotFoundError` when the directory does not know it."""
        return self._groups.group(group_id)

    def members(
        self, group_id: PrincipalId, *, after: str = "", limit: int | None = None
    ) -> list[PrincipalId]:
        """Direct members of a group, in order of id. Raises `NotFoundError` for no such group."""
        return self._groups.members(group_id, after=after, limit=limit)

    def bring_in(
        self,
        principal: Principal,
        users: Collection[ListedUser],
        groups: Collection[ListedGroup],
        *,
        dry_run: bool,
        request_id: str,
    ) -> Imported:
        """Import a list of users and groups, all of it or nothing; whom it does not name stays.

        Raises:
            InvalidQueryError: The list says two things of one user, group or membership.
            ConflictError: Somebody would shut themselves out.
            IdentityTakenError: A user's id is another id of somebody.
            GroupsTooDeepError: A group would lie too deep.
        """
        check_agreement(users, groups)
        for user in users:
            self._refuse_own_end(principal, user.id, UserChange(is_disabled=user.is_disabled))
        importing = SqlImporting(self._desk.database, utc_now)
        by = principal.user_id
        return importing.run(users, groups, principal=by, request_id=request_id, dry_run=dry_run)

    def create_group(
        self, principal: Principal, group_id: PrincipalId, change: GroupChange, *, request_id: str
    ) -> Group:
        """Make a group.

        Raises:
            ConflictError: There is one of this id.
            GroupsTooDeepError: Its members would lie too deep in it.
        """
        self._note(
            "directory.group_create", principal, request_id, {"group_id": group_id, **_told_of(change)}
        )
        return self._groups.create(group_id, change)

    def change_group(
        self, principal: Principal, group_id: PrincipalId, change: GroupChange, *, request_id: str
    ) -> Group:
        """Change a group; it counts from the next request on.

        Raises:
            NotFoundError: There is no such group.
            GroupsTooDeepError: A member would lie too deep; nothing is changed then.
        """
        self._note(
            "directory.group_change", principal, request_id, {"group_id": group_id, **_told_of(change)}
        )
        return self._groups.change(group_id, change)

    def delete_group(self, principal: Principal, group_id: PrincipalId, *, request_id: str) -> None:
        """Delete a group with its memberships. Raises `NotFoundError` when there is none."""
        self._note("directory.group_delete", principal, request_id, {"group_id": group_id})
        self._groups.delete(group_id)

    def _refuse_own_end(self, principal: Principal, user_id: UserId, change: UserChange) -> None:
        if user_id in principal.user_ids and (change.is_disabled or change.is_deleted):
            raise ConflictError("nobody disables the user that they come in as")

    def _note(self, event: str, principal: Principal, request_id: str, body: Mapping[str, Any]) -> None:
        """Put on record what is about to be done; without the record it is not done."""
        self._desk.audit.append(event, principal=principal.user_id, request_id=request_id, body=body)


def group_ids(names: Collection[str]) -> frozenset[PrincipalId]:
    """Ids of groups from what people write; a bare name is a group's, and everybody is in `everyone` anyway.

    Raises:
        InvalidQueryError: A name is empty or too long, or is that of a user.
    """
    ids = named_principals(list(names)) - {EVERYONE}
    if any(not id_.startswith("group:") for id_ in ids):
        raise InvalidQueryError("a user is a member of groups only")
    return _fitting(ids)


def group_id(name: str) -> PrincipalId:
    """The id of one group from what people write.

    Raises:
        InvalidQueryError: It is empty or too long, a user's, or `everyone`, which has no list of members.
    """
    ids = group_ids([name])
    if not ids:
        raise InvalidQueryError("everyone is the group of all, and has no list of members")
    return min(ids)


def member_ids(names: Collection[str]) -> frozenset[PrincipalId]:
    """Ids of members: `user:<id>` or `group:<name>`, written out, since a bare name could be either.

    Raises:
        InvalidQueryError: A name is none of these, too long, or `group:everyone`.
    """
    ids = frozenset(PrincipalId(name) for name in names)
    if any(
        not id_.partition(":")[2].strip() or id_.partition(":")[0] not in ("user", "group") for id_ in ids
    ):
        raise InvalidQueryError("a member is written user:<id> or group:<name>")
    if EVERYONE in ids:
        raise InvalidQueryError("everyone is a member of no group")
    return _fitting(ids)


def checked_identity(issuer: str, subject: str) -> tuple[str, str]:
    """Issuer and subject as they are kept; mail addresses in lower case, as sources name them.

    Raises:
        InvalidQueryError: Together they make no user id.
    """
    if issuer == MAIL:
        subject = subject.strip().lower()
        local, at, domain = subject.rpartition("@")
        if not (local and at and domain) or " " in subject:
            raise InvalidQueryError("this is no mail address")
    if not issuer or ":" in issuer or not subject.isprintable() or not subject.strip():
        raise InvalidQueryError("issuer and subject make no id")
    if len(f"user:{issuer}:{subject}") > _MAX_ID_CHARS:
        raise InvalidQueryError("issuer and subject are too long together")
    return issuer, subject


def _fitting(ids: frozenset[PrincipalId]) -> frozenset[PrincipalId]:
    if any(len(id_) > _MAX_ID_CHARS for id_ in ids):
        raise InvalidQueryError(f"the id of a user or group has at most {_MAX_ID_CHARS} characters")
    return ids


def _told(change: UserChange) -> dict[str, Any]:
    """What the audit trail says of a change of a user: rights, not personal details."""
    told: dict[str, Any] = {"disabled": change.is_disabled, "deleted": change.is_deleted}
    if change.groups is not None:
        told["groups"] = sorted(change.groups)
    return {name: value for name, value in told.items() if value is not None}


def _told_of(change: GroupChange) -> dict[str, Any]:
    """What the audit trail says of a change of a group: at most so many members, and how many there are."""
    told: dict[str, Any] = {}
    for name, members in (("members", change.members), ("add", change.add), ("remove", change.remove)):
        if members is not None and (members or name == "members"):
            told[name] = sorted(members)[:_MAX_NAMED]
            told[f"n_{name}"] = len(members)
    if change.is_complete is not None:
        told["complete"] = change.is_complete
    return told

"""What the directory's routes read and write, as pydantic models, and how they come from the desk's values."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated

from pydantic import Field

from retrieval.access import UserId
from retrieval.adapters.sql.directory import User, UserChange
from retrieval.adapters.sql.groups import Group, GroupChange
from retrieval.adapters.sql.importing import Imported, ListedGroup, ListedUser
from retrieval.adapters.sql.links import Link
from retrieval.errors import InvalidQueryError
from serving.directory import group_id, group_ids, member_ids
from serving.http.schemas import Id, Incoming, Name, Outgoing, Storable

ShownName = Annotated[Storable, Field(max_length=200)]
Groups = Annotated[tuple[Id, ...], Field(max_length=10_000)]
Members = Annotated[tuple[Id, ...], Field(max_length=10_000)]


def _cursor(text: str) -> str:
    """The id in a cursor. Refuses one that is none of ours."""
    try:
        return base64.urlsafe_b64decode(text.encode("ascii")).decode()
    except (ValueError, binascii.Error) as error:
        raise InvalidQueryError("the cursor is not valid") from error


def cursor_after(id_: str) -> str:
    """An opaque cursor that goes on after an id."""
    return base64.urlsafe_b64encode(id_.encode()).decode()


class PageQuery(Incoming):
    """Which page: at most `limit` entries, after those of an earlier page (its `next_cursor`)."""

    cursor: Annotated[str, Field(max_length=2048)] = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100

    @property
    def after(self) -> str:
        """The id that the page starts after. Raises `InvalidQueryError` for a cursor that is none of ours."""
        after = _cursor(self.cursor)
        if "\0" in after:
            raise InvalidQueryError("the cursor is not valid")
        return after


class GroupsQuery(PageQuery):
    """Which page of groups; with `source` those of one source only, empty for the directory's own."""

    source: Annotated[Storable, Field(max_length=255)] | None = None


class MembersQuery(PageQuery):
    """Which page of whose members."""

    group: Id


class UserIn(Incoming):
    """A user with all groups it is directly in; a bare name is a group's."""

    name: ShownName = ""
    groups: Groups = ()


class UserChangeIn(Incoming):
    """What to change of a user; what is left out stays."""

    name: Name | None = None
    groups: Groups | None = None
    disabled: bool | None = None

    def change(self) -> UserChange:
        """The same as a value. Raises `InvalidQueryError` for names that are no groups'."""
        groups = None if self.groups is None else group_ids(self.groups)
        return UserChange(name=self.name, groups=groups, is_disabled=self.disabled)


class UserOut(Outgoing):
    """A user of the directory with the groups it is directly in.

    `login`, `external_id` and `source` are those of the system that provisions the user. A `deleted` one was
    deleted there; it is disabled, and enabling it takes that back.
    """

    id: str
    name: str
    groups: list[str]
    disabled: bool
    deleted: bool
    login: str
    external_id: str
    source: str


class ImportedUserIn(Incoming):
    """A user of a list; what is left out stays. `groups` are all that the user is directly in afterwards."""

    id: Id
    name: ShownName = ""
    groups: Groups | None = None
    disabled: bool | None = None

    def listed(self) -> ListedUser:
        """The same as a value. Raises `InvalidQueryError` for names that are no groups'."""
        groups = None if self.groups is None else group_ids(self.groups)
        return ListedUser(UserId(self.id), self.name, groups, self.disabled)


class ImportedGroupIn(Incoming):
    """A group of a list; what is left out stays. `members` are all afterwards, `user:<id>` or `group:<name>`."""

    id: Id
    name: ShownName = ""
    members: Members | None = None

    def listed(self) -> ListedGroup:
        """The same as a value. Raises `InvalidQueryError` for names that are no members'."""
        members = None if self.members is None else member_ids(self.members)
        return ListedGroup(group_id(self.id), self.name, members)


class ImportIn(Incoming):
    """Users and groups to bring in, all or none. `dry_run` tells what would change and changes nothing."""

    users: Annotated[tuple[ImportedUserIn, ...], Field(max_length=10_000)] = ()
    groups: Annotated[tuple[ImportedGroupIn, ...], Field(max_length=10_000)] = ()
    dry_run: bool = False


class DifferenceOut(Outgoing):
    """What changes of a user or group. `added` and `removed` are a user's groups, or a group's members."""

    id: str
    is_new: bool
    name: str
    added: list[str]
    removed: list[str]
    disabled: bool | None


class ImportedOut(Outgoing):
    """What was changed, or would be. `new_groups` are made because they are named, and listed nowhere."""

    dry_run: bool
    differences: list[DifferenceOut]
    new_groups: list[str]
    n_unchanged: int


class UsersOut(Outgoing):
    """Users in order of id; `next_cursor` gives the next page."""

    users: list[UserOut]
    next_cursor: str | None


class EndedOut(Outgoing):
    """How many sessions were ended."""

    ended: int


class LinkIn(Incoming):
    """Another id of a user: of an OpenID provider (`oidc`), of a source (its id), or a mail address (`mail`).

    One that was somebody else's is refused, unless `takeover` says that all that was granted to it goes over.
    """

    issuer: Annotated[Storable, Field(min_length=1, max_length=100)]
    subject: Annotated[Storable, Field(min_length=1, max_length=255)]
    takeover: bool = False


class UnlinkQuery(Incoming):
    """Which id to take from a user."""

    issuer: Annotated[Storable, Field(min_length=1, max_length=100)]
    subject: Annotated[Storable, Field(min_length=1, max_length=255)]


class LinkOut(Outgoing):
    """Another id of a user; `known_as` is the user id by which access lists and tokens name it."""

    issuer: str
    subject: str
    known_as: str
    linked_at: datetime


class LinksOut(Outgoing):
    """Other ids of a user, in order of issuer and subject."""

    identities: list[LinkOut]


class GroupIn(Incoming):
    """A group to make. A bare `id` is its name; members are `user:<id>` and `group:<name>`."""

    id: Id
    name: ShownName = ""
    members: Members = ()

    def change(self) -> GroupChange:
        """What it says of the group. Raises `InvalidQueryError` for names that are no members'."""
        return GroupChange(name=self.name, members=member_ids(self.members))


class GroupChangeIn(Incoming):
    """What to change of a group; what is left out stays.

    `members` are all direct ones afterwards; or `add` and `remove` some. `complete` false says that the list
    could not be read to its end: nobody is added or removed then, and after an hour the group counts for nobody
    until a list comes that is whole.
    """

    name: Name | None = None
    members: Members | None = None
    add: Members = ()
    remove: Members = ()
    complete: bool | None = None

    def change(self) -> GroupChange:
        """The same as a value. Raises `InvalidQueryError` for names that are no members'."""
        if self.members is not None and (self.add or self.remove):
            raise InvalidQueryError("members: replaces the list, so nothing can be added or removed with it")
        return GroupChange(
            name=self.name,
            members=None if self.members is None else member_ids(self.members),
            add=member_ids(self.add),
            remove=member_ids(self.remove),
            is_complete=self.complete,
        )


class GroupOut(Outgoing):
    """A group. `source` qualifies its id; `incomplete_since` is set while its list of members is not whole."""

    id: str
    name: str
    source: str
    external_id: str
    n_members: int
    incomplete_since: datetime | None


class GroupsOut(Outgoing):
    """Groups in order of id; `next_cursor` gives the next page."""

    groups: list[GroupOut]
    next_cursor: str | None


class MembersOut(Outgoing):
    """Direct members of a group in order of id; `next_cursor` gives the next page."""

    members: list[str]
    next_cursor: str | None


def user_out(user: User) -> UserOut:
    """One user."""
    return UserOut(
        id=user.id,
        name=user.name,
        groups=list(user.groups),
        disabled=user.disabled_at is not None,
        deleted=user.deleted_at is not None,
        login=user.login,
        external_id=user.external_id,
        source=user.source,
    )


def group_out(group: Group) -> GroupOut:
    """One group."""
    return GroupOut(
        id=group.id,
        name=group.name,
        source=group.source,
        external_id=group.external_id,
        n_members=group.n_members,
        incomplete_since=group.incomplete_since,
    )


def link_out(link: Link) -> LinkOut:
    """One other id of a user."""
    return LinkOut(issuer=link.issuer, subject=link.subject, known_as=link.known_as, linked_at=link.linked_at)


def imported_out(imported: Imported, *, dry_run: bool) -> ImportedOut:
    """What an import changes."""
    return ImportedOut(
        dry_run=dry_run,
        differences=[
            DifferenceOut(
                id=each.id,
                is_new=each.is_new,
                name=each.name,
                added=sorted(each.added),
                removed=sorted(each.removed),
                disabled=each.is_disabled,
            )
            for each in imported.differences
        ],
        new_groups=list(imported.new_groups),
        n_unchanged=imported.n_unchanged,
    )

"""What a Confluence export says of its spaces, pages, people and permissions, put together. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from ingest.parsers.dates import parse_iso_date
from ingest.sources.confluence_entities import Entity

KINDS = frozenset(
    {
        *("Space", "SpacePermission", "Page", "BlogPost", "Attachment"),
        *("ContentPermissionSet", "ContentPermission", "ConfluenceUserImpl"),
    }
)
_STORAGE_FORMAT = "2"


@dataclass(frozen=True, slots=True)
class Person:
    """A user of Confluence; what is not stated is empty."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a permission names: exactly one of these, or nobody that could be understood.

    Attributes:
        group: Name of a group.
        user: Key of a user, or a user's name in older exports.
        everybody: `anonymous`, `users` for everybody who is logged in, or empty.
    """

    group: str = ""
    user: str = ""
    everybody: str = ""


@dataclass(frozen=True, slots=True)
class Space:
    """A space with those who may view it."""

    key: str
    name: str
    is_current: bool
    viewers: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class PermissionSet:
    """A restriction of a page. `kind` is `view`, `edit` or something unknown, in lower case."""

    kind: str
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page or blog post in any state.

    Attributes:
        parent_id: Empty at the top of its space.
        is_current: Published, and not an older version, a draft, archived or deleted.
        restrictions: Its own, not those of the pages above.
        has_lost_restrictions: The page names restrictions that the export does not contain.
        body_ids: Ids of its bodies, empty when the export does not say.
    """

    id: str
    title: str
    space_id: str
    parent_id: str
    is_current: bool
    modified_at: datetime
    restrictions: tuple[PermissionSet, ...]
    has_lost_restrictions: bool
    body_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """Everything but the bodies, by id (people by key, attachments by page)."""

    spaces: dict[str, Space]
    pages: dict[str, Page]
    people: dict[str, Person]
    attachments: dict[str, tuple[str, ...]]


def read_site(entities: Iterable[Entity]) -> Site:
    """Put the objects of an export together."""
    by_kind: defaultdict[str, list[Entity]] = defaultdict(list)
    for entity in entities:
        by_kind[entity.kind].append(entity)
    sets = _permission_sets(by_kind["ContentPermissionSet"], by_kind["ContentPermission"])
    owned: defaultdict[str, set[str]] = defaultdict(set)
    for entity in by_kind["ContentPermissionSet"]:
        owned[entity.references.get("owningContent", "")].add(entity.id)
    return Site(
        spaces=_spaces(by_kind["Space"], by_kind["SpacePermission"]),
        pages={page.id: _page(page, sets, owned[page.id]) for page in by_kind["Page"] + by_kind["BlogPost"]},
        people={user.id: _person(user) for user in by_kind["ConfluenceUserImpl"]},
        attachments=_attachments(by_kind["Attachment"]),
    )


def storage_body(entity: Entity) -> tuple[str, bool]:
    """The text of a `BodyContent`, and whether it is in storage format (else it is old wiki markup)."""
    # An export writes "]]>" inside a page as "]] >", because the page itself stands in a CDATA section.
    body = entity.values.get("body", "").replace("]] >", "]]>")
    return body, entity.values.get("bodyType", _STORAGE_FORMAT).strip() == _STORAGE_FORMAT


def _spaces(spaces: list[Entity], permissions: list[Entity]) -> dict[str, Space]:
    viewers: defaultdict[str, list[Subject]] = defaultdict(list)
    for permission in permissions:
        if _value(permission, "type").upper() == "VIEWSPACE":
            viewers[permission.references.get("space", "")].append(_space_subject(permission))
    return {
        space.id: Space(
            key=_value(space, "key"),
            name=_value(space, "name"),
            is_current=_value(space, "spaceStatus").upper() in ("CURRENT", ""),
            viewers=tuple(viewers[space.id]),
        )
        for space in spaces
    }


def _space_subject(permission: Entity) -> Subject:
    """Whom a space permission names. Anonymous access is a permission that names nobody, in so many words."""
    subject = _subject(permission, "group")
    if subject != Subject():
        return subject
    if everybody := _value(permission, "allUsersSubject"):
        return Subject(everybody="users" if everybody == "authenticated-users" else "")
    stated = {"group", "userSubject", "userName"} & set(permission.values)
    has_lost_user = {"userSubject", "allUsersSubject"} & set(permission.references)
    return (
        Subject(everybody="anonymous")
        if "group" in stated and len(stated) > 1 and not has_lost_user
        else subject
    )


def _subject(permission: Entity, group_property: str) -> Subject:
    if group := _value(permission, group_property):
        return Subject(group=group)
    return Subject(user=permission.references.get("userSubject", "") or _value(permission, "userName"))


def _permission_sets(sets: list[Entity], permissions: list[Entity]) -> dict[str, PermissionSet]:
    """Restrictions by their id."""
    by_id = {permission.id: permission for permission in permissions}
    members: defaultdict[str, dict[str, Entity]] = defaultdict(dict)
    for permission in permissions:
        members[permission.references.get("owningSet", "")][permission.id] = permission
    for entity in sets:
        listed = entity.collections.get("contentPermissions", ())
        members[entity.id].update({id_: by_id[id_] for id_ in listed if id_ in by_id})
    return {
        entity.id: PermissionSet(
            _value(entity, "type").lower(),
            tuple(_subject(permission, "groupName") for permission in members[entity.id].values()),
        )
        for entity in sets
    }


def _page(entity: Entity, sets: dict[str, PermissionSet], owned: set[str]) -> Page:
    named = owned.union(entity.collections.get("contentPermissionSets", ()))
    is_old = bool(entity.references.get("originalVersion") or _value(entity, "originalVersionId"))
    changed = parse_iso_date(_value(entity, "lastModificationDate")) or parse_iso_date(
        _value(entity, "creationDate")
    )
    return Page(
        id=entity.id,
        title=" ".join(_value(entity, "title").split()),
        space_id=entity.references.get("space", ""),
        parent_id=entity.references.get("parent", ""),
        is_current=_value(entity, "contentStatus").lower() == "current"
        and not is_old
        and entity.id.isalnum(),
        modified_at=changed or datetime.fromtimestamp(0, UTC),
        restrictions=tuple(sets[id_] for id_ in sorted(named) if id_ in sets),
        has_lost_restrictions=not named <= sets.keys(),
        body_ids=entity.collections.get("bodyContents", ()),
    )


def _person(user: Entity) -> Person:
    name = _value(user, "lowerName") or _value(user, "name") or _value(user, "username")
    email = _value(user, "email") or _value(user, "emailAddress")
    return Person(name, email or (name if "@" in name else ""))


def _attachments(attachments: list[Entity]) -> dict[str, tuple[str, ...]]:
    """Names of the current attachments by page."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for item in attachments:
        is_old = item.references.get("originalVersion") or _value(item, "originalVersionId")
        page_id = item.references.get("containerContent") or item.references.get("content", "")
        name = _value(item, "title") or _value(item, "fileName")
        if name and not is_old and _value(item, "contentStatus").lower() in ("current", ""):
            names[page_id].add(name)
    return {page_id: tuple(sorted(found)) for page_id, found in names.items()}


def _value(entity: Entity, name: str) -> str:
    return entity.values.get(name, "").strip()

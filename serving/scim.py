"""SCIM 2.0 (RFC 7643, RFC 7644): filters, patches and resources, as the directory's values. Pure.

The id of a resource is its principal id in base64url, so that an id says whether it is a user or a group. What is
kept of a user is what `_USER` names; everything else that a provisioning system sends is not stored.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.access import EVERYONE, PrincipalId
from retrieval.adapters.sql.directory import User
from retrieval.adapters.sql.groups import Group, GroupChange
from serving.errors import ScimRequestError

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
LIST_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

MAX_RESULTS = 1000
"""Most resources in one reply."""

_USER = {name.lower(): name for name in ("userName", "externalId", "displayName", "active", "name", "emails")}
_NAME = {name.lower(): name for name in ("formatted", "familyName", "givenName")}
_EMAIL = {name.lower(): name for name in ("value", "type", "primary")}
_USER_FILTERS = frozenset(("id", "username", "externalid", "displayname", "active"))
_GROUP_FILTERS = frozenset(("id", "externalid", "displayname"))

_MAX_CHARS = 200
_MAX_EMAILS = 50
_MAX_OPERATIONS = 1000
_STRING = r'"(?:[^"\\]|\\.)*"'
_COMPARISON = re.compile(rf"\s*([a-z][\w.:$-]*)\s+eq\s+({_STRING}|true|false)\s*", re.IGNORECASE)
_MEMBER = re.compile(rf"members\[\s*value\s+eq\s+({_STRING})\s*\]", re.IGNORECASE)
_EMAIL_PATH = re.compile(
    rf"emails\[\s*(type|primary|value)\s+eq\s+({_STRING}|true|false)\s*\](?:\.(\w+))?", re.IGNORECASE
)

_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters and halves of surrogate pairs, which no name has and no database keeps."""

Attributes = dict[str, Any]
"""Attributes of a user by their canonical names."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a patch: `add`, `replace` or `remove`; `path` is empty for the resource itself."""

    op: str
    path: str
    value: Any


@dataclass(frozen=True, slots=True)
class ScimUser:
    """A user as a provisioning system says it.

    Attributes:
        external_id: Empty for none.
        is_active: None where it was not said.
        name: Parts of the name, by `_NAME`.
        emails: Addresses with type and whether they are the primary one, as they came.
    """

    user_name: str
    external_id: str
    display_name: str
    is_active: bool | None
    name: Mapping[str, str]
    emails: tuple[Mapping[str, Any], ...]

    @property
    def details(self) -> dict[str, Any]:
        """What is kept besides the columns of the directory."""
        return {"name": dict(self.name), "emails": [dict(each) for each in self.emails]}

    @property
    def shown_name(self) -> str:
        """The name to show: what is said, else what can be put together."""
        parts = (self.name.get("givenName", ""), self.name.get("familyName", ""))
        return (
            self.display_name or self.name.get("formatted") or " ".join(filter(None, parts)) or self.user_name
        )

    @property
    def mails(self) -> frozenset[str]:
        """The addresses."""
        return mails_of(self.details)


def mails_of(details: Mapping[str, Any]) -> frozenset[str]:
    """The addresses among the details that are kept of a user."""
    return frozenset(str(each["value"]) for each in details.get("emails", ()) if each.get("value"))


def scim_id(principal: str) -> str:
    """The id of a resource."""
    return base64.urlsafe_b64encode(principal.encode()).decode().rstrip("=")


def principal_of(id_: str) -> PrincipalId | None:
    """The principal that a resource's id stands for; None for what is no id of ours."""
    try:
        found = base64.urlsafe_b64decode(id_.encode("ascii") + b"=" * (-len(id_) % 4)).decode()
    except ValueError:
        return None
    kind, _, rest = found.partition(":")
    is_ours = kind in ("user", "group") and rest and "\0" not in found and scim_id(found) == id_
    return PrincipalId(found) if is_ours else None


def user_filter(text: str) -> dict[str, str | bool]:
    """What a filter on users asks for, by attribute in lower case. Raises `ScimRequestError`."""
    return _filter(text, _USER_FILTERS, USER_SCHEMA)


def group_filter(text: str) -> dict[str, str | bool]:
    """What a filter on groups asks for, by attribute in lower case. Raises `ScimRequestError`."""
    return _filter(text, _GROUP_FILTERS, GROUP_SCHEMA)


def _filter(text: str, known: frozenset[str], schema: str) -> dict[str, str | bool]:
    """Comparisons with `eq`, joined by `and`; nothing else is understood, so nothing is found by accident."""
    found: dict[str, str | bool] = {}
    position = 0
    while text.strip():
        match = _COMPARISON.match(text, position)
        if match is None:
            raise ScimRequestError("invalidFilter", "filters are comparisons with eq, joined by and")
        name = _without_schema(match[1], schema).lower()
        value = _literal(match[2])
        if name not in known or isinstance(value, bool) != (name == "active"):
            raise ScimRequestError("invalidFilter", f"filters compare {', '.join(sorted(known))}")
        if found.setdefault(name, value) != value:
            raise ScimRequestError("invalidFilter", "one attribute cannot equal two values")
        position = match.end()
        if position == len(text):
            break
        joined = re.compile(r"and\s", re.IGNORECASE).match(text, position)
        if joined is None:
            raise ScimRequestError("invalidFilter", "filters are comparisons with eq, joined by and")
        position = joined.end()
    return found


def operations_of(body: Mapping[str, Any]) -> list[Operation]:
    """The operations of a patch. Names are read in any case: Entra ID writes `Add` and `Replace`.

    Raises:
        ScimRequestError: It is no patch.
    """
    given = _member(body, "Operations")
    if not isinstance(given, list) or not 1 <= len(given) <= _MAX_OPERATIONS:
        raise ScimRequestError("invalidSyntax", f"Operations lists 1 to {_MAX_OPERATIONS} operations")
    found = []
    for each in given:
        op = _member(each, "op") if isinstance(each, dict) else None
        path = _member(each, "path") if isinstance(each, dict) else None
        if not isinstance(op, str) or op.lower() not in ("add", "replace", "remove"):
            raise ScimRequestError("invalidSyntax", "op is add, replace or remove")
        if path is not None and not isinstance(path, str):
            raise ScimRequestError("invalidPath", "path is a string")
        found.append(Operation(op.lower(), (path or "").strip(), _member(each, "value")))
    return found


def user_of(body: Mapping[str, Any]) -> ScimUser:
    """The user that a body describes; attributes that are not kept are left out.

    Raises:
        ScimRequestError: There is no userName, or an attribute is not what it should be.
    """
    given = _known(body, _USER, USER_SCHEMA)
    user_name = _text(given.get("userName"), "userName").strip()
    if not user_name:
        raise ScimRequestError("invalidValue", "userName is empty")
    return ScimUser(
        user_name=user_name,
        external_id=_text(given.get("externalId"), "externalId", optional=True),
        display_name=_text(given.get("displayName"), "displayName", optional=True),
        is_active=None if given.get("active") is None else _boolean(given["active"], "active"),
        name=_name(given.get("name")),
        emails=_emails(given.get("emails")),
    )


def attributes_of(user: User) -> Attributes:
    """The attributes of a user of the directory, as a patch changes them."""
    return {
        "userName": user.login,
        "externalId": user.external_id,
        "displayName": user.name,
        "active": user.disabled_at is None,
        "name": dict(user.details.get("name", {})),
        "emails": [dict(each) for each in user.details.get("emails", ())],
    }


def patched_user(attributes: Attributes, operations: Sequence[Operation]) -> ScimUser:
    """The user after a patch. Attributes that are not kept are passed over, as in a whole body.

    Raises:
        ScimRequestError: A path cannot be understood, or what it leads to is not what it should be.
    """
    changed = {**attributes, "name": dict(attributes["name"])}
    for each in operations:
        for path, value in _targets(each, USER_SCHEMA):
            _apply(changed, each.op, path, value)
    return user_of(changed)


def group_change(operations: Sequence[Operation]) -> GroupChange:
    """What a patch changes of a group, without looking at its members: a group may have very many.

    Raises:
        ScimRequestError: A path cannot be understood, or a member is none.
    """
    change = GroupChange()
    for each in operations:
        for path, value in _targets(each, GROUP_SCHEMA):
            change = _then(change, each.op, path, value)
    return change


def group_of(body: Mapping[str, Any]) -> GroupChange:
    """The group that a body describes. Raises `ScimRequestError` without a displayName."""
    given = _known(body, {n.lower(): n for n in ("displayName", "externalId", "members")}, GROUP_SCHEMA)
    name = _text(given.get("displayName"), "displayName").strip()
    if not name:
        raise ScimRequestError("invalidValue", "displayName is empty")
    return GroupChange(
        name=name,
        external_id=_text(given.get("externalId"), "externalId", optional=True),
        members=_members(given.get("members")),
    )


def user_resource(user: User, *, base: str, source: str) -> dict[str, Any]:
    """A user as it is sent; of its groups those that the provisioning system looks after."""
    id_ = scim_id(f"user:{user.id}")
    resource: dict[str, Any] = {
        "schemas": [USER_SCHEMA],
        "id": id_,
        "userName": user.login,
        "displayName": user.name,
        "active": user.disabled_at is None,
        "groups": [
            {"value": scim_id(group), "$ref": f"{base}/Groups/{scim_id(group)}", "display": group[len(own) :]}
            for own in (f"group:{source}/",)
            for group in user.groups
            if group.startswith(own)
        ],
        "meta": _meta("User", user, f"{base}/Users/{id_}"),
    }
    if user.external_id:
        resource["externalId"] = user.external_id
    kept = {name: value for name, value in user.details.items() if value}
    return {**resource, **kept}


def group_resource(group: Group, members: Iterable[PrincipalId] | None, *, base: str) -> dict[str, Any]:
    """A group as it is sent; `members` None leaves them out."""
    id_ = scim_id(group.id)
    resource: dict[str, Any] = {
        "schemas": [GROUP_SCHEMA],
        "id": id_,
        "displayName": group.name,
        "meta": _meta("Group", group, f"{base}/Groups/{id_}"),
    }
    if group.external_id:
        resource["externalId"] = group.external_id
    if members is not None:
        resource["members"] = [_member_resource(member, base) for member in members]
    return resource


def listing(resources: list[dict[str, Any]], *, total: int, start: int) -> dict[str, Any]:
    """A page of resources."""
    return {
        "schemas": [LIST_SCHEMA],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": resources,
    }


def wants(attribute: str, *, attributes: str, excluded: str) -> bool:
    """Whether a reply should hold an attribute that is there by default."""
    asked = _listed(attributes)
    return attribute.lower() in asked if asked else attribute.lower() not in _listed(excluded)


def projected(resource: dict[str, Any], *, attributes: str, excluded: str) -> dict[str, Any]:
    """The resource with the attributes that were asked for; id, schemas and meta are always there."""
    return {
        name: value
        for name, value in resource.items()
        if name in ("id", "schemas", "meta") or wants(name, attributes=attributes, excluded=excluded)
    }


def _listed(names: str) -> frozenset[str]:
    """Top-level attributes that a query parameter lists, in lower case."""
    found = (name.strip().rpartition(":")[2].partition(".")[0].lower() for name in names.split(","))
    return frozenset(filter(None, found))


def _meta(kind: str, thing: User | Group, location: str) -> dict[str, str]:
    return {
        "resourceType": kind,
        "created": thing.created_at.isoformat().replace("+00:00", "Z"),
        "lastModified": thing.updated_at.isoformat().replace("+00:00", "Z"),
        "location": location,
    }


def _member_resource(member: PrincipalId, base: str) -> dict[str, str]:
    kind = "User" if member.startswith("user:") else "Group"
    return {"value": scim_id(member), "$ref": f"{base}/{kind}s/{scim_id(member)}", "type": kind}


def _targets(operation: Operation, schema: str) -> list[tuple[str, Any]]:
    """Paths and values of an operation: without a path its value is an object of them, which may be paths."""
    if operation.path:
        return [(_without_schema(operation.path, schema), operation.value)]
    if operation.op == "remove":
        raise ScimRequestError("noTarget", "remove needs a path")
    if not isinstance(operation.value, dict):
        raise ScimRequestError("invalidValue", "without a path, the value is an object")
    return [(_without_schema(path, schema), value) for path, value in operation.value.items()]


def _apply(attributes: Attributes, op: str, path: str, value: Any) -> None:
    if op != "remove" and value is None:
        raise ScimRequestError("invalidValue", f"{op} needs a value")
    found = _EMAIL_PATH.fullmatch(path)
    if found is not None:
        _change_email(attributes, op, found, value)
        return
    outer, _, inner = path.partition(".")
    name = _USER.get(outer.lower())
    if name is None:
        return
    if name == "name":
        _change_name(attributes, op, inner, value)
    elif inner:
        raise ScimRequestError("invalidPath", f"{name} has no parts to change")
    elif op == "remove":
        if name in ("userName", "active"):
            raise ScimRequestError("mutability", f"{name} cannot be removed")
        attributes[name] = [] if name == "emails" else ""
    elif name == "emails" and op == "add":
        added = value if isinstance(value, list) else [value]
        attributes[name] = [*attributes[name], *(each for each in added if each not in attributes[name])]
    else:
        attributes[name] = value


def _change_name(attributes: Attributes, op: str, part: str, value: Any) -> None:
    if not part:
        given = {} if op == "remove" else value
        if not isinstance(given, dict):
            raise ScimRequestError("invalidValue", "name is an object")
        attributes["name"] = given if op != "add" else {**attributes["name"], **_known(given, _NAME, "")}
        return
    name = _NAME.get(part.lower())
    if name is not None:
        attributes["name"] = {**attributes["name"], name: "" if op == "remove" else value}


def _change_email(attributes: Attributes, op: str, path: re.Match[str], value: Any) -> None:
    """Change the addresses that a value path selects; what is set where there is none is added."""
    selector, wanted = path[1].lower(), _literal(path[2])
    emails = [dict(each) for each in _emails(attributes["emails"])]
    chosen = [each for each in emails if each.get(selector) == wanted]
    part = _EMAIL.get((path[3] or "").lower())
    if path[3] and part is None:
        return
    if op == "remove":
        if part is None:
            emails = [each for each in emails if each not in chosen]
        for each in chosen:
            each.pop(part or "", None)
    else:
        if not chosen:
            chosen = [{selector: wanted}]
            emails += chosen
        given = {part: value} if part else value
        if not isinstance(given, dict):
            raise ScimRequestError("invalidValue", "an address is an object")
        for each in chosen:
            each.update(_known(given, _EMAIL, ""))
    attributes["emails"] = [each for each in emails if each.get("value")]


def _then(change: GroupChange, op: str, path: str, value: Any) -> GroupChange:
    """A change of a group followed by one operation."""
    single = _MEMBER.fullmatch(path)
    name = path.lower()
    if single is not None:
        if op != "remove":
            raise ScimRequestError("invalidPath", "a member is added by the path members")
        return _members_changed(change, "remove", _members([{"value": _literal(single[1])}]))
    if name == "members":
        if op == "remove" and not value:
            return GroupChange(change.name, change.external_id, members=frozenset())
        return _members_changed(change, op, _members(value))
    if name not in ("displayname", "externalid"):
        return change
    text = "" if op == "remove" else _text(value, path)
    if name == "displayname":
        if not text.strip():
            raise ScimRequestError("invalidValue", "displayName is empty")
        return GroupChange(text.strip(), change.external_id, change.members, change.add, change.remove)
    return GroupChange(change.name, text, change.members, change.add, change.remove)


def _members_changed(change: GroupChange, op: str, members: frozenset[PrincipalId]) -> GroupChange:
    name, external_id = change.name, change.external_id
    if op == "replace":
        return GroupChange(name, external_id, members=members)
    if change.members is not None:
        after = change.members | members if op == "add" else change.members - members
        return GroupChange(name, external_id, members=after)
    if op == "add":
        return GroupChange(name, external_id, None, change.add | members, change.remove - members)
    return GroupChange(name, external_id, None, change.add - members, change.remove | members)


def _members(value: Any) -> frozenset[PrincipalId]:
    given = [] if value is None else value if isinstance(value, list) else [value]
    found = set()
    for each in given:
        id_ = _member(each, "value") if isinstance(each, dict) else None
        principal = principal_of(id_) if isinstance(id_, str) else None
        if principal is None or principal == EVERYONE:
            raise ScimRequestError("invalidValue", "a member's value is the id of a user or group")
        found.add(principal)
    return frozenset(found)


def _name(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ScimRequestError("invalidValue", "name is an object")
    known = _known(value, _NAME, "")
    return {name: _text(part, name, optional=True) for name, part in known.items() if part}


def _emails(value: Any) -> tuple[dict[str, Any], ...]:
    given = [] if value is None or value == "" else value if isinstance(value, list) else [value]
    if len(given) > _MAX_EMAILS or not all(isinstance(each, dict) for each in given):
        raise ScimRequestError("invalidValue", f"emails lists at most {_MAX_EMAILS} objects")
    found = []
    for each in (_known(each, _EMAIL, "") for each in given):
        email: dict[str, Any] = {"value": _text(each.get("value"), "emails.value", optional=True)}
        if each.get("type") is not None:
            email["type"] = _text(each["type"], "emails.type")
        if each.get("primary") is not None:
            email["primary"] = _boolean(each["primary"], "emails.primary")
        found.append(email)
    return tuple(each for each in found if each["value"])


def _known(given: Mapping[str, Any], names: Mapping[str, str], schema: str) -> dict[str, Any]:
    """The attributes that are kept, by their canonical names; SCIM's names have no case."""
    canonical = ((names.get(_without_schema(name, schema).lower()), value) for name, value in given.items())
    return {name: value for name, value in canonical if name is not None}


def _member(given: Mapping[str, Any], name: str) -> Any:
    """A member of an object, its name in any case."""
    return next((value for key, value in given.items() if key.lower() == name.lower()), None)


def _without_schema(name: str, schema: str) -> str:
    prefix = f"{schema}:"
    return name[len(prefix) :] if schema and name.lower().startswith(prefix.lower()) else name


def _literal(text: str) -> str | bool:
    if text[0] != '"':
        return text.lower() == "true"
    try:
        value = str(json.loads(text))
    except ValueError as error:
        raise ScimRequestError("invalidFilter", "a string is not escaped as in JSON") from error
    if _UNFIT.search(value):
        raise ScimRequestError("invalidFilter", "a string holds what no name does")
    return value


def _boolean(value: Any, name: str) -> bool:
    """A boolean, also as the strings that Entra ID sends: "True" and "False"."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ScimRequestError("invalidValue", f"{name} is true or false")
    return value


def _text(value: Any, name: str, *, optional: bool = False) -> str:
    if value is None and optional:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_CHARS or _UNFIT.search(value):
        raise ScimRequestError("invalidValue", f"{name} is a line of at most {_MAX_CHARS} characters")
    return value

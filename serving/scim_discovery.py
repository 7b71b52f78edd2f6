"""What SCIM clients ask first: what the desk can do, and which attributes users and groups have. Pure."""

from __future__ import annotations

from typing import Any

from serving.scim import GROUP_SCHEMA, MAX_RESULTS, USER_SCHEMA

_CORE = "urn:ietf:params:scim:schemas:core:2.0"


def service_provider_config(base: str) -> dict[str, Any]:
    """The features of RFC 7643, section 5."""
    no = {"supported": False}
    return {
        "schemas": [f"{_CORE}:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {**no, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MAX_RESULTS},
        "changePassword": no,
        "sort": no,
        "etag": no,
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "API key",
                "description": "An API key with the scope directory, as a bearer token.",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }


def resource_types(base: str) -> list[dict[str, Any]]:
    """Users and groups."""
    return [
        {
            "schemas": [f"{_CORE}:ResourceType"],
            "id": kind,
            "name": kind,
            "endpoint": f"/{kind}s",
            "schema": schema,
            "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{kind}"},
        }
        for kind, schema in (("User", USER_SCHEMA), ("Group", GROUP_SCHEMA))
    ]


def schemas(base: str) -> list[dict[str, Any]]:
    """The attributes that are kept, as RFC 7643, section 7, writes them."""
    name = _complex("name", _text("formatted"), _text("familyName"), _text("givenName"))
    emails = _complex("emails", _text("value"), _text("type"), _flag("primary"), many=True)
    reference = (_text("value", exact=True), _text("display", fixed=True), _text("type", fixed=True))
    user = [
        _text("userName", required=True, unique="server"),
        _text("displayName"),
        _flag("active"),
        name,
        emails,
        _complex("groups", *reference, many=True, fixed=True),
    ]
    group = [_text("displayName", required=True), _complex("members", *reference, many=True)]
    return [
        {
            "schemas": [f"{_CORE}:Schema"],
            "id": schema,
            "name": kind,
            "description": kind,
            "attributes": attributes,
            "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{schema}"},
        }
        for kind, schema, attributes in (("User", USER_SCHEMA, user), ("Group", GROUP_SCHEMA, group))
    ]


def _attribute(name: str, kind: str, *, many: bool = False, fixed: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "multiValued": many,
        "description": name,
        "required": False,
        "mutability": "readOnly" if fixed else "readWrite",
        "returned": "default",
    }


def _text(
    name: str, *, required: bool = False, unique: str = "none", exact: bool = False, fixed: bool = False
) -> dict[str, Any]:
    attribute = _attribute(name, "string", fixed=fixed)
    return {**attribute, "required": required, "caseExact": exact, "uniqueness": unique}


def _flag(name: str) -> dict[str, Any]:
    return _attribute(name, "boolean")


def _complex(name: str, *parts: dict[str, Any], many: bool = False, fixed: bool = False) -> dict[str, Any]:
    return {**_attribute(name, "complex", many=many, fixed=fixed), "subAttributes": list(parts)}

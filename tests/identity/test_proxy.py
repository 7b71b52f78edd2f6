"""A reverse proxy that names users: only the one that is known, and only one user at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from retrieval.access import PrincipalId, UserId
from retrieval.settings import load_settings
from serving.desk import Desk
from serving.http.app import create_app
from serving.scopes import END_USER_SCOPES, Scope
from tests.identity.conftest import bearer, client_for
from tests.identity.forging import new_key

PROXY = "10.1.2.3"


def proxied_desk(desk: Desk, **changes: Any) -> Desk:
    """The desk behind a proxy."""
    given = {
        "data": desk.settings.data,
        "identity": "proxy",
        "proxy_addresses": "10.1.2.0/24, fd00::/8",
        "proxy_groups_header": "X-Forwarded-Groups",
        "proxy_secret": "between us",
        "public_url": "https://desk.example.org",
        **changes,
    }
    return replace(desk, settings=load_settings(**given))


NAMED = {
    "X-Forwarded-User": "mara.lindqvist",
    "X-Forwarded-Groups": "hr, desk users",
    "X-Refdesk-Proxy-Secret": "between us",
}


@pytest.fixture(scope="module")
def app(empty_desk: Desk) -> FastAPI:
    """The application of a desk behind a proxy."""
    return create_app(proxied_desk(empty_desk))


@pytest.fixture(scope="module")
def proxy(app: FastAPI) -> TestClient:
    """The proxy."""
    return client_for(app, peer=PROXY)


def status(client: TestClient, headers: dict[str, str]) -> int:
    """The status of the simplest request."""
    return client.get("/api/v1/whoami", headers=headers).status_code


def test_the_proxy_names_users(proxy: TestClient, empty_desk: Desk) -> None:
    """By the directory's ids; groups are qualified, those of the directory come on top."""
    empty_desk.directory.put_user(UserId("mara.lindqvist"), name="", groups=[PrincipalId("group:hr")])
    body = proxy.get("/api/v1/whoami", headers=NAMED).json()
    assert body["user_id"] == "mara.lindqvist"
    assert body["groups"] == ["group:hr", "group:proxy/desk users", "group:proxy/hr"]
    assert set(body["scopes"]) == END_USER_SCOPES


def test_the_proxy_is_known_on_either_family(app: FastAPI) -> None:
    """By IPv6, and by IPv4 on a socket for both."""
    for peer in ("fd00::7", f"::ffff:{PROXY}"):
        assert status(client_for(app, peer=peer), NAMED) == 200


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.1.3.3", "192.0.2.7", "testclient", "fe80::1"])
def test_nobody_else_does(app: FastAPI, empty_desk: Desk, peer: str) -> None:
    """Whoever else says who somebody is gets nothing, not even with a key of their own."""
    client = client_for(app, peer=peer)
    key = bearer(new_key(empty_desk)[1])
    assert status(client, NAMED) == 401
    for name, value in NAMED.items():
        assert status(client, {name: value, **key}) == 401
    assert status(client, key) == 200
    assert status(client, {"X-Forwarded-For": PROXY, **NAMED}) == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**NAMED, "X-Refdesk-Proxy-Secret": "wrong"},
        {**NAMED, "X-Refdesk-Proxy-Secret": ""},
        {name: value for name, value in NAMED.items() if "Secret" not in name},
        {name: value for name, value in NAMED.items() if "User" not in name},
        {name: value for name, value in NAMED.items() if "Groups" not in name},
        {**NAMED, "X-Forwarded-User": ""},
        {**NAMED, "X-Forwarded-User": " "},
        {**NAMED, "X-Forwarded-User": "x" * 300},
        {**NAMED, "X-Forwarded-Groups": "x" * 300},
    ],
    ids=str,
)
def test_what_the_proxy_has_to_say(proxy: TestClient, headers: dict[str, str]) -> None:
    """Its secret, one user, and the groups; else nobody comes in."""
    assert status(proxy, headers) == 401


def test_two_users_are_nobody(proxy: TestClient) -> None:
    """A header that a caller smuggled through beside the proxy's own."""
    twice = [(name.encode(), value.encode()) for name, value in NAMED.items()]
    twice.append((b"X-Forwarded-User", b"helena.brandt"))
    assert proxy.get("/api/v1/whoami", headers=twice).status_code == 401


def test_names_are_utf8(proxy: TestClient) -> None:
    """As every proxy sends them."""
    named = [(name.encode(), value.encode()) for name, value in {**NAMED, "X-Forwarded-User": "jörg"}.items()]
    assert proxy.get("/api/v1/whoami", headers=named).json()["user_id"] == "jörg"


def test_other_sites_cannot_use_the_proxys_login(proxy: TestClient) -> None:
    """It vouches for the browser, whatever page sent the request."""
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
    ):
        reply = proxy.post(
            "/api/v1/feedback", json={"request_id": "x", "rating": 1}, headers={**NAMED, **headers}
        )
        assert (reply.status_code, reply.json()["code"]) == (403, "foreign_origin")
    own = {**NAMED, "Origin": "https://desk.example.org", "Sec-Fetch-Site": "same-origin"}
    assert (
        proxy.post("/api/v1/feedback", json={"request_id": "x", "rating": 1}, headers=own).status_code == 204
    )


def test_keys_come_through_the_proxy(proxy: TestClient, empty_desk: Desk) -> None:
    """A key counts before the proxy's word, and a service key acts for users as ever."""
    assert (
        proxy.get("/api/v1/whoami", headers={**NAMED, **bearer(new_key(empty_desk)[1])}).json()["user_id"]
        == "somebody"
    )
    empty_desk.directory.put_user(UserId("helena.brandt"), name="", groups=[])
    key = empty_desk.directory.create_key(
        UserId("bot"), name="b", scopes=[Scope.SEARCH, Scope.ACT_AS], expires_at=None
    )[1]
    acting = {**bearer(key), "X-Refdesk-User": "helena.brandt"}
    assert proxy.get("/api/v1/whoami", headers=acting).json()["user_id"] == "helena.brandt"
    assert status(proxy, {**NAMED, "X-Refdesk-User": "helena.brandt"}) == 403


def test_in_other_modes_its_headers_are_nothing(empty_desk: Desk) -> None:
    """Nobody reads them there."""
    assert status(client_for(empty_desk), NAMED) == 401
    assert status(client_for(empty_desk), {**NAMED, **bearer(new_key(empty_desk)[1])}) == 200

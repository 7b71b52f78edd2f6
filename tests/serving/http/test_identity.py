"""Who asks: local mode, keys, acting for users, and what browsers are kept from."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import APIRouter, FastAPI
from starlette.testclient import TestClient

from retrieval.access import UserId
from retrieval.errors import CatalogueUnavailableError
from serving.desk import Desk
from serving.http.app import UnguardedRouteError, _refuse_unguarded, create_app
from serving.limits import Limits, Quota
from serving.scopes import ALL_SCOPES, END_USER_SCOPES, Scope
from tests.desks import LOOPBACK, client_of

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def keys_desk(desk: Desk) -> Desk:
    """The desk, asking for keys."""
    return replace(desk, settings=desk.settings.model_copy(update={"identity": "keys"}))


@pytest.fixture(scope="module")
def keys_app(keys_desk: Desk) -> FastAPI:
    """Its application."""
    return create_app(keys_desk)


def key_for(desk: Desk, user: str, *scopes: Scope) -> str:
    """A key with these scopes."""
    return desk.directory.create_key(UserId(user), name="test", scopes=scopes, expires_at=None)[1]


def test_the_local_owner_may_do_everything(owner: TestClient) -> None:
    """Without login the caller is the owner, with all scopes."""
    body = owner.get("/api/v1/whoami").json()
    assert body["user_id"] == "local"
    assert set(body["scopes"]) == ALL_SCOPES


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::"])
def test_a_rebound_name_is_refused(owner: TestClient, host: str) -> None:
    """A page that points its own name at this machine gets nothing, probes and page included."""
    for path in ("/api/v1/whoami", "/healthz", "/"):
        reply = owner.get(path, headers={"Host": host})
        assert (reply.status_code, reply.json()["code"]) == (421, "unexpected_host")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9999", "[::1]:8080", "127.5.5.5"])
def test_names_of_this_machine_are_fine(owner: TestClient, host: str) -> None:
    """Loopback goes by several names."""
    assert owner.get("/api/v1/whoami", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_changes_for_other_sites_are_refused(owner: TestClient, headers: dict[str, str]) -> None:
    """A page of another site cannot make the browser change or ask anything here."""
    reply = owner.post("/api/v1/search", json={"query": "x"}, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (403, "foreign_origin")


def test_the_desks_own_page_may_ask(owner: TestClient) -> None:
    """Its requests carry the desk's own origin."""
    headers = {"Origin": LOOPBACK, "Sec-Fetch-Site": "same-origin"}
    assert owner.post("/api/v1/search", json={"query": "x"}, headers=headers).status_code == 200


def test_other_machines_are_not_the_owner(app: FastAPI) -> None:
    """A desk without login answers loopback only."""
    client = TestClient(app, LOOPBACK, client=("192.0.2.7", 1234))
    assert client.get("/api/v1/whoami").json()["code"] == "unauthenticated"


def test_no_key_no_answer(keys_app: FastAPI) -> None:
    """Neither without a key nor with one that is wrong; the reply does not tell which."""
    bodies = []
    for key in (None, "rd_00000000.x", "nonsense"):
        reply = client_of(keys_app, key=key).get("/api/v1/whoami")
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        bodies.append({**reply.json(), "request_id": ""})
    assert bodies[0] == bodies[1] == bodies[2]


def test_a_key_speaks_for_its_user(keys_desk: Desk, keys_app: FastAPI) -> None:
    """Its user's groups are looked up, its scopes are the key's."""
    client = client_of(keys_app, key=key_for(keys_desk, "mara.lindqvist", Scope.SEARCH))
    body = client.get("/api/v1/whoami").json()
    assert body["groups"] == ["group:hr", "group:managers"]
    assert body["scopes"] == ["search"]
    assert client.get("/api/v1/documents").json()["code"] == "not_permitted"


def test_revoked_and_expired_keys_are_refused(keys_desk: Desk, keys_app: FastAPI) -> None:
    """From the next request on."""
    key, secret = keys_desk.directory.create_key(UserId("x"), name="x", scopes=["search"], expires_at=None)
    client = client_of(keys_app, key=secret)
    assert client.get("/api/v1/whoami").status_code == 200
    keys_desk.directory.revoke_key(key.id)
    assert client.get("/api/v1/whoami").status_code == 401
    past = datetime.now(UTC) - timedelta(seconds=1)
    _, secret = keys_desk.directory.create_key(UserId("x"), name="x", scopes=["search"], expires_at=past)
    assert client_of(keys_app, key=secret).get("/api/v1/whoami").status_code == 401


def test_acting_for_a_user_narrows_to_what_end_users_do(keys_desk: Desk, keys_app: FastAPI) -> None:
    """Groups are the user's; scopes are those that both the key and end users have."""
    key = key_for(keys_desk, "bot", *Scope)
    body = client_of(keys_app, key=key, user="helena.brandt").get("/api/v1/whoami").json()
    assert body["user_id"] == "helena.brandt"
    assert body["acting_for"] is True
    assert "group:board" in body["groups"]
    assert set(body["scopes"]) == END_USER_SCOPES
    narrow = key_for(keys_desk, "bot", Scope.SEARCH, Scope.ACT_AS)
    scopes = client_of(keys_app, key=narrow, user="helena.brandt").get("/api/v1/whoami").json()["scopes"]
    assert scopes == ["search"]


def test_acting_needs_its_scope_and_a_known_user(keys_desk: Desk, keys_app: FastAPI) -> None:
    """A key without `act-as` is refused, and so is a user that the directory does not know."""
    plain = key_for(keys_desk, "bot", Scope.SEARCH)
    reply = client_of(keys_app, key=plain, user="helena.brandt").get("/api/v1/whoami")
    assert (reply.status_code, reply.json()["code"]) == (403, "not_permitted")
    acting = key_for(keys_desk, "bot", Scope.SEARCH, Scope.ACT_AS)
    reply = client_of(keys_app, key=acting, user="nobody").get("/api/v1/whoami")
    assert (reply.status_code, reply.json()["code"]) == (403, "unknown_user")


def test_a_key_cannot_grow(keys_desk: Desk, keys_app: FastAPI) -> None:
    """Nobody makes a key with a scope they lack, or for somebody else without being administrator."""
    client = client_of(keys_app, key=key_for(keys_desk, "mara.lindqvist", Scope.KEYS, Scope.SEARCH))
    wider = client.post("/api/v1/keys", json={"name": "k", "scopes": ["audit:read"]})
    assert wider.json()["code"] == "not_permitted"
    foreign = client.post(
        "/api/v1/keys", json={"name": "k", "scopes": ["search"], "user_id": "helena.brandt"}
    )
    assert foreign.json()["code"] == "not_permitted"
    made = client.post("/api/v1/keys", json={"name": "k", "scopes": ["search"]})
    assert made.status_code == 201
    assert made.json()["secret"].startswith("rd_")
    assert made.json()["secret"] not in client.get("/api/v1/keys").text
    assert client.delete(f"/api/v1/keys/{made.json()['key']['id']}").status_code == 204


def test_keys_of_others_look_absent(keys_desk: Desk, keys_app: FastAPI) -> None:
    """They are not listed, and revoking one is not found."""
    key, _ = keys_desk.directory.create_key(UserId("other"), name="o", scopes=["search"], expires_at=None)
    client = client_of(keys_app, key=key_for(keys_desk, "mara.lindqvist", Scope.KEYS))
    assert key.id not in client.get("/api/v1/keys").text
    assert client.delete(f"/api/v1/keys/{key.id}").status_code == 404


def test_no_groups_no_hits(app: FastAPI, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where groups cannot be looked up, there is a 503 and nothing else."""

    def fails(*args: object) -> None:
        raise CatalogueUnavailableError("the catalogue did not answer")

    monkeypatch.setattr(type(desk.directory), "standing_of", fails)
    reply = client_of(app).post("/api/v1/search", json={"query": "travel"})
    assert (reply.status_code, reply.json()["code"]) == (503, "catalogue_unavailable")
    assert "hits" not in reply.json()
    assert reply.headers["Retry-After"]


def test_too_many_requests_are_told_to_wait(desk: Desk) -> None:
    """Each caller has a budget of its own."""
    app = create_app(desk, limits=Limits(user=Quota("user", burst=3, per_second=0.1)))
    replies = [client_of(app).get("/api/v1/whoami") for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert int(replies[-1].headers["Retry-After"]) >= 1
    assert replies[-1].json()["retryable"] is True


def test_a_route_without_a_scope_stops_the_application() -> None:
    """Nobody can add a route to the API and forget who may use it."""
    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/new", lambda: {})
    with pytest.raises(UnguardedRouteError):
        _refuse_unguarded(router)

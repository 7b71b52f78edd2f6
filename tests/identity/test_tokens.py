"""Access tokens of a real OpenID provider: who comes in, and what happens while keys change or are gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.models import UserRow
from serving.adapters.oidc import OidcProvider
from serving.desk import Desk
from serving.scopes import ALL_SCOPES, END_USER_SCOPES, Scope
from tests.identity.conftest import bearer, client_for, oidc_desk
from tests.identity.forging import new_key, signed_with
from tests.services.openid_provider import OpenIdProvider


@pytest.fixture(scope="module")
def client(empty_desk: Desk, shared_provider: OpenIdProvider) -> Iterator[TestClient]:
    """A client of a desk that trusts the provider."""
    with oidc_desk(empty_desk, shared_provider, admin_groups="group:oidc/desk admins") as desk:
        yield client_for(desk)


def whoami(client: TestClient, token: str) -> Any:
    """What the desk says to a token: the body, or the status of a refusal."""
    reply = client.get("/api/v1/whoami", headers=bearer(token))
    return reply.json() if reply.status_code == 200 else reply.status_code


def test_a_token_speaks_for_its_user(client: TestClient, shared_provider: OpenIdProvider) -> None:
    """User and groups are qualified by the provider's name; the scopes are those of people."""
    body = whoami(client, shared_provider.access_token())
    assert body["user_id"] == "oidc:248289761001"
    assert body["name"] == "Mara Lindqvist"
    assert body["groups"] == ["group:oidc/desk users", "group:oidc/hr"]
    assert set(body["scopes"]) == END_USER_SCOPES
    assert body["acting_for"] is False


def test_a_token_speaks_for_nobody_else(client: TestClient, shared_provider: OpenIdProvider) -> None:
    """People who come in by a provider cannot act for others."""
    headers = {**bearer(shared_provider.access_token()), "X-Refdesk-User": "mara.lindqvist"}
    assert client.get("/api/v1/whoami", headers=headers).status_code == 403


def test_administrators_are_members_of_a_group(client: TestClient, shared_provider: OpenIdProvider) -> None:
    """They may not act for others, read the trail or preview; a group named alike gives nothing."""
    body = whoami(client, shared_provider.access_token(groups=["desk admins"]))
    assert set(body["scopes"]) == ALL_SCOPES - {Scope.ACT_AS, Scope.AUDIT_READ, Scope.PREVIEW}
    body = whoami(client, shared_provider.access_token(groups=["group:oidc/desk admins", "x/desk admins"]))
    assert set(body["scopes"]) == END_USER_SCOPES


@pytest.mark.parametrize(
    "claim", [{"scope": "openid refdesk:search"}, {"scp": ["refdesk:search"], "scope": None}]
)
def test_a_token_may_be_limited(
    client: TestClient, shared_provider: OpenIdProvider, claim: dict[str, Any]
) -> None:
    """A token that names scopes of the desk has these alone, and none that its user lacks."""
    assert whoami(client, shared_provider.access_token(**claim))["scopes"] == ["search"]
    wide = shared_provider.access_token(scope="refdesk:admin refdesk:answers")
    assert whoami(client, wide)["scopes"] == ["answers"]


def test_names_of_others_are_not_taken_over(
    client: TestClient, empty_desk: Desk, shared_provider: OpenIdProvider
) -> None:
    """A subject that is called like a user of the directory is somebody else, and in none of its groups."""
    empty_desk.directory.put_user(UserId("boss"), name="Boss", groups=[PrincipalId("group:board")])
    body = whoami(client, shared_provider.access_token(sub="boss", groups=["everyone", "board"]))
    assert body["user_id"] == "oidc:boss"
    assert body["groups"] == ["group:oidc/board", "group:oidc/everyone"]


def test_the_directory_adds_its_groups(
    client: TestClient, empty_desk: Desk, shared_provider: OpenIdProvider
) -> None:
    """To those of the token, from the next request on."""
    token = shared_provider.access_token(sub="joiner", groups=["a"])
    assert whoami(client, token)["groups"] == ["group:oidc/a"]
    empty_desk.directory.put_user(UserId("oidc:joiner"), name="", groups=[PrincipalId("group:b")])
    assert whoami(client, token)["groups"] == ["group:b", "group:oidc/a"]


def test_too_many_groups_need_the_directory(
    client: TestClient, empty_desk: Desk, shared_provider: OpenIdProvider
) -> None:
    """A token that had no room for its user's groups counts with those of the directory, else not at all."""
    token = shared_provider.access_token(sub="manager", groups=None, _claim_names={"groups": "src1"})
    assert whoami(client, token) == 401
    empty_desk.directory.put_user(UserId("oidc:manager"), name="", groups=[PrincipalId("group:b")])
    assert whoami(client, token)["groups"] == ["group:b"]


def test_disabled_users_stay_out(
    client: TestClient, empty_desk: Desk, shared_provider: OpenIdProvider
) -> None:
    """Whatever they show: token, key or session."""
    user = UserId("oidc:leaver")
    empty_desk.directory.put_user(user, name="", groups=[])
    key = empty_desk.directory.create_key(user, name="k", scopes=["search"], expires_at=None)[1]
    shown = [bearer(shared_provider.access_token(sub="leaver")), bearer(key)]
    shown.append({"Cookie": f"refdesk-session={empty_desk.sessions.begin(user, name='', groups=[])}"})
    assert [client.get("/api/v1/whoami", headers=headers).status_code for headers in shown] == [200] * 3
    disable(empty_desk, user)
    assert [client.get("/api/v1/whoami", headers=headers).status_code for headers in shown] == [401] * 3


def test_a_small_difference_of_clocks_is_forgiven(
    client: TestClient, shared_provider: OpenIdProvider
) -> None:
    """Half a minute, either way; not two minutes."""
    now = int(time.time())
    assert whoami(client, shared_provider.access_token(iat=now + 20, nbf=now + 20))["user_id"]
    assert whoami(client, shared_provider.access_token(exp=now - 10))["user_id"]
    assert whoami(client, shared_provider.access_token(exp=now - 120)) == 401


def test_what_settings_ask_for_counts(empty_desk: Desk, shared_provider: OpenIdProvider) -> None:
    """Other types and algorithms where they are set, and only the clients that are."""
    changes = {"oidc_token_types": "JWT, at+jwt", "oidc_algorithms": "PS256", "oidc_clients": "reports"}
    with oidc_desk(empty_desk, shared_provider, **changes) as desk:
        client = client_for(desk)
        claims = shared_provider.claims(client_id="reports")
        good = signed_with(
            shared_provider.key, {"alg": "PS256", "kid": shared_provider.key.kid, "typ": "jwt"}, claims
        )
        assert whoami(client, good)["user_id"]
        assert whoami(client, shared_provider.access_token(client_id="reports")) == 401
        other = signed_with(
            shared_provider.key,
            {"alg": "PS256", "kid": shared_provider.key.kid, "typ": "jwt"},
            shared_provider.claims(),
        )
        assert whoami(client, other) == 401


def test_groups_may_be_the_directorys_alone(empty_desk: Desk, shared_provider: OpenIdProvider) -> None:
    """Without a claim in the settings, what a token says of groups is not read."""
    with oidc_desk(empty_desk, shared_provider, oidc_groups_claim="") as desk:
        assert whoami(client_for(desk), shared_provider.access_token(groups=7))["groups"] == []


def test_without_an_audience_no_token_counts(empty_desk: Desk, shared_provider: OpenIdProvider) -> None:
    """A desk for sign-in alone takes no access tokens."""
    with oidc_desk(empty_desk, shared_provider, oidc_audience="") as desk:
        assert whoami(client_for(desk), shared_provider.access_token(aud="")) == 401


# --- keys that change, and a provider that is gone


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(empty_desk: Desk, provider: OpenIdProvider, clock: Clock) -> Iterator[TestClient]:
    """A desk that trusts a provider of its own, whose keys grow old by the test's clock."""
    with oidc_desk(empty_desk, provider) as desk:
        assert isinstance(desk.provider, OidcProvider)
        desk.provider._record._clock = clock  # a clock is what tests may replace
        yield client_for(desk)


def test_a_new_key_counts_at_once(timed: TestClient, provider: OpenIdProvider, clock: Clock) -> None:
    """Its first token fetches the keys; the old one counts as long as it is published."""
    old = provider.access_token()
    assert whoami(timed, old)["user_id"]
    provider.rotate()
    clock.now_s += 11
    assert whoami(timed, provider.access_token())["user_id"]
    assert whoami(timed, old)["user_id"]
    assert provider.requests["/jwks"] == 2


def test_a_withdrawn_key_stops_counting(timed: TestClient, provider: OpenIdProvider, clock: Clock) -> None:
    """After five minutes at the latest."""
    old = provider.access_token()
    assert whoami(timed, old)["user_id"]
    provider.rotate(keep_old=False)
    clock.now_s += 301
    assert whoami(timed, old) == 401
    assert whoami(timed, provider.access_token())["user_id"]


def test_made_up_key_ids_do_not_flood_the_provider(
    timed: TestClient, provider: OpenIdProvider, clock: Clock
) -> None:
    """However many are sent, keys are fetched once in ten seconds."""
    assert whoami(timed, provider.access_token())["user_id"]
    for number in range(20):
        assert whoami(timed, provider.signed(provider.claims(), kid=f"made up {number}")) == 401
    assert provider.requests["/jwks"] == 1
    clock.now_s += 11
    for number in range(20):
        assert whoami(timed, provider.signed(provider.claims(), kid=f"made up {number}")) == 401
    assert provider.requests["/jwks"] == 2


def test_known_keys_outlast_an_outage_for_a_while(
    timed: TestClient, provider: OpenIdProvider, clock: Clock
) -> None:
    """Four hours; then nothing can be said of a token, and nobody comes in by one. It ends with the outage."""
    token = provider.access_token()
    assert whoami(timed, token)["user_id"]
    provider.stop()
    clock.now_s += 14_399
    assert whoami(timed, token)["user_id"]
    clock.now_s += 1
    reply = timed.get("/api/v1/whoami", headers=bearer(token))
    assert (reply.status_code, reply.json()["code"]) == (503, "identity_unavailable")
    assert reply.headers["Retry-After"]
    provider.start()
    assert whoami(timed, token) == 503  # it was tried a moment ago
    clock.now_s += 11
    assert whoami(timed, token)["user_id"]


def test_unknown_keys_are_refused_in_an_outage(
    timed: TestClient, provider: OpenIdProvider, clock: Clock
) -> None:
    """Nothing is taken unverified because it cannot be verified."""
    assert whoami(timed, provider.access_token())["user_id"]
    provider.stop()
    provider.rotate()
    clock.now_s += 11
    assert whoami(timed, provider.access_token()) == 401


def test_a_provider_that_is_down_at_the_start(
    timed: TestClient, empty_desk: Desk, provider: OpenIdProvider, clock: Clock
) -> None:
    """The desk starts, takes keys, and tokens once the provider is there."""
    provider.stop()
    assert whoami(timed, new_key(empty_desk)[1])["user_id"] == "somebody"
    assert whoami(timed, provider.access_token()) == 503
    provider.start()
    clock.now_s += 11
    assert whoami(timed, provider.access_token())["user_id"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://attacker.example"},
        {"issuer": None},
        {"jwks_uri": "http://attacker.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": ["x"]},
        {"token_endpoint": "http://attacker.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"code_challenge_methods_supported": ["plain"]},
        {"padding": "x" * 600_000},
    ],
    ids=lambda metadata: str(metadata)[:40],
)
def test_a_provider_gone_wrong_is_not_believed(
    timed: TestClient, provider: OpenIdProvider, clock: Clock, metadata: dict[str, Any]
) -> None:
    """What it says counts as no answer: the keys from before stay, and at the start there are none."""
    provider.metadata = metadata
    assert whoami(timed, provider.access_token()) == 503
    provider.metadata = {}
    clock.now_s += 11
    assert whoami(timed, provider.access_token())["user_id"]
    provider.metadata = metadata
    clock.now_s += 400
    assert whoami(timed, provider.access_token())["user_id"]


def disable(desk: Desk, user_id: UserId) -> None:
    """Disable a user of the directory, as a directory service will."""
    with desk.database.write() as session:
        row = session.get(UserRow, user_id)
        assert row is not None
        row.disabled_at = datetime.now(UTC)

"""Well over 80 tokens, keys and sessions that must not let anybody in: all refused alike, with no detail."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.desk import Desk
from tests.identity.conftest import bearer, client_for, oidc_desk
from tests.identity.forging import KEYS, TOKENS, Shown, UnfitKeys, new_key
from tests.services.openid_provider import OpenIdProvider, openid_provider


@pytest.fixture(scope="module")
def unfit() -> UnfitKeys:
    """Keys that the provider publishes and that are no good."""
    return UnfitKeys()


@pytest.fixture(scope="module")
def careless_provider(unfit: UnfitKeys) -> Iterator[OpenIdProvider]:
    """A provider that publishes them."""
    with openid_provider() as provider:
        provider.more_keys = unfit.published()
        yield provider


@pytest.fixture(scope="module")
def desk(empty_desk: Desk, careless_provider: OpenIdProvider) -> Iterator[Desk]:
    """A desk that trusts it."""
    with oidc_desk(empty_desk, careless_provider) as desk:
        yield desk


@pytest.fixture(scope="module")
def client(desk: Desk) -> TestClient:
    """A client of that desk."""
    return client_for(desk)


@pytest.fixture(scope="module")
def refusal(client: TestClient) -> Any:
    """What somebody is told who shows nothing at all."""
    return told(client, Shown())


def told(client: TestClient, shown: Shown) -> Any:
    """Status, body and headers of the reply, the request's id apart."""
    reply = client.get(f"/api/v1/whoami?{shown.query}", headers=[(n.encode(), v) for n, v in shown.headers])
    headers = {name: value for name, value in reply.headers.items() if name != "x-request-id"}
    return reply.status_code, {**reply.json(), "request_id": ""}, headers


def test_the_good_ones_come_in(
    client: TestClient, desk: Desk, careless_provider: OpenIdProvider, refusal: Any
) -> None:
    """Else the refusals below would prove nothing. Nothing shown is 401."""
    assert refusal[0] == 401
    for credential in (careless_provider.access_token(), new_key(desk)[1]):
        assert client.get("/api/v1/whoami", headers=bearer(credential)).status_code == 200


def test_there_are_enough_of_them() -> None:
    """The bar is 80 (issue 5, D4)."""
    assert len(TOKENS) + len(KEYS) >= 180


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_are_refused(
    client: TestClient,
    careless_provider: OpenIdProvider,
    unfit: UnfitKeys,
    refusal: Any,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the same status, body and headers as nothing at all; the log has a reason and nothing of the token."""
    shown = TOKENS[name](careless_provider, unfit)
    with caplog.at_level(logging.DEBUG):
        assert told(client, shown) == refusal
    assert_silent(caplog, shown)


@pytest.mark.parametrize("name", KEYS)
def test_keys_and_sessions_are_refused(
    client: TestClient, desk: Desk, refusal: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Likewise."""
    shown = KEYS[name](desk)
    with caplog.at_level(logging.DEBUG):
        assert told(client, shown) == refusal
    assert_silent(caplog, shown)


def assert_silent(caplog: pytest.LogCaptureFixture, shown: Shown) -> None:
    """There is a reason in the log, and no word of what was shown that is long enough to be a secret."""
    records = [record for record in caplog.records if record.name.startswith("serving")]
    assert any(getattr(record, "reason", "") for record in records)
    logged = " ".join(str(vars(record)) for record in records)
    words = [word for _, value in shown.headers for word in value.decode("latin-1").replace(".", " ").split()]
    assert not [word for word in words if len(word) > 20 and word in logged]


def test_the_openai_routes_refuse_alike(client: TestClient, careless_provider: OpenIdProvider) -> None:
    """In their own shape, which does not tell a bad token from none either."""
    replies = [
        client.get("/v1/models", headers=headers)
        for headers in ({}, bearer("nonsense"), bearer(careless_provider.access_token(aud="x")))
    ]
    assert {reply.status_code for reply in replies} == {401}
    assert len({reply.text for reply in replies}) == 1

"""Access tokens of a real OpenID provider: who comes in, and what happens while keys change or are gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.desk import Desk
from serving.scopes import END_USER_SCOPES
from tests.identity.conftest import bearer, client_for, oidc_desk
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

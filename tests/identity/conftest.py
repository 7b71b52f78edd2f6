"""A desk without documents, in any identity mode, and a real OpenID provider beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from retrieval.settings import Settings, load_settings
from retrieval.wiring import open_corpus
from serving.desk import Desk
from serving.http.app import create_app
from serving.wiring import open_desk, open_provider
from tests.services.openid_provider import AUDIENCE, CLIENT_ID, CLIENT_SECRET, OpenIdProvider, openid_provider

DESK_URL = "http://127.0.0.1:8080"


@pytest.fixture(scope="session")
def empty_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk that asks for keys and holds nothing."""
    settings = load_settings(data=tmp_path_factory.mktemp("desk") / "state", identity="keys")
    with open_corpus(settings) as corpus, open_desk(settings, corpus) as desk:
        yield desk


@pytest.fixture(scope="session")
def shared_provider() -> Iterator[OpenIdProvider]:
    """A provider for tests that leave it as it is."""
    with openid_provider() as provider:
        provider.client.redirect_uris = [DESK_URL + "/sign-in/callback"]
        yield provider


@pytest.fixture
def provider() -> Iterator[OpenIdProvider]:
    """A provider of one's own."""
    with openid_provider() as provider:
        provider.client.redirect_uris = [DESK_URL + "/sign-in/callback"]
        yield provider


def oidc_settings(desk: Desk, provider: OpenIdProvider, **changes: Any) -> Settings:
    """Settings of the desk for this provider."""
    given = {
        "data": desk.settings.data,
        "identity": "oidc",
        "public_url": DESK_URL,
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_audience": AUDIENCE,
        "oidc_groups_claim": "groups",
        **changes,
    }
    return load_settings(**given)


@contextmanager
def oidc_desk(desk: Desk, provider: OpenIdProvider, **changes: Any) -> Iterator[Desk]:
    """The desk, which trusts this provider."""
    settings = oidc_settings(desk, provider, **changes)
    opened = open_provider(settings)
    try:
        yield replace(desk, settings=settings, provider=opened)
    finally:
        opened.close()


def client_for(
    served: Desk | ASGIApp, *, peer: str = "127.0.0.1", url: str = DESK_URL, cookie: str = ""
) -> TestClient:
    """A client of a desk, or of its application, that follows no redirect."""
    return TestClient(
        create_app(served) if isinstance(served, Desk) else served,
        url,
        headers={"Cookie": cookie} if cookie else {},
        client=(peer, 50000),
        follow_redirects=False,
        raise_server_exceptions=False,
    )


def bearer(credential: str) -> dict[str, str]:
    """The header that shows a credential."""
    return {"Authorization": f"Bearer {credential}"}

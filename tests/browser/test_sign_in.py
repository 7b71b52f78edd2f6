"""Signing in and out in a real browser, at a real OpenID provider."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from retrieval.settings import load_settings
from retrieval.wiring import open_corpus
from serving.http.app import create_app
from serving.http.listening import open_listener
from serving.wiring import open_desk
from tests.browser.conftest import PATIENCE_MS, served, url_of
from tests.services.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, openid_provider

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    """A provider that signs everybody in."""
    with openid_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def sign_in_url(provider: OpenIdProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an empty desk at which one signs in."""
    with open_listener("127.0.0.1") as listener:
        provider.client.redirect_uris = [url_of(listener) + "/sign-in/callback"]
        settings = load_settings(
            data=tmp_path_factory.mktemp("desk") / "state",
            identity="oidc",
            public_url=url_of(listener),
            oidc_issuer=provider.issuer,
            oidc_client_id=CLIENT_ID,
            oidc_client_secret=CLIENT_SECRET,
        )
        with (
            open_corpus(settings) as corpus,
            open_desk(settings, corpus) as desk,
            served(create_app(desk), listener) as url,
        ):
            yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page; no script of the desk may fail on it."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors


def test_somebody_signs_in_and_out(page: Page, sign_in_url: str) -> None:
    """From the page that asks who one is to the provider, back to the same place, and out again."""
    page.goto(sign_in_url + "/documents?state=failed")
    expect(page.get_by_role("heading", name="This desk asks who you are")).to_be_visible()
    page.get_by_role("link", name="Sign in").click()
    expect(page.locator("#who-name")).to_have_text("Mara Lindqvist")
    assert page.url.startswith(sign_in_url + "/documents?state=failed")
    page.click("#who-button")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="This desk asks who you are")).to_be_visible()
    assert not [cookie for cookie in page.context.cookies() if "session" in cookie.get("name", "")]


def test_a_key_can_still_be_typed_in(page: Page, sign_in_url: str) -> None:
    """A wrong one is said to be wrong, and signing in stays possible."""
    page.goto(sign_in_url + "/")
    page.fill("#key-input", "rd_00000000.nonsense")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#key-error")).to_have_text("This key was not accepted.")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_scripts_cannot_read_the_session(page: Page, sign_in_url: str) -> None:
    """The cookie is hidden from them, and a change without the page's token is refused."""
    page.goto(sign_in_url + "/sign-in")
    expect(page.locator("#who-name")).to_have_text("Mara Lindqvist")
    assert re.fullmatch(r"refdesk-csrf=[0-9a-f]{64}", page.evaluate("document.cookie"))
    status = "async () => (await fetch('/api/v1/session', {method: 'DELETE'})).status"
    assert page.evaluate(status) == 403


def test_a_sign_in_that_fails_says_what_helps(page: Page, sign_in_url: str, provider: OpenIdProvider) -> None:
    """A page with a way on, for an answer that is not good and for a provider that is gone."""
    page.goto(sign_in_url + "/sign-in/callback?state=x&code=y")
    expect(page.get_by_role("heading", name="Signing in did not work")).to_be_visible()
    page.get_by_role("link", name="Try again").click()
    expect(page.locator("#who-name")).to_have_text("Mara Lindqvist")

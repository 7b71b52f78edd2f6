"""Signing in with a browser at a real OpenID provider, and what a session may and may not do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from retrieval.access import UserId
from retrieval.adapters.sql.models import SessionRow
from retrieval.adapters.sql.sessions import Lifetime, SqlSessions
from serving.desk import Desk
from serving.http.app import create_app
from serving.http.signing_in import own_path
from serving.scopes import Scope
from tests.identity.conftest import DESK_URL, client_for, oidc_desk
from tests.services.openid_provider import CLIENT_ID, OpenIdProvider

HOUR = timedelta(hours=1)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(shared_provider: OpenIdProvider) -> Iterator[OpenIdProvider]:
    """The shared provider, put right again after the test."""
    before = {name: copy(getattr(shared_provider, name)) for name in ("user", "client", "metadata")}
    yield shared_provider
    for name, value in before.items():
        setattr(shared_provider, name, value)
    shared_provider.id_token_claims = {}
    shared_provider.start()


@pytest.fixture(scope="module")
def desk(empty_desk: Desk, shared_provider: OpenIdProvider, clock: Clock) -> Iterator[Desk]:
    """A desk at which one signs in, whose sessions end by the test's clock."""
    sessions = SqlSessions(empty_desk.database, clock, Lifetime(idle=HOUR, longest=12 * HOUR))
    with oidc_desk(empty_desk, shared_provider) as desk:
        yield replace(desk, sessions=sessions)


@pytest.fixture(scope="module")
def app(desk: Desk) -> FastAPI:
    """Its application."""
    return create_app(desk)


@pytest.fixture
def browser(app: FastAPI) -> TestClient:
    """A browser that keeps cookies and follows nothing by itself."""
    return client_for(app)


def to_provider(browser: TestClient, path: str = "/search?q=x") -> str:
    """Begin to sign in; the address to which the browser is sent."""
    reply = browser.get("/sign-in", params={"next": path})
    assert reply.status_code == 303, reply.text
    return reply.headers["Location"]


def at_provider(url: str) -> str:
    """Sign in there; the path to which the browser is sent back."""
    reply = httpx.get(url)
    assert reply.status_code == 302, reply.text
    back = reply.headers["Location"]
    assert back.startswith(DESK_URL + "/sign-in/callback?")
    return back.removeprefix(DESK_URL)


def sign_in(browser: TestClient, path: str = "/search?q=x") -> Any:
    """The whole way; the desk's last reply."""
    return browser.get(at_provider(to_provider(browser, path)))


def changed(url: str, **changes: str | None) -> str:
    """A URL with other parameters; None takes one out."""
    query = {**dict(parse_qsl(urlsplit(url).query)), **changes}
    return urlsplit(url)._replace(query=urlencode({k: v for k, v in query.items() if v is not None})).geturl()


def csrf(browser: TestClient) -> dict[str, str]:
    """The header that the desk's own page sends with a change."""
    return {"X-Refdesk-CSRF": browser.cookies["refdesk-csrf"], "Origin": DESK_URL}


# --- the way in


def test_somebody_signs_in_and_out(browser: TestClient, provider: OpenIdProvider, desk: Desk) -> None:
    """There and back with PKCE, then a session that is the user; signing out ends it for good."""
    reply = sign_in(browser)
    assert (reply.status_code, reply.headers["Location"]) == (303, "/search?q=x")
    me = browser.get("/api/v1/whoami").json()
    assert (me["user_id"], me["name"]) == ("oidc:248289761001", "Mara Lindqvist")
    assert me["groups"] == ["group:oidc/desk users", "group:oidc/hr"]
    secret = browser.cookies["refdesk-session"]
    assert browser.delete("/api/v1/session", headers=csrf(browser)).status_code == 204
    assert "refdesk-session" not in browser.cookies
    assert (
        client_for(browser.app, cookie=f"refdesk-session={secret}").get("/api/v1/whoami").status_code == 401
    )
    events = [record.event for record in desk.audit.records(after=0, limit=1000)]
    assert events[-2:] == ["session.begin", "session.end"]


def test_what_the_provider_is_told(browser: TestClient, provider: OpenIdProvider) -> None:
    """A code with PKCE by S256, for the desk's own address; three values that tell nothing of each other."""
    query = {name: value for name, (value,) in parse_qs(urlsplit(to_provider(browser)).query).items()}
    assert query["response_type"] == "code"
    assert query["code_challenge_method"] == "S256"
    assert (query["client_id"], query["redirect_uri"]) == (CLIENT_ID, DESK_URL + "/sign-in/callback")
    assert query["scope"] == "openid profile"
    assert len({query["state"], query["nonce"], query["code_challenge"]}) == 3
    held = browser.cookies["refdesk-sign-in"]
    assert not any(query[name] in held for name in ("state", "nonce", "code_challenge"))


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_every_kind_of_client(empty_desk: Desk, provider: OpenIdProvider, method: str) -> None:
    """With a secret in the header or in the form, as the provider wants it, and without one."""
    provider.client.method = method
    secret = {"oidc_client_secret": ""} if method == "none" else {}
    with oidc_desk(empty_desk, provider, **secret) as desk:
        assert sign_in(client_for(desk)).headers["Location"] == "/search?q=x"


def test_over_https_cookies_cannot_come_from_elsewhere(empty_desk: Desk, provider: OpenIdProvider) -> None:
    """`__Host-`, Secure, Lax, for the whole desk; hidden from scripts but for the token of changes."""
    provider.client.redirect_uris = ["https://desk.example.org/sign-in/callback"]
    with oidc_desk(empty_desk, provider, public_url="https://desk.example.org/") as desk:
        browser = client_for(desk, url="https://desk.example.org")
        back = httpx.get(to_provider(browser)).headers["Location"].removeprefix("https://desk.example.org")
        reply = browser.get(back)
    cookies = {cookie.partition("=")[0]: cookie for cookie in reply.headers.get_list("set-cookie")}
    assert set(cookies) == {"__Host-refdesk-session", "__Host-refdesk-csrf", "__Host-refdesk-sign-in"}
    for name, cookie in cookies.items():
        assert {"Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        assert ("HttpOnly" in cookie) == (name != "__Host-refdesk-csrf")


def test_every_sign_in_is_a_new_session(browser: TestClient, desk: Desk) -> None:
    """Nobody keeps a session that was there before, whoever put it there; the old one is over."""
    planted = "A" * 43
    browser.cookies.set("refdesk-session", planted, domain="127.0.0.1", path="/")
    sign_in(browser)
    first = browser.cookies["refdesk-session"]
    assert first != planted
    sign_in(browser)
    second = browser.cookies["refdesk-session"]
    assert second != first
    assert client_for(browser.app, cookie=f"refdesk-session={first}").get("/api/v1/whoami").status_code == 401


def test_the_catalogue_holds_no_session_that_could_be_used(browser: TestClient, desk: Desk) -> None:
    """Only a hash of the cookie."""
    sign_in(browser)
    with desk.database.read() as session:
        rows = [str(vars(row)) for row in session.query(SessionRow)]
    assert rows
    assert not any(browser.cookies["refdesk-session"] in row for row in rows)


# --- answers that are not the provider's to this browser


def refused(reply: Any) -> bool:
    """Whether nobody was let in, and nobody was told why."""
    assert "refdesk-session=" not in reply.headers.get("set-cookie", "")
    assert "no-store" in reply.headers["Cache-Control"]
    words = re.sub(r"<code>\w+</code>", "", reply.text)
    return reply.status_code == 401 and "Signing in did not work" in words and "state" not in words


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "x"},
        {"state": None},
        {"state": ""},
        {"code": "x"},
        {"code": None},
        {"code": ""},
        {"code": "x" * 5000},
        {"error": "access_denied"},
        {"code": None, "error": "access_denied", "error_description": "<script>alert(1)</script>"},
        {"iss": "https://attacker.example"},
    ],
    ids=str,
)
def test_changed_answers_are_refused(browser: TestClient, changes: dict[str, str | None]) -> None:
    """Whatever about them is changed."""
    assert refused(browser.get(changed(at_provider(to_provider(browser)), **changes)))


def test_an_answer_that_repeats_itself_is_refused(browser: TestClient) -> None:
    """Two codes, or two states, are no answer."""
    back = at_provider(to_provider(browser))
    assert refused(browser.get(back + "&code=other"))


def test_an_answer_counts_once(browser: TestClient, desk: Desk) -> None:
    """Played again by the same browser, or by another one that has its cookie."""
    back = at_provider(to_provider(browser))
    cookie = f"refdesk-sign-in={browser.cookies['refdesk-sign-in']}"
    assert browser.get(back).status_code == 303
    assert refused(browser.get(back))
    assert refused(client_for(browser.app, cookie=cookie).get(back))


def test_an_answer_counts_for_the_browser_that_asked(browser: TestClient, desk: Desk) -> None:
    """Somebody else's answer signs nobody in as them (login CSRF): not without, and not with an own attempt."""
    back = at_provider(to_provider(browser))
    assert refused(client_for(browser.app).get(back))
    other = client_for(browser.app)
    theirs = at_provider(to_provider(other))
    assert refused(other.get(back))
    code = parse_qs(urlsplit(back).query)["code"][0]
    to_provider(other)
    state = parse_qs(urlsplit(to_provider(other)).query)["state"][0]
    assert refused(other.get(changed(theirs, code=code, state=state)))  # PKCE and nonce tell


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "x"},
        {"nonce": None},
        {"nonce": 7},
        {"aud": "another client"},
        {"aud": [CLIENT_ID, "another client"]},
        {"azp": "another client"},
        {"iss": "https://attacker.example"},
        {"exp": 1},
        {"iat": 4_000_000_000},
        {"sub": ""},
        {"sub": "a\nb"},
        {"groups": None},
        {"groups": "hr"},
        {"hasgroups": True},
    ],
    ids=str,
)
def test_wrong_id_tokens_are_refused(
    browser: TestClient, provider: OpenIdProvider, claims: dict[str, Any]
) -> None:
    """Although the provider signed them."""
    provider.id_token_claims = claims
    assert refused(sign_in(browser))


def test_a_disabled_user_cannot_sign_in(browser: TestClient, desk: Desk, provider: OpenIdProvider) -> None:
    """The desk's own word counts too."""
    provider.user.sub = "left long ago"
    user = UserId("oidc:left long ago")
    desk.directory.put_user(user, name="", groups=[])
    with desk.database.write() as session:
        session.execute(_disabling(user))
    assert refused(sign_in(browser))


def _disabling(user: UserId) -> Any:
    from sqlalchemy import update

    from retrieval.adapters.sql.models import UserRow

    return update(UserRow).where(UserRow.id == user).values(disabled_at=datetime.now(UTC))


def test_a_provider_that_does_not_answer(browser: TestClient, provider: OpenIdProvider) -> None:
    """The page says so, at the beginning and at the end, and offers to try again."""
    url = to_provider(browser)
    back = at_provider(url)
    provider.stop()
    reply = browser.get(back)
    assert reply.status_code == 503
    assert "not possible right now" in reply.text
    assert 'href="/sign-in?next=%2Fsearch%3Fq%3Dx"' in reply.text


def test_a_provider_that_was_never_there(empty_desk: Desk, provider: OpenIdProvider) -> None:
    """The page says so; nothing hangs and nothing fails otherwise."""
    provider.stop()
    with oidc_desk(empty_desk, provider) as desk:
        assert client_for(desk).get("/sign-in").status_code == 503


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/", "/"),
        ("/search?q=a%20b#x", "/search?q=a%20b#x"),
        ("/documents/1", "/documents/1"),
        ("", "/"),
        ("search", "/"),
        ("https://attacker.example/", "/"),
        ("//attacker.example", "/"),
        ("///attacker.example", "/"),
        ("/\\attacker.example", "/"),
        ("\\/attacker.example", "/"),
        ("/a\\b", "/"),
        ("/\t/attacker.example", "/"),
        ("/\n/attacker.example", "/"),
        (" //attacker.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/sign-in?next=/", "/"),
        ("/sign-in/callback", "/"),
        ("/" + "x" * 2000, "/"),
    ],
)
def test_only_paths_of_the_desk_are_gone_back_to(wanted: str, path: str) -> None:
    """Signing in is no way to send somebody elsewhere."""
    assert own_path(wanted) == path


def test_a_planted_attempt_leads_nowhere_else(browser: TestClient) -> None:
    """The path in the cookie is looked at again."""
    back = at_provider(to_provider(browser))
    secret = browser.cookies["refdesk-sign-in"].partition(".")[0]
    browser.cookies.clear()
    browser.cookies.set("refdesk-sign-in", secret + ".%2F%2Fattacker.example", domain="127.0.0.1", path="/")
    assert browser.get(back).headers["Location"] == "/"


# --- sessions


def test_a_session_ends_by_itself(browser: TestClient, clock: Clock) -> None:
    """An hour without a request, or twelve hours in all."""
    sign_in(browser)
    for _ in range(11):
        clock.now += timedelta(minutes=59)
        assert browser.get("/api/v1/whoami").status_code == 200
    clock.now += timedelta(minutes=61)
    assert browser.get("/api/v1/whoami").status_code == 401
    sign_in(browser)
    for _ in range(14):
        clock.now += timedelta(minutes=51)
        assert browser.get("/api/v1/whoami").status_code == 200
    clock.now += timedelta(minutes=7)
    assert browser.get("/api/v1/whoami").status_code == 401


def test_all_sessions_of_a_user_end_at_once(browser: TestClient, desk: Desk) -> None:
    """When who looks after the directory says so, on the next request."""
    sign_in(browser)
    other = client_for(browser.app)
    sign_in(other)
    key = desk.directory.create_key(UserId("hr"), name="k", scopes=[Scope.DIRECTORY], expires_at=None)[1]
    path = "/api/v1/directory/users/oidc:248289761001/sessions"
    assert browser.delete(path, headers=csrf(browser)).status_code == 403
    ended = client_for(browser.app).delete(path, headers={"Authorization": f"Bearer {key}"})
    assert ended.json()["ended"] >= 2
    assert [each.get("/api/v1/whoami").status_code for each in (browser, other)] == [401, 401]


RATE = ("POST", "/api/v1/feedback", {"request_id": "x", "rating": 1})
LEAVE = ("DELETE", "/api/v1/session", None)


@pytest.mark.parametrize(("method", "path", "body"), [RATE, LEAVE])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": DESK_URL},
        {"Sec-Fetch-Site": "same-origin"},
        {"X-Refdesk-CSRF": "", "Sec-Fetch-Site": "same-origin"},
        {"X-Refdesk-CSRF": "0" * 64, "Sec-Fetch-Site": "same-origin"},
        {"X-Refdesk-CSRF": "own", "Sec-Fetch-Site": "cross-site"},
        {"X-Refdesk-CSRF": "own", "Sec-Fetch-Site": "same-site"},
        {"X-Refdesk-CSRF": "own", "Sec-Fetch-Site": "none"},
        {"X-Refdesk-CSRF": "own", "Origin": "https://attacker.example"},
        {"X-Refdesk-CSRF": "own", "Origin": "null"},
        {"X-Refdesk-CSRF": "own", "Origin": DESK_URL + ".attacker.example"},
        {"X-Refdesk-CSRF": "own", "Origin": "http://127.0.0.1:9999"},
        {"X-Refdesk-CSRF": "own", "Origin": DESK_URL, "Sec-Fetch-Site": "cross-site"},
        {"X-Refdesk-CSRF": "another's"},
    ],
    ids=str,
)
def test_changes_come_from_the_desks_own_page(
    browser: TestClient, desk: Desk, headers: dict[str, str], method: str, path: str, body: Any
) -> None:
    """With its token, and from nowhere else; everything else is refused and changes nothing."""
    sign_in(browser)
    other = client_for(browser.app)
    sign_in(other)
    tokens = {"own": browser.cookies["refdesk-csrf"], "another's": other.cookies["refdesk-csrf"]}
    sent = {name: tokens.get(value, value) for name, value in headers.items()}
    reply = browser.request(method, path, json=body, headers=sent)
    assert (reply.status_code, reply.json()["code"]) == (403, "foreign_origin")
    assert browser.get("/api/v1/whoami").status_code == 200
    assert browser.request(method, path, json=body, headers=csrf(browser)).status_code in (200, 204)


def test_other_sites_do_not_read_either(browser: TestClient) -> None:
    """Nor time, nor count; an address that somebody types in is read."""
    sign_in(browser)
    for site, status in (("cross-site", 403), ("same-site", 403), ("none", 200), ("same-origin", 200)):
        assert browser.get("/api/v1/whoami", headers={"Sec-Fetch-Site": site}).status_code == status


def test_a_credential_that_is_shown_counts_alone(browser: TestClient) -> None:
    """A bad one is refused, whatever session comes with it."""
    sign_in(browser)
    assert browser.get("/api/v1/whoami", headers={"Authorization": "Bearer x"}).status_code == 401


def test_pages_offer_to_sign_in(browser: TestClient, empty_desk: Desk) -> None:
    """Where there is a provider, and only there."""
    assert 'id="sign-in"' in browser.get("/").text
    plain = client_for(empty_desk)
    assert 'id="sign-in"' not in plain.get("/").text
    assert plain.get("/sign-in").status_code == 404

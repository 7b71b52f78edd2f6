"""What callers over a quota are told, over HTTP."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from retrieval.access import UserId
from serving.desk import Desk
from serving.http.app import create_app
from serving.http.errors import register_error_handlers
from serving.http.limits import Counter
from serving.http.metrics import Metrics
from serving.http.middleware import BodyLimits, Envelope
from serving.limits import Limits, Quota
from tests.desks import client_of
from tests.identity.conftest import bearer, client_for
from tests.loops import on_a_loop

READER = "jonas.weidler"


@pytest.fixture
def keys_desk(desk: Desk) -> Desk:
    """The same desk, which asks for keys."""
    return replace(desk, settings=desk.settings.model_copy(update={"identity": "keys"}))


def key_of(desk: Desk, user: str, *scopes: str) -> str:
    """A new key."""
    return desk.directory.create_key(UserId(user), name="t", scopes=scopes or ["search"], expires_at=None)[1]


def limited_app(desk: Desk, **limits: Any) -> FastAPI:
    """The desk's application with these limits alone."""
    return create_app(desk, limits=Limits(**limits))


def test_a_user_over_its_quota_is_told_when_to_come_again(desk: Desk) -> None:
    """429 with the code, Retry-After and the draft's fields; another user is not concerned."""
    app = limited_app(desk, user=Quota("user", burst=2, per_second=0.1))
    client = client_of(app, user=READER)
    passed = [client.get("/api/v1/whoami") for _ in range(2)]
    assert [reply.headers["RateLimit"] for reply in passed] == ['"user";r=1;t=10', '"user";r=0;t=10']
    refused = client.get("/api/v1/whoami")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["RateLimit-Policy"] == '"user";q=2;w=20'
    assert refused.headers["RateLimit"].startswith('"user";r=0;t=')
    assert int(refused.headers["Retry-After"]) >= 9
    assert client_of(app, user="mara.lindqvist").get("/api/v1/whoami").status_code == 200


def test_the_openai_routes_say_it_in_their_shape(desk: Desk) -> None:
    """OpenAI's clients find the type that they know, and the same headers."""
    client = client_of(limited_app(desk, user=Quota("user", burst=1, per_second=0.1)))
    client.get("/v1/models")
    refused = client.get("/v1/models")
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert "Retry-After" in refused.headers


def test_a_key_has_a_quota_whoever_it_acts_for(keys_desk: Desk) -> None:
    """A service key cannot get around its quota by acting for many."""
    app = limited_app(keys_desk, key=Quota("key", burst=2, per_second=0.1))
    key = key_of(keys_desk, "chat", "search", "act-as")
    users = (READER, "mara.lindqvist", "tobias.krantz")
    replies = [
        client_of(app, key=key).get("/api/v1/whoami", headers={"X-Refdesk-User": user}) for user in users
    ]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    other = client_of(app, key=key_of(keys_desk, READER))
    assert other.get("/api/v1/whoami").status_code == 200


def test_an_address_is_counted_before_anything_else(keys_desk: Desk) -> None:
    """Whatever is asked for; this machine is never counted."""
    app = limited_app(keys_desk, address=Quota("address", burst=2, per_second=0.1))
    stranger = client_for(app, peer="203.0.113.7")
    statuses = [stranger.get(path).status_code for path in ("/healthz", "/nowhere", "/healthz")]
    assert statuses == [200, 404, 429]
    assert client_for(app, peer="203.0.113.8").get("/healthz").status_code == 200
    assert all(client_for(app).get("/healthz").status_code == 200 for _ in range(5))


def test_guessing_ends_after_a_few_tries(keys_desk: Desk) -> None:
    """Then no credential from that address is looked at, so a right guess looks like a wrong one."""
    app = limited_app(keys_desk, failures=Quota("failures", burst=3, per_second=0.01))
    guesser = client_for(app, peer="203.0.113.7")
    key = key_of(keys_desk, READER)
    assert [guesser.get("/api/v1/whoami").status_code for _ in range(5)] == [401] * 5  # nothing is shown
    wrong = [guesser.get("/api/v1/whoami", headers=bearer(key[:-1] + "#")) for _ in range(4)]
    assert [reply.status_code for reply in wrong] == [401, 401, 401, 429]
    right = guesser.get("/api/v1/whoami", headers=bearer(key))
    assert right.status_code == 429
    assert {**right.json(), "request_id": ""} == {**wrong[-1].json(), "request_id": ""}
    assert client_for(app, peer="203.0.113.8").get("/api/v1/whoami", headers=bearer(key)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/answers", {"question": "How many days of leave are there?"}),
        ("/api/v1/answers", {"question": "How many days of leave are there?", "stream": True}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "How many days of leave?"}]}),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "How many days of leave?"}], "stream": True},
        ),
    ],
)
def test_answers_under_way_are_bounded(desk: Desk, path: str, body: dict[str, Any]) -> None:
    """By user and in all; each route gives its slot back at the end of its reply."""
    app = limited_app(desk, answers_per_user=2, answers_total=3)
    client, slots = client_of(app, user=READER), app.state.counter.answers
    assert client.post(path, json=body).status_code == 200
    assert slots.under_way() == 0
    with slots.slot(READER), slots.slot(READER):
        refused = client.post(path, json=body)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "2")
        assert refused.headers["RateLimit-Policy"] == '"answers";q=2;qu="concurrent-requests"'
    with ExitStack() as others:
        for user in ("a", "b", "c"):
            others.enter_context(slots.slot(user))
        busy = client.post(path, json=body)
        assert (busy.status_code, busy.headers["Retry-After"]) == (503, "2")
    assert slots.under_way() == 0


def test_a_quota_shows_on_success_and_on_its_own_refusal_alone(desk: Desk) -> None:
    """What is not found looks the same however much was asked before."""
    client = client_of(limited_app(desk, user=Quota("user", burst=9, per_second=1)))
    assert "RateLimit" in client.get("/api/v1/whoami").headers
    missing = client.get("/api/v1/documents/nothing")
    assert missing.status_code == 404
    assert "RateLimit" not in missing.headers


async def talk(app: Callable[..., Any], *, request_s: float, receive: Receive) -> list[Message]:
    """What an application in an envelope sends for one request."""
    envelope = Envelope(
        app,
        limits=BodyLimits(upload=100),
        is_local=False,
        metrics=Metrics(),
        counter=Counter(Limits(request_s=request_s)),
    )
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "POST", "path": "/api/v1/search", "headers": [], "client": None}
    await envelope(scope, receive, send)
    return sent


async def no_body() -> Message:
    """A request that is all there."""
    return {"type": "http.request", "body": b"", "more_body": False}


def test_a_request_that_takes_too_long_is_refused() -> None:
    """504 with a code; what the application says afterwards is dropped."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await anyio.sleep(30)
        finally:
            await send({"type": "http.response.start", "status": 200, "headers": []})

    start, body = on_a_loop(lambda: talk(slow, request_s=0.05, receive=no_body))
    assert start["status"] == 504
    assert json.loads(body["body"])["code"] == "request_timeout"


def test_a_stream_that_has_begun_is_not_cut() -> None:
    """The limit is for the time until a reply begins; streams have limits of their own."""

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await anyio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"late", "more_body": False})

    sent = on_a_loop(lambda: talk(streaming, request_s=0.05, receive=no_body))
    assert [message.get("body") for message in sent] == [None, b"late"]


def test_a_body_that_does_not_arrive_is_refused() -> None:
    """408 with a code, long before the request's time is up."""

    async def never() -> Message:
        await anyio.sleep(30)
        raise AssertionError("nobody waits this long")

    async def asked() -> list[Message]:
        app = FastAPI()
        register_error_handlers(app)

        @app.post("/api/v1/search")
        def search(body: dict[str, str]) -> None:
            raise AssertionError(body)

        return await talk(app, request_s=0.1, receive=never)

    start, body, *_ = on_a_loop(asked)
    assert start["status"] == 408
    assert json.loads(body["body"])["code"] == "body_timeout"


def test_a_reader_who_goes_away_gives_the_slot_back(desk: Desk) -> None:
    """An answer whose stream breaks does not count as under way for ever."""
    app = limited_app(desk, answers_per_user=1)
    body = json.dumps({"question": "How many days of leave are there?", "stream": True}).encode()
    held: list[int] = []

    pieces = [body]

    async def receive() -> Message:
        if not pieces:
            await anyio.sleep(60)
        return {"type": "http.request", "body": pieces.pop(), "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            held.append(app.state.counter.answers.under_way())
            raise OSError("the connection is closed")

    headers = [(b"host", b"127.0.0.1:8080"), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/answers",
        "raw_path": b"/api/v1/answers",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
    }

    async def ask() -> None:
        with contextlib.suppress(OSError, ClientDisconnect):
            await app(scope, receive, send)

    on_a_loop(ask)
    assert held == [1]
    assert app.state.counter.answers.under_way() == 0

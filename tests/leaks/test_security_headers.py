"""Every reply carries the security headers: each route, errors, static files, redirects and streams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from serving.desk import Desk
from serving.http.app import create_app
from serving.http.middleware import SECURITY_HEADERS
from serving.limits import Limits, Quota
from tests.desks import client_of

UNSAFE = re.compile(r"unsafe-|\*|https?:|data:(?!;)|blob:")


def all_routes(routes: Any) -> Iterator[APIRoute]:
    """Every route of an application, those of its routers included."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            inner = getattr(route, "original_router", None) or getattr(route, "router", None)
            yield from all_routes(getattr(inner, "routes", []))


def assert_guarded(reply: Any) -> None:
    """All the headers, once each, and a policy without holes."""
    for name in SECURITY_HEADERS:
        assert len(reply.headers.get_list(name)) == 1, (name, reply.request.url)
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["Content-Security-Policy"].split(";"))
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert not UNSAFE.search(policy["script-src"] + policy["style-src"] + policy["default-src"])
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["X-Request-Id"]


def test_every_route_is_guarded(app: FastAPI) -> None:
    """Whatever a route replies to a request without anything in it."""
    client = client_of(app, user="jonas.weidler")
    routes = list(all_routes(app.routes))
    paths = {route.path for route in routes}
    assert {"/", "/search", "/static/{digest}/{name}", "/metrics", "/api/v1/search", "/v1/models"} <= paths
    assert set(app.openapi()["paths"]) <= {path.replace(":path}", "}") for path in paths}
    for route in routes:
        path = re.sub(r"\{[^}]*\}", "none", route.path) + "?limit_s=0.1"
        for method in route.methods or ():
            assert_guarded(
                client.request(method, path, json={} if method in ("POST", "PUT", "PATCH") else None)
            )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/openapi.json", 200),
        ("GET", "/static/none/none.js", 404),
        ("GET", "/static/none/answer.js", 200),
        ("GET", "/favicon.ico", 200),
        ("DELETE", "/api/v1/search", 405),
        ("POST", "/api/v1/search", 422),
        ("HEAD", "/", None),
        ("OPTIONS", "/api/v1/search", 405),
    ],
)
def test_errors_and_files_are_guarded(app: FastAPI, method: str, path: str, status: int | None) -> None:
    """What is no route, what is a file, and what is refused."""
    reply = client_of(app).request(method, path)
    assert status is None or reply.status_code == status
    assert_guarded(reply)


def test_streams_are_guarded(app: FastAPI) -> None:
    """Headers of a stream go out before its first word."""
    for path, body in (
        ("/api/v1/answers", {"question": "How many days of leave are there?", "stream": True}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Leave?"}], "stream": True}),
    ):
        reply = client_of(app).post(path, json=body)
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        assert_guarded(reply)


def test_refusals_of_the_envelope_are_guarded(
    desk: Desk, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too much, too large, another host, nobody, and errors that nobody foresaw."""
    assert_guarded(client_of(app).get("/", headers={"Host": "evil.example"}))
    assert_guarded(client_of(app).post("/api/v1/search", content=b"x" * 3_000_000))
    keys = create_app(
        replace(desk, settings=desk.settings.model_copy(update={"identity": "keys"})),
        limits=Limits(address=Quota("address", 1, 0.01)),
    )
    stranger = TestClient(keys, "http://127.0.0.1", client=("203.0.113.7", 1))
    replies = [stranger.get("/api/v1/whoami") for _ in range(2)]
    assert [reply.status_code for reply in replies] == [401, 429]
    for reply in replies:
        assert_guarded(reply)

    def fails(*_: object, **__: object) -> None:
        raise ValueError("unforeseen")

    monkeypatch.setattr(type(desk.search), "search", fails)
    reply = client_of(app).post("/api/v1/search", json={"query": "x"})
    assert reply.status_code == 500
    assert_guarded(reply)

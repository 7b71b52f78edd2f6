"""Problems: every error has a status, and none says too much."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import ingest
import retrieval
import serving
import workers
from retrieval.errors import RefdeskError
from serving.desk import Desk
from serving.http.app import create_app
from serving.http.errors import documented_codes
from serving.http.middleware import SECURITY_HEADERS
from tests.desks import client_of

pytestmark = pytest.mark.timeout(600)


def error_classes() -> Iterator[type[RefdeskError]]:
    """Every error class of every package."""
    for package in (retrieval, ingest, serving, workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.rsplit(".", 1)[-1] in ("errors", "settings", "retries", "upkeep"):
                importlib.import_module(module.name)
    waiting = [RefdeskError]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += found.__subclasses__()


def test_every_error_has_a_status() -> None:
    """A new error class without a line in the table fails here."""
    missing = {error.__name__ for error in error_classes() if error.code not in documented_codes()}
    assert not missing


def test_a_problem_has_all_its_members(owner: TestClient) -> None:
    """RFC 9457's and ours, with the request's own id."""
    reply = owner.get("/api/v1/documents/none")
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert body.keys() == {
        "type", "title", "status", "detail", "code", "hint", "request_id", "retryable",
    }  # fmt: skip
    assert body["request_id"] == reply.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/none", 404, "route_not_found"),
        ("GET", "/none", 404, "route_not_found"),
        ("PATCH", "/api/v1/search", 405, "method_not_allowed"),
        ("GET", "/api/v1/documents?limit=0", 422, "invalid_request"),
    ],
)
def test_the_frameworks_own_errors_are_problems(
    owner: TestClient, method: str, path: str, status: int, code: str
) -> None:
    """Unknown routes, methods and parameters look like every other error."""
    reply = owner.request(method, path)
    assert (reply.status_code, reply.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"\xff", b'{"query": "\\ud800"}', b'{"query": "a\\u0000"}']
)
def test_bodies_that_are_not_json_are_refused(owner: TestClient, body: bytes) -> None:
    """With a problem that repeats nothing of them."""
    reply = owner.post("/api/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code in (400, 422)
    assert reply.json()["code"] in ("invalid_request", "bad_request")


def test_what_was_sent_is_not_repeated(owner: TestClient) -> None:
    """A secret in the wrong field does not come back."""
    reply = owner.post("/api/v1/search", json={"query": "x", "limit": "hunter2", "hunter3": 1})
    assert reply.status_code == 422
    assert "hunter2" not in reply.text


def test_large_bodies_are_refused_announced_or_not(owner: TestClient) -> None:
    """By the length that is announced, and by counting where none is."""
    big = b'{"query": "' + b"x" * 2**21 + b'"}'
    announced = owner.post("/api/v1/search", content=big, headers={"Content-Type": "application/json"})
    assert (announced.status_code, announced.json()["code"]) == (413, "body_too_large")

    def pieces() -> Iterator[bytes]:
        yield from (big[at : at + 65536] for at in range(0, len(big), 65536))

    counted = owner.post("/api/v1/search", content=pieces(), headers={"Content-Type": "application/json"})
    assert (counted.status_code, counted.json()["code"]) == (413, "body_too_large")


def test_an_unforeseen_error_tells_nothing_and_is_logged_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets an id to quote; the log has the rest."""

    def breaks(*args: object) -> None:
        raise ValueError("secret detail")

    monkeypatch.setattr(type(desk.search), "search", breaks)
    with caplog.at_level(logging.ERROR):
        reply = client_of(create_app(desk)).post("/api/v1/search", json={"query": "x"})
    assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
    assert "secret" not in reply.text
    assert reply.headers["X-Request-Id"] == reply.json()["request_id"]
    assert sum("unexpectedly" in record.message for record in caplog.records) == 1


def test_every_reply_has_security_headers_and_an_own_id(owner: TestClient) -> None:
    """An id that the caller sends is not taken over."""
    for path in ("/", "/api/v1/whoami", "/healthz", "/none"):
        reply = owner.get(path, headers={"X-Request-Id": "mine"})
        assert reply.headers.keys() >= {name.lower() for name in SECURITY_HEADERS}
        assert "mine" not in reply.headers["X-Request-Id"]


def test_the_access_log_holds_no_question(owner: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """Only the route, the status and ids."""
    with caplog.at_level(logging.INFO, logger="refdesk.access"):
        owner.get("/api/v1/documents", params={"q": "confidential"})
    lines = [record for record in caplog.records if record.name == "refdesk.access"]
    assert [vars(line)["route"] for line in lines] == ["/api/v1/documents"]
    assert "confidential" not in str([vars(line) for line in lines])


def test_probes_and_metrics(owner: TestClient, reader: TestClient, app: FastAPI) -> None:
    """Parts are told by code; counts over all documents are for those who may see them."""
    assert owner.get("/healthz").json() == {"status": "ok"}
    ready = owner.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["parts"]["catalogue"] == "ok"
    assert 'refdesk_documents{state="live"}' in owner.get("/metrics").text
    assert "refdesk_documents" not in reader.get("/metrics").text
    owner.get("/api/v1/documents")
    assert 'route="/api/v1/documents"' in owner.get("/metrics").text

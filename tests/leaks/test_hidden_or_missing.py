"""A hidden id and one that nothing has get the same reply, on every route that takes one. Times: `benchmarks`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from benchmarks.hidden_or_missing import NOTHING_HIDDEN, OUTSIDER, hidden_ids, routes_with_ids
from serving.desk import Desk
from serving.http.app import create_app
from serving.scopes import ALL_SCOPES
from tests.desks import client_of, wait_until_idle

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def keys_app(desk: Desk) -> FastAPI:
    """The desk's application, which asks for keys."""
    return create_app(replace(desk, settings=desk.settings.model_copy(update={"identity": "keys"})))


@pytest.fixture(scope="module")
def outsider(desk: Desk, keys_app: FastAPI) -> TestClient:
    """Somebody who may use every route, and sees none of the things."""
    scopes = ALL_SCOPES - {"admin", "act-as"}
    key = desk.directory.create_key(OUTSIDER, name="k", scopes=scopes, expires_at=None)[1]
    return client_of(keys_app, key=key)


@pytest.fixture(scope="module")
def hidden(desk: Desk) -> Iterator[dict[str, list[str]]]:
    """Ids that are there, and hidden."""
    yield hidden_ids(desk)
    wait_until_idle(desk)


def reply_without_its_id(reply: Any) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Status, bytes and headers, without the id of the request."""
    id_ = reply.headers["x-request-id"]
    headers = [(name, value) for name, value in reply.headers.multi_items() if name != "x-request-id"]
    return reply.status_code, reply.content.replace(id_.encode(), b""), headers


def test_hidden_and_missing_get_the_same_bytes(
    keys_app: FastAPI, outsider: TestClient, hidden: dict[str, list[str]]
) -> None:
    """Status, body and headers, on every route that the OpenAPI document has with an id."""
    routes = routes_with_ids(keys_app)
    assert {route.parameter for route in routes} == set(hidden)
    for route in routes:
        missing = reply_without_its_id(route.ask(outsider, str(uuid.uuid4())))
        assert missing[0] == 404, route
        for id_ in hidden[route.parameter]:
            assert reply_without_its_id(route.ask(outsider, id_)) == missing, route


def test_every_parameter_of_a_path_is_looked_at(keys_app: FastAPI, hidden: dict[str, list[str]]) -> None:
    """A path with an id of a new kind fails here until somebody says how it is hidden."""
    parts = {part for path in keys_app.openapi()["paths"] for part in path.split("/")}
    named = {part[1:-1] for part in parts if part.startswith("{")}
    assert named == set(hidden) | set(NOTHING_HIDDEN)


def test_an_id_of_another_kind_is_missing(
    keys_app: FastAPI, outsider: TestClient, hidden: dict[str, list[str]]
) -> None:
    """Ids cannot be told apart by asking one kind of route for another kind's."""
    ids = [each[0] for each in hidden.values()]
    for route in [route for route in routes_with_ids(keys_app) if route.method == "GET"]:
        assert {route.ask(outsider, id_).status_code for id_ in ids} == {404}, route

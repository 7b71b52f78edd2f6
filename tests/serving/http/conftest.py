"""A desk over the sample handbook, and its HTTP application, once per session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.desk import Desk
from serving.http.app import create_app
from tests.desks import client_of, shared_desk


@pytest.fixture(scope="session")
def desk() -> Iterator[Desk]:
    """A running desk without login, whose owner is `local`."""
    with shared_desk() as opened:
        yield opened


@pytest.fixture(scope="session")
def app(desk: Desk) -> FastAPI:
    """Its application."""
    return create_app(desk)


@pytest.fixture(scope="session")
def owner(app: FastAPI) -> TestClient:
    """The local owner."""
    return client_of(app)


@pytest.fixture(scope="session")
def reader(app: FastAPI) -> TestClient:
    """A shift lead, in no group that opens a restricted folder."""
    return client_of(app, user="jonas.weidler")


@pytest.fixture(scope="session")
def head_of_people(app: FastAPI) -> TestClient:
    """A member of `hr`."""
    return client_of(app, user="mara.lindqvist")

"""Catalogues for tests: the same tests run on SQLite and, where its package is installed, on PostgreSQL."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest

from tests.services import servers

# No deadline: a test must not fail because the machine is busy. The same examples in every run.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")

REQUIRED = os.environ.get("REFDESK_REQUIRE_SERVICES") == "1"


def skip_without(*programs: str) -> None:
    """Skip, naming the package, unless the server programs are installed; fail where they must be."""
    missing = [name for name in programs if servers.binary(name) is None]
    if missing and REQUIRED:
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A PostgreSQL server for the session."""
    skip_without("postgres")
    with servers.postgres(tmp_path_factory.mktemp("postgres") / "server") as server:
        yield server


def empty_database(server: servers.Server) -> str:
    """URL of a new, empty database on a PostgreSQL server."""
    name = f"t{uuid.uuid4().hex}"
    address = f"postgresql://refdesk@127.0.0.1:{server.port}/postgres"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f'create database "{name}"'.encode())
    return server.url.removesuffix("/refdesk") + f"/{name}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
def catalogue_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty catalogue, once on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalogue.db'}"
    return empty_database(request.getfixturevalue("postgres_server"))

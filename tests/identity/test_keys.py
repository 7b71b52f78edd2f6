"""API keys: what is kept of them, how they are replaced, and when they stop."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval.access import UserId
from retrieval.adapters.sql.directory import SqlDirectory
from retrieval.errors import NotFoundError
from serving.desk import Desk
from serving.scopes import Scope
from tests.identity.conftest import bearer, client_for
from tests.identity.forging import new_key

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(empty_desk: Desk) -> TestClient:
    """A client of a desk that asks for keys."""
    return client_for(empty_desk)


def holder(desk: Desk, user: str, *scopes: Scope) -> dict[str, str]:
    """The header of a new key."""
    return bearer(desk.directory.create_key(UserId(user), name="k", scopes=scopes, expires_at=None)[1])


def test_a_key_has_256_bits_and_only_its_hash_is_kept(empty_desk: Desk) -> None:
    """A copy of the database opens nothing."""
    _, secret = new_key(empty_desk)
    assert len(secret.partition(".")[2]) == 43
    assert new_key(empty_desk)[1] != secret
    database = sqlite3.connect(empty_desk.settings.data / "catalogue.db")
    dump = "\n".join(database.iterdump())
    database.close()
    assert secret.partition(".")[0] in dump
    assert secret.partition(".")[2] not in dump


def test_a_use_is_noted(client: TestClient, empty_desk: Desk) -> None:
    """The time of the last one is shown with the key, at most a minute late."""
    id_, secret = new_key(empty_desk)
    before = empty_desk.directory.keys()
    assert [key.last_used_at for key in before if key.id == id_] == [None]
    client.get("/api/v1/whoami", headers=bearer(secret))
    shown = client.get("/api/v1/keys", headers=holder(empty_desk, "somebody", Scope.KEYS)).json()["keys"]
    assert [key["last_used_at"] is not None for key in shown if key["id"] == id_] == [True]


def test_a_key_is_rotated(client: TestClient, empty_desk: Desk) -> None:
    """The new one is for the same; the old one is refused on the next request."""
    keeper = holder(empty_desk, "somebody", Scope.KEYS, Scope.SEARCH)
    id_, old = new_key(empty_desk)
    made = client.post(f"/api/v1/keys/{id_}/rotate", json={}, headers=keeper)
    assert made.status_code == 201
    body = made.json()
    assert (body["key"]["name"], body["key"]["user_id"], body["key"]["scopes"]) == (
        "test",
        "somebody",
        ["search"],
    )
    assert client.get("/api/v1/whoami", headers=bearer(old)).status_code == 401
    assert client.get("/api/v1/whoami", headers=bearer(body["secret"])).status_code == 200
    assert client.post(f"/api/v1/keys/{id_}/rotate", json={}, headers=keeper).status_code == 404


def test_a_repeated_rotation_tells_no_secret_again(client: TestClient, empty_desk: Desk) -> None:
    """With an Idempotency-Key it is done once, and the secret was in the first reply only."""
    headers = {**holder(empty_desk, "somebody", Scope.KEYS, Scope.SEARCH), "Idempotency-Key": "once"}
    id_, _ = new_key(empty_desk)
    replies = [client.post(f"/api/v1/keys/{id_}/rotate", json={}, headers=headers).json() for _ in range(2)]
    assert replies[0]["key"] == replies[1]["key"]
    assert "secret" not in replies[1]


def test_nobody_gains_by_rotating(client: TestClient, empty_desk: Desk) -> None:
    """The secret of a key that may do more, or is somebody else's, is not to be had this way."""
    keeper = holder(empty_desk, "somebody", Scope.KEYS)
    id_, _ = new_key(empty_desk)
    assert (
        client.post(f"/api/v1/keys/{id_}/rotate", json={}, headers=keeper).json()["code"] == "not_permitted"
    )
    other, _ = new_key(empty_desk, user=UserId("somebody.else"))
    keeper = holder(empty_desk, "somebody", Scope.KEYS, Scope.SEARCH)
    assert client.post(f"/api/v1/keys/{other}/rotate", json={}, headers=keeper).status_code == 404
    admin = holder(empty_desk, "admin", Scope.KEYS, Scope.SEARCH, Scope.ADMIN)
    assert client.post(f"/api/v1/keys/{other}/rotate", json={}, headers=admin).status_code == 201


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.mark.parametrize(
    ("lifetime", "grace", "old_ends", "new_ends"),
    [
        (None, timedelta(hours=1), timedelta(hours=1), None),
        (timedelta(days=90), timedelta(hours=1), timedelta(hours=1), timedelta(days=90)),
        (timedelta(minutes=30), timedelta(hours=1), timedelta(minutes=20), timedelta(minutes=30)),
    ],
)
def test_the_old_key_may_stay_for_a_while(
    empty_desk: Desk, lifetime: timedelta | None, grace: timedelta, old_ends: timedelta, new_ends: Any
) -> None:
    """But not longer than it would have; the new one lasts as long as the old one was made for."""
    clock = Clock()
    directory = SqlDirectory(empty_desk.database, clock)
    expires_at = None if lifetime is None else NOW + lifetime
    old, secret = directory.create_key(UserId("x"), name="k", scopes=["search"], expires_at=expires_at)
    clock.now += timedelta(minutes=10)
    new, _ = directory.rotate_key(old.id, grace=grace)
    assert new.expires_at == (None if new_ends is None else clock.now + new_ends)
    clock.now += old_ends - timedelta(seconds=1)
    assert directory.authenticate(secret) is not None
    clock.now += timedelta(seconds=1)
    assert directory.authenticate(secret) is None
    with pytest.raises(NotFoundError):
        directory.rotate_key(old.id, grace=grace)

"""Building, listing, going back and dropping over HTTP, for administrators only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from retrieval.access import UserId
from retrieval.settings import load_settings
from serving.embedded import open_embedded
from serving.http.app import create_app
from tests.desks import client_of, wait_until_idle
from tests.rotated import opening_rotated

pytestmark = pytest.mark.timeout(300)

INDEXES = "/api/v1/indexes"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """The owner of an empty desk whose model is changed while the old one is still there."""
    settings = load_settings(data=tmp_path)
    with open_embedded(settings):
        pass
    with open_embedded(settings, opener=opening_rotated()) as embedded:
        client = client_of(create_app(embedded.desk))
        client.get("/healthz")
        embedded.desk.directory.put_user(UserId("reader"), name="Reader", groups=[])
        yield client
        wait_until_idle(embedded.desk)


def test_an_index_is_built_gone_back_from_and_dropped(client: TestClient) -> None:
    """Each step shows in the list, and what answers cannot be dropped."""
    (first,) = _listed(client)
    assert first["state"] == "active"
    assert first["activated_at"]
    second = _built(client)
    assert {each["name"]: each["state"] for each in _listed(client)} == {
        second: "active",
        first["name"]: "retired",
    }
    back = client.post(f"{INDEXES}/{first['name']}/activate")
    assert [(each["name"], each["state"]) for each in back.json()["indexes"]] == [
        (first["name"], "active"),
        (second, "retired"),
    ]
    assert client.delete(f"{INDEXES}/{first['name']}").status_code == 409
    assert client.delete(f"{INDEXES}/{second}").status_code == 204
    assert client.delete(f"{INDEXES}/{second}").status_code == 404
    assert client.post(f"{INDEXES}/{second}/activate").status_code == 404
    assert len(_listed(client)) == 1
    events = [record["event"] for record in client.get("/api/v1/audit").json()["records"]]
    assert events.count("index.activate") == events.count("index.drop") == 1


def test_only_administrators_may(client: TestClient) -> None:
    """Whoever acts as an end user is refused, and nothing happens."""
    user = {"X-Refdesk-User": "reader"}
    (first,) = _listed(client)
    for method, path in (
        ("GET", INDEXES),
        ("POST", INDEXES),
        ("POST", f"{INDEXES}/{first['name']}/activate"),
        ("DELETE", f"{INDEXES}/{first['name']}"),
    ):
        assert client.request(method, path, headers=user).status_code == 403
    assert _listed(client) == [first]


def _listed(client: TestClient) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = client.get(INDEXES).json()["indexes"]
    return listed


def _built(client: TestClient) -> str:
    """The name of an index that was built and answers."""
    accepted = client.post(INDEXES)
    assert accepted.status_code == 202
    while (job := client.get(f"/api/v1/jobs/{accepted.json()['job']['id']}").json())["finished_at"] is None:
        continue
    assert job["state"] == "done", job
    return str(job["report"]["index"])

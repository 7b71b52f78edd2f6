"""Other ids of a user on a desk with documents: what is shared with one of them opens, and closes again."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.desks import client_of

DIRECTORY = "/api/v1/directory"


@pytest.fixture
def settled(owner: TestClient) -> Iterator[str]:
    """A user of the sample desk who is linked to a mail address, and in no group."""
    name = uuid.uuid4().hex[:12]
    owner.put(f"{DIRECTORY}/users/{name}", json={})
    owner.post(f"{DIRECTORY}/users/{name}/identities", json={"issuer": "mail", "subject": f"{name}@x.org"})
    yield name
    owner.patch(f"{DIRECTORY}/users/{name}", json={"disabled": True})


def test_a_document_shared_with_an_address_opens_to_its_user(
    app: FastAPI, owner: TestClient, settled: str
) -> None:
    """It closes when the link ends."""
    source = owner.post("/api/v1/sources", json={"name": f"mail-{settled}", "kind": "push"}).json()["id"]
    pushed = owner.put(
        "/api/v1/documents",
        json={
            "source_id": source,
            "external_id": "a.txt",
            "text": f"The pond {settled} is deep.",
            "acl": {"allow": [f"user:{settled}@x.org"]},
        },
    ).json()
    document = pushed["job"]["document_id"]
    reader = client_of(app, user=settled)
    assert reader.get(f"/api/v1/documents/{document}").status_code == 200
    assert client_of(app, user="jonas.weidler").get(f"/api/v1/documents/{document}").status_code == 404
    owner.delete(
        f"{DIRECTORY}/users/{settled}/identities", params={"issuer": "mail", "subject": f"{settled}@x.org"}
    )
    assert reader.get(f"/api/v1/documents/{document}").status_code == 404
    owner.delete(f"/api/v1/sources/{source}")

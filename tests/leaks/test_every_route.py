"""Whatever a route is asked, it tells nothing of documents that the caller may not read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.corpus import Document
from retrieval.jobs import JobKind
from serving.desk import Desk
from serving.scim import scim_id
from serving.scopes import END_USER_SCOPES
from tests.desks import client_of, wait_until_idle

pytestmark = pytest.mark.timeout(600)

OUTSIDER = "jonas.weidler"
HEAD_OF_PEOPLE, HR = scim_id("user:mara.lindqvist"), scim_id("group:hr")


@dataclass(frozen=True)
class Probe:
    """Requests to one route, as its path and the bodies that make it talk most."""

    path: str
    bodies: tuple[dict[str, Any] | None, ...] = (None,)


def asked(field: str, words: list[str], **more: Any) -> tuple[dict[str, Any], ...]:
    """One body for every word."""
    return tuple({field: f"Tell me about {word}", **more} for word in words)


WORDS = ["Larkspur salary bands", "Quillback acquisition of Ostrel Sensorik", "the succession of the CEO"]

NARROWED = {"filters": {"path_prefix": "board/"}}

CHAT = tuple({"messages": [{"role": "user", "content": f"Tell me about {word}"}]} for word in WORDS)

PROBES: dict[tuple[str, str], Probe | None] = {
    # A route is asked as written, or, with None, it is about one document, job, source, key or user, and
    # `test_hidden_and_absent_look_the_same` asks it.
    ("POST", "/api/v1/search"): Probe(
        "/api/v1/search",
        (
            *asked("query", WORDS, limit=200, explain=True),
            *asked("query", WORDS, limit=200, group_by_document=False, **NARROWED),
        ),
    ),
    ("POST", "/api/v1/search/preview"): Probe(
        "/api/v1/search/preview", asked("query", WORDS, limit=200, explain=True, user_id="tobias.krantz")
    ),
    ("POST", "/api/v1/answers"): Probe(
        "/api/v1/answers",
        (
            *asked("question", WORDS),
            *asked("question", WORDS, stream=True),
            *asked("question", WORDS, **NARROWED),
        ),
    ),
    ("POST", "/api/v1/feedback"): Probe("/api/v1/feedback", ({"request_id": "x", "rating": 1},)),
    ("GET", "/api/v1/documents"): Probe("/api/v1/documents?limit=200"),
    ("PUT", "/api/v1/documents"): None,
    ("GET", "/api/v1/documents/{document_id}"): None,
    ("DELETE", "/api/v1/documents/{document_id}"): None,
    ("GET", "/api/v1/documents/{document_id}/versions"): None,
    ("GET", "/api/v1/documents/{document_id}/chunks"): None,
    ("GET", "/api/v1/documents/{document_id}/history"): None,
    ("GET", "/api/v1/documents/{document_id}/text"): None,
    ("POST", "/api/v1/documents/{document_id}/reindex"): None,
    ("POST", "/api/v1/documents/reindex"): Probe(
        "/api/v1/documents/reindex", ({}, {"path": "board"}, {"only_failed": True})
    ),
    ("PUT", "/api/v1/documents/{document_id}/acl"): None,
    ("PUT", "/api/v1/documents/{document_id}/labels"): None,
    ("GET", "/api/v1/retention"): Probe("/api/v1/retention?days=36500&limit=1000"),
    ("POST", "/api/v1/access/explain"): None,
    ("GET", "/api/v1/sources"): Probe("/api/v1/sources"),
    ("POST", "/api/v1/sources"): Probe("/api/v1/sources", ({"name": "mine", "kind": "push"},)),
    ("GET", "/api/v1/sources/{source_id}"): None,
    ("PATCH", "/api/v1/sources/{source_id}"): None,
    ("DELETE", "/api/v1/sources/{source_id}"): None,
    ("POST", "/api/v1/sources/{source_id}/reindex"): None,
    ("POST", "/api/v1/sources/{source_id}/sync"): None,
    ("GET", "/api/v1/sources/{source_id}/runs"): None,
    ("GET", "/api/v1/jobs"): Probe("/api/v1/jobs?limit=200"),
    ("GET", "/api/v1/jobs/{job_id}"): None,
    ("DELETE", "/api/v1/jobs/{job_id}"): None,
    ("GET", "/api/v1/jobs/{job_id}/events"): None,
    ("GET", "/api/v1/whoami"): Probe("/api/v1/whoami"),
    ("GET", "/api/v1/status"): Probe("/api/v1/status"),
    ("GET", "/api/v1/status/events"): Probe("/api/v1/status/events?limit_s=0.2"),
    ("GET", "/api/v1/keys"): Probe("/api/v1/keys"),
    ("POST", "/api/v1/keys"): Probe("/api/v1/keys", ({"name": "k", "scopes": ["search"]},)),
    ("DELETE", "/api/v1/keys/{key_id}"): None,
    ("POST", "/api/v1/keys/{key_id}/rotate"): None,
    ("DELETE", "/api/v1/session"): Probe("/api/v1/session"),
    ("GET", "/api/v1/directory/users"): Probe("/api/v1/directory/users"),
    ("GET", "/api/v1/directory/users/{user_id}"): Probe("/api/v1/directory/users/mara.lindqvist"),
    ("PUT", "/api/v1/directory/users/{user_id}"): Probe(
        f"/api/v1/directory/users/{OUTSIDER}", ({"groups": ["hr"]},)
    ),
    ("PATCH", "/api/v1/directory/users/{user_id}"): Probe(
        f"/api/v1/directory/users/{OUTSIDER}", ({"groups": ["hr"]}, {"disabled": False})
    ),
    ("GET", "/api/v1/directory/users/{user_id}/identities"): Probe(
        "/api/v1/directory/users/mara.lindqvist/identities"
    ),
    ("POST", "/api/v1/directory/users/{user_id}/identities"): Probe(
        f"/api/v1/directory/users/{OUTSIDER}/identities",
        ({"issuer": "mail", "subject": "mara.lindqvist@tarnvik.example"},),
    ),
    ("DELETE", "/api/v1/directory/users/{user_id}/identities"): Probe(
        "/api/v1/directory/users/mara.lindqvist/identities?issuer=mail&subject=m@x"
    ),
    ("GET", "/api/v1/directory/groups"): Probe("/api/v1/directory/groups"),
    ("POST", "/api/v1/directory/groups"): Probe(
        "/api/v1/directory/groups", ({"id": "mine", "members": [f"user:{OUTSIDER}"]},)
    ),
    ("GET", "/api/v1/directory/groups/{group}"): Probe("/api/v1/directory/groups/hr"),
    ("PATCH", "/api/v1/directory/groups/{group}"): Probe(
        "/api/v1/directory/groups/hr", ({"add": [f"user:{OUTSIDER}"]},)
    ),
    ("DELETE", "/api/v1/directory/groups/{group}"): Probe("/api/v1/directory/groups/hr"),
    ("GET", "/api/v1/directory/members"): Probe("/api/v1/directory/members?group=hr"),
    ("POST", "/api/v1/directory/import"): Probe(
        "/api/v1/directory/import", ({"users": [{"id": OUTSIDER, "groups": ["hr"]}]},)
    ),
    ("DELETE", "/api/v1/directory/users/{user_id}/sessions"): Probe(
        "/api/v1/directory/users/mara.lindqvist/sessions"
    ),
    # Provisioning wants the scope `directory`, which no reader has.
    ("GET", "/scim/v2/ServiceProviderConfig"): Probe("/scim/v2/ServiceProviderConfig"),
    ("GET", "/scim/v2/ResourceTypes"): Probe("/scim/v2/ResourceTypes"),
    ("GET", "/scim/v2/ResourceTypes/{name}"): Probe("/scim/v2/ResourceTypes/User"),
    ("GET", "/scim/v2/Schemas"): Probe("/scim/v2/Schemas"),
    ("GET", "/scim/v2/Schemas/{name}"): Probe("/scim/v2/Schemas/x"),
    ("GET", "/scim/v2/Users"): Probe("/scim/v2/Users"),
    ("POST", "/scim/v2/Users"): Probe("/scim/v2/Users", ({"userName": "mine"},)),
    ("GET", "/scim/v2/Users/{id}"): Probe(f"/scim/v2/Users/{HEAD_OF_PEOPLE}"),
    ("PUT", "/scim/v2/Users/{id}"): Probe(f"/scim/v2/Users/{HEAD_OF_PEOPLE}", ({"userName": "x"},)),
    ("PATCH", "/scim/v2/Users/{id}"): Probe(
        f"/scim/v2/Users/{HEAD_OF_PEOPLE}", ({"Operations": [{"op": "replace", "value": {"active": False}}]},)
    ),
    ("DELETE", "/scim/v2/Users/{id}"): Probe(f"/scim/v2/Users/{HEAD_OF_PEOPLE}"),
    ("GET", "/scim/v2/Groups"): Probe("/scim/v2/Groups"),
    ("POST", "/scim/v2/Groups"): Probe("/scim/v2/Groups", ({"displayName": "mine"},)),
    ("GET", "/scim/v2/Groups/{id}"): Probe(f"/scim/v2/Groups/{HR}"),
    ("PUT", "/scim/v2/Groups/{id}"): Probe(f"/scim/v2/Groups/{HR}", ({"displayName": "x"},)),
    ("PATCH", "/scim/v2/Groups/{id}"): Probe(
        f"/scim/v2/Groups/{HR}", ({"Operations": [{"op": "remove", "path": "members"}]},)
    ),
    ("DELETE", "/scim/v2/Groups/{id}"): Probe(f"/scim/v2/Groups/{HR}"),
    ("GET", "/api/v1/indexes"): Probe("/api/v1/indexes"),
    ("POST", "/api/v1/indexes"): Probe("/api/v1/indexes"),
    ("POST", "/api/v1/indexes/{name}/activate"): Probe("/api/v1/indexes/index-0/activate"),
    ("DELETE", "/api/v1/indexes/{name}"): Probe("/api/v1/indexes/index-0"),
    ("GET", "/api/v1/audit"): Probe("/api/v1/audit?limit=1000"),
    ("GET", "/api/v1/audit/export"): Probe("/api/v1/audit/export"),
    ("GET", "/api/v1/usage"): Probe("/api/v1/usage"),
    ("GET", "/v1/models"): Probe("/v1/models"),
    ("GET", "/v1/models/{model}"): Probe("/v1/models/refdesk"),
    ("POST", "/v1/chat/completions"): Probe(
        "/v1/chat/completions", (*CHAT, *({**body, "stream": True} for body in CHAT))
    ),
    ("GET", "/healthz"): Probe("/healthz"),
    ("GET", "/readyz"): Probe("/readyz"),
    ("GET", "/metrics"): Probe("/metrics"),
}


@pytest.fixture(scope="module")
def outsider(app: FastAPI) -> TestClient:
    """Somebody in neither of the groups."""
    return client_of(app, user=OUTSIDER)


@pytest.fixture(scope="module")
def secrets(restricted: list[Document], codewords: list[str]) -> list[str]:
    """Everything that must not show: words, titles, ids and names of the restricted documents."""
    facts = [fact for each in restricted for fact in (each.title, each.external_id, each.id)]
    return [*codewords, *facts, "hr-restricted", "board/"]


def assert_silent(text: str, secrets: list[str], *, sent: str = "") -> None:
    """None of the secrets stands in the text, except where it was sent."""
    for secret in secrets:
        if secret.lower() not in sent.lower():
            assert secret.lower() not in text.lower(), secret


def test_every_route_is_looked_at(app: FastAPI) -> None:
    """A new route fails here until somebody says how it could leak."""
    paths = app.openapi()["paths"]
    routes = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert routes == set(PROBES)


@pytest.mark.parametrize("route", [route for route, probe in PROBES.items() if probe is not None], ids=str)
def test_no_route_tells(
    outsider: TestClient, desk: Desk, secrets: list[str], restricted: list[Document], route: tuple[str, str]
) -> None:
    """No word, title, id, count or facet of a restricted document is in any reply, headers included."""
    probe = PROBES[route]
    assert probe is not None
    hidden = desk.jobs.accept(
        JobRequest(JobKind.INDEX, "mara.lindqvist", "test", document_id=restricted[0].id)
    )
    for body in probe.bodies:
        reply = outsider.request(route[0], probe.path, json=body)
        assert reply.status_code in (200, 201, 202, 204, 403), reply.text
        seen = reply.text + str(reply.headers)
        assert_silent(seen, [*secrets, hidden.id], sent=str(body))
    wait_until_idle(desk)


def test_counts_cover_what_is_readable(outsider: TestClient, restricted: list[Document], desk: Desk) -> None:
    """Sums of listings, sources and status are those of the documents that are listed."""
    listed = outsider.get("/api/v1/documents?limit=200").json()
    n_listed = len(listed["documents"])
    assert sum(listed["counts"].values()) == n_listed
    assert sum(outsider.get("/api/v1/status").json()["documents_by_state"].values()) == n_listed
    sources = outsider.get("/api/v1/sources").json()["sources"]
    assert sum(sum(source["documents_by_state"].values()) for source in sources) == n_listed
    everything = sum(desk.corpus.totals()["documents"].values())
    assert n_listed <= everything - len(restricted)


def test_searching_for_a_codeword_finds_what_a_made_up_word_finds(
    outsider: TestClient, codewords: list[str]
) -> None:
    """A filter on a restricted folder gives nothing, facets included, and codewords light up nowhere."""
    for word in codewords:
        body = outsider.post("/api/v1/search", json={"query": word, "limit": 200}).json()
        assert all(word.lower() not in hit["text"].lower() for hit in body["hits"])
        narrowed = {"query": word, "filters": {"path_prefix": "hr-restricted/"}}
        nothing = outsider.post("/api/v1/search", json=narrowed).json()
        assert nothing["hits"] == []
        assert all(counts == {} for counts in nothing["facets"].values())


ID_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/api/v1/documents/{}", None),
    ("DELETE", "/api/v1/documents/{}", None),
    ("GET", "/api/v1/documents/{}/versions", None),
    ("GET", "/api/v1/documents/{}/chunks", None),
    ("GET", "/api/v1/documents/{}/history", None),
    ("GET", "/api/v1/documents/{}/text", None),
    ("POST", "/api/v1/documents/{}/reindex", None),
    ("PUT", "/api/v1/documents/{}/acl", {"allow": ["everyone"]}),
    ("PUT", "/api/v1/documents/{}/labels", {"labels": ["no-ai"]}),
    ("POST", "/api/v1/access/explain", {"user_id": OUTSIDER, "document_id": "{}"}),
    ("POST", "/api/v1/access/explain", {"user_id": "mara.lindqvist", "document_id": "{}"}),
]


@pytest.mark.parametrize(("method", "path", "body"), ID_ROUTES)
def test_hidden_and_absent_look_the_same(
    outsider: TestClient, restricted: list[Document], method: str, path: str, body: Any
) -> None:
    """Status, body and headers are equal for a hidden id and one that nothing has, the request id apart."""
    absent = shape_of(outsider, method, path, body, str(uuid.uuid4()))
    assert absent[0] == 404
    for document in restricted:
        assert shape_of(outsider, method, path, body, document.id) == absent


def test_hidden_jobs_and_sources_look_absent(
    outsider: TestClient, app: FastAPI, desk: Desk, restricted: list[Document]
) -> None:
    """So do jobs about restricted documents, sources without anything to read, and keys of others."""
    job = desk.jobs.accept(JobRequest(JobKind.INDEX, "mara.lindqvist", "test", document_id=restricted[0].id))
    source = client_of(app).post("/api/v1/sources", json={"name": f"{uuid.uuid4()}", "kind": "push"}).json()
    client_of(app).put(
        "/api/v1/documents", json={"source_id": source["id"], "external_id": "x.txt", "text": "Secret."}
    )
    routes = [
        ("GET", "/api/v1/jobs/{}", None, job.id),
        ("DELETE", "/api/v1/jobs/{}", None, job.id),
        ("GET", "/api/v1/jobs/{}/events", None, job.id),
        ("GET", "/api/v1/sources/{}", None, source["id"]),
        ("PATCH", "/api/v1/sources/{}", {"paused": True}, source["id"]),
        ("DELETE", "/api/v1/sources/{}", None, source["id"]),
        ("POST", "/api/v1/sources/{}/reindex", {}, source["id"]),
        ("POST", "/api/v1/sources/{}/sync", None, source["id"]),
        ("GET", "/api/v1/sources/{}/runs", None, source["id"]),
        ("PUT", "/api/v1/documents", {"source_id": "{}", "external_id": "x", "text": "y"}, source["id"]),
        ("DELETE", "/api/v1/keys/{}", None, str(uuid.uuid4())),
        ("POST", "/api/v1/keys/{}/rotate", {}, str(uuid.uuid4())),
    ]
    for method, path, body, hidden in routes:
        absent = shape_of(outsider, method, path, body, str(uuid.uuid4()))
        assert shape_of(outsider, method, path, body, hidden) == absent
    wait_until_idle(desk)


def test_a_job_asked_for_by_somebody_who_lost_access_is_hidden(
    app: FastAPI, desk: Desk, restricted: list[Document]
) -> None:
    """Having asked for work on a document gives no right to hear of it later."""
    document = next(each for each in restricted if each.external_id.startswith("hr-restricted/"))
    job = desk.jobs.accept(JobRequest(JobKind.INDEX, "tobias.krantz", "test", document_id=document.id))
    client = client_of(app, user="tobias.krantz")
    assert client.get(f"/api/v1/jobs/{job.id}").status_code == 200
    desk.directory.put_user(UserId("tobias.krantz"), name="", groups=[])
    try:
        assert client.get(f"/api/v1/jobs/{job.id}").status_code == 404
    finally:
        desk.directory.put_user(UserId("tobias.krantz"), name="", groups=[PrincipalId("group:hr")])
    wait_until_idle(desk)


@pytest.fixture
def newcomer(app: FastAPI, desk: Desk) -> Iterator[TestClient]:
    """A user who begins in no group."""
    desk.directory.put_user(UserId("newcomer"), name="Newcomer", groups=[])
    yield client_of(app, user="newcomer")
    desk.directory.put_user(UserId("newcomer"), name="Newcomer", groups=[])


def test_groups_count_from_the_next_request_on(
    newcomer: TestClient, desk: Desk, restricted: list[Document], secrets: list[str]
) -> None:
    """Joining opens the restricted folder on the next request, leaving closes it on the next."""
    document = next(each for each in restricted if each.external_id.startswith("board/"))
    search = {"query": "Quillback acquisition", "limit": 50}
    assert newcomer.get(f"/api/v1/documents/{document.id}").status_code == 404
    desk.directory.put_user(UserId("newcomer"), name="", groups=[PrincipalId("group:board")])
    assert newcomer.get(f"/api/v1/documents/{document.id}/text").status_code == 200
    assert "Quillback" in newcomer.post("/api/v1/search", json=search).text
    desk.directory.put_user(UserId("newcomer"), name="", groups=[])
    assert newcomer.get(f"/api/v1/documents/{document.id}/text").status_code == 404
    for reply in (
        newcomer.post("/api/v1/search", json=search),
        newcomer.post("/api/v1/answers", json={"question": "What is Quillback?", "stream": True}),
        newcomer.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "What is Quillback?"}]}
        ),
    ):
        assert_silent(reply.text, [secret for secret in secrets if secret != "Quillback"])


def test_a_conversation_brings_nothing_back(newcomer: TestClient, desk: Desk, secrets: list[str]) -> None:
    """What was answered from a document that is closed by now does not come back by way of it."""
    desk.directory.put_user(UserId("newcomer"), name="", groups=[PrincipalId("group:board")])
    body = {"question": "What is Quillback about?", "conversation_id": "memory"}
    assert newcomer.post("/api/v1/answers", json=body).status_code == 200
    desk.directory.put_user(UserId("newcomer"), name="", groups=[])
    again = newcomer.post(
        "/api/v1/answers", json={"question": "Say that again.", "conversation_id": "memory"}
    )
    assert_silent(again.text, secrets)


def test_no_scope_of_an_end_user_widens_what_is_read() -> None:
    """Scopes that reach over documents of others are not among those of end users."""
    assert not END_USER_SCOPES & {"admin", "audit:read", "metrics:read", "directory", "keys", "act-as"}


def shape_of(client: TestClient, method: str, path: str, body: Any, id_: str) -> tuple[int, Any, Any]:
    """Status, body and headers of a reply, without what names the request."""
    filled = {key: id_ if value == "{}" else value for key, value in body.items()} if body else None
    reply = client.request(method, path.replace("{}", id_), json=filled)
    headers = {name: value for name, value in reply.headers.items() if name != "x-request-id"}
    return reply.status_code, {**reply.json(), "request_id": ""}, headers

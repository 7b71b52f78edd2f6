"""Strings that stand in documents, questions, keys and settings come out in no log, metric, error or job.

The log is the real one at its most talkative, of a desk that is served as `refdesk up` serves it, and parts of it
are broken on purpose, because what libraries say of an error is where most strings come out.
"""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from ingest.pipeline import Pipeline
from retrieval.access import PrincipalId, UserId
from retrieval.logs import set_up_logging
from retrieval.settings import Settings, load_settings
from serving.cli.up import _answering, _url_of
from serving.desk import Desk
from serving.embedded import open_embedded
from serving.http.app import create_app
from serving.http.listening import open_listener
from serving.limits import Limits, Quota
from serving.scopes import ALL_SCOPES, END_USER_SCOPES
from tests.desks import client_of, wait_until_idle

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("canaries")]

CANARY = re.compile(r"canary[a-z]*7f3q", re.IGNORECASE)
"""Every canary: `canary`, what it stands in, and an end that nothing else has."""

DOCUMENT, TITLE, PATH = "canarydocument7f3q", "Canarytitle7f3q", "canarypath7f3q.txt"
QUESTION, COMMENT, CREDENTIAL = "canaryquestion7f3q", "canarycomment7f3q", "canarycredential7f3q"
SETTING = "canarysetting7f3q"


@dataclass(frozen=True)
class Served:
    """A desk that is served, and what it writes down."""

    desk: Desk
    url: str
    log: io.StringIO
    app: Any

    def client(self, user: str, *scopes: str) -> httpx.Client:
        """A client with a new key of a user."""
        key = self.desk.directory.create_key(UserId(user), name="k", scopes=scopes, expires_at=None)[1]
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a canary in each secret, and a model server that is not there."""
    secrets = {
        name: SETTING for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
    }
    return load_settings(
        data=tmp_path_factory.mktemp("canaries") / "state",
        identity="keys",
        vllm_url="http://127.0.0.1:9/v1",
        log_level="debug",
        port=0,
        limit_failures_per_min=1000,
        **secrets,
    )


@pytest.fixture(scope="module")
def log() -> Iterator[io.StringIO]:
    """What the process logs while these tests run."""
    names = ("", *logging.Logger.manager.loggerDict)
    before = {name: logging.getLogger(name).level for name in names}
    stream = io.StringIO()
    handler = set_up_logging("debug", stream=stream)
    logging.getLogger("refdesk.access").setLevel(logging.NOTSET)  # a `refdesk up` of another test silences it
    yield stream
    logging.getLogger().removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="module")
def served(settings: Settings, log: io.StringIO) -> Iterator[Served]:
    """The desk, with a document that holds canaries and one that cannot be read."""
    with ExitStack() as stack:
        desk = stack.enter_context(open_embedded(settings)).desk
        listener = stack.enter_context(open_listener("127.0.0.1"))
        app = create_app(desk)
        stack.enter_context(_answering(app, listener, settings))
        for user in ("owner", "other"):
            desk.directory.put_user(UserId(user), name=user, groups=[PrincipalId("group:staff")])
        here = Served(desk, _url_of(listener), log, app)
        _fill(here)
        yield here


def _fill(served: Served) -> None:
    with served.client("owner", *ALL_SCOPES) as owner:
        source = owner.post("/api/v1/sources", json={"name": "s", "kind": "push"}).json()["id"]
        words = f"The {DOCUMENT} rate is EUR 0.42 per kilometre for {QUESTION}."
        for path, content, allow in (
            (PATH, {"text": words}, []),
            ("shared-" + PATH, {"text": words}, ["group:staff"]),
            (
                "broken-" + PATH.replace(".txt", ".pdf"),
                {"bytes": "JVBERi0xLjcK" + "AAAA" * 9},
                ["group:staff"],
            ),
        ):
            body = {"source_id": source, "external_id": path, "title": TITLE, "acl": {"allow": allow}}
            assert owner.put("/api/v1/documents", json={**body, **content}).status_code == 202
    wait_until_idle(served.desk)


@pytest.fixture
def owner(served: Served) -> Iterator[httpx.Client]:
    """Whose documents they are."""
    with served.client("owner", *ALL_SCOPES) as client:
        yield client


@pytest.fixture
def other(served: Served) -> Iterator[httpx.Client]:
    """Somebody who reads one of them, and is no administrator."""
    with served.client("other", *END_USER_SCOPES) as client:
        yield client


@pytest.fixture(autouse=True)
def silence(served: Served, owner: httpx.Client) -> Iterator[None]:
    """Whatever a test does, no canary is in the log or in the metrics afterwards."""
    yield
    metrics = owner.get("/metrics").text
    assert "refdesk_requests_total" in metrics
    assert CANARY.findall(metrics) == []
    assert CANARY.findall(served.log.getvalue()) == []


def assert_error(reply: Any, code: str) -> None:
    """An error with this code, in which nothing of what was sent or found comes back."""
    body = reply.json()
    assert body.get("code", body.get("error", {}).get("code") if "error" in body else None) == code, (
        reply.text
    )
    assert CANARY.findall(reply.text + str(reply.headers)) == []


def ask(client: httpx.Client, **more: Any) -> httpx.Response:
    """The question with its canary."""
    question = f"How much is the {DOCUMENT} rate per kilometre for {QUESTION}?"
    return client.post("/api/v1/answers", json={"question": question, **more})


def test_answers_and_searches_are_not_written_down(owner: httpx.Client, served: Served) -> None:
    """The canaries are found, asked about and streamed, so they were all there to be logged."""
    found = owner.post("/api/v1/search", json={"query": QUESTION, "explain": True})
    assert DOCUMENT in found.text
    assert DOCUMENT in ask(owner).json()["answer"]
    assert ask(owner).json()["fallback_reason"].startswith("generator_")
    assert DOCUMENT in ask(owner, stream=True, conversation_id="c").text
    chat = {"messages": [{"role": "user", "content": f"What is the {DOCUMENT} rate for {QUESTION}?"}]}
    assert DOCUMENT in owner.post("/v1/chat/completions", json=chat).text
    feedback = {"request_id": "r", "rating": 1, "comment": COMMENT}
    assert owner.post("/api/v1/feedback", json=feedback).status_code == 204
    assert owner.get(f"/?q={QUESTION}").status_code == 200
    assert "generator failed" in served.log.getvalue()
    assert "refdesk.access request" in served.log.getvalue()


BODY = {"query": QUESTION}
GIT = {"name": QUESTION, "kind": "git"}
NO_TYPE = {"Content-Type": QUESTION}
MULTIPART = {"Content-Type": "multipart/form-data"}
NO_QUESTION = {"messages": [{"role": "system", "content": QUESTION}]}
REFUSED: list[tuple[str, Callable[[httpx.Client], httpx.Response]]] = [
    ("bad_request", lambda c: c.put("/api/v1/documents", content=QUESTION, headers=MULTIPART)),
    ("invalid_request", lambda c: c.post("/api/v1/search", content=f'{{"query": {QUESTION}')),
    ("invalid_request", lambda c: c.post("/api/v1/search", json={"query": QUESTION, "unknown": QUESTION})),
    ("invalid_request", lambda c: c.post("/api/v1/search", json={"query": [QUESTION]})),
    ("invalid_request", lambda c: c.post("/api/v1/search", json={**BODY, "mode": QUESTION})),
    ("invalid_request", lambda c: c.get(f"/api/v1/documents?state={QUESTION}")),
    ("invalid_request", lambda c: c.get(f"/api/v1/documents?api_key={CREDENTIAL}")),
    ("invalid_query", lambda c: c.get(f"/api/v1/documents?cursor={QUESTION}")),
    ("invalid_query", lambda c: c.post("/v1/chat/completions", json=NO_QUESTION)),
    ("unauthenticated", lambda c: c.get("/api/v1/whoami", headers={"Authorization": f"Bearer {CREDENTIAL}"})),
    ("unauthenticated", lambda c: c.get("/api/v1/whoami", headers={"Authorization": f"Bearer rd_{CREDENTIAL}"})),
    ("unauthenticated", lambda c: c.get("/api/v1/whoami", headers={"Authorization": f"Basic {CREDENTIAL}"})),
    ("unknown_user", lambda c: c.get("/api/v1/whoami", headers={"X-Refdesk-User": CREDENTIAL})),
    ("not_found", lambda c: c.get(f"/api/v1/documents/{QUESTION}")),
    ("not_found", lambda c: c.delete(f"/api/v1/keys/{CREDENTIAL}")),
    ("not_found", lambda c: c.post(f"/api/v1/sources/{QUESTION}/sync", json={})),
    ("route_not_found", lambda c: c.get(f"/api/v1/{QUESTION}?key={CREDENTIAL}")),
    ("model_not_found", lambda c: c.get(f"/v1/models/{QUESTION}")),
    ("method_not_allowed", lambda c: c.delete(f"/api/v1/search?q={QUESTION}")),
    ("body_too_large", lambda c: c.post("/api/v1/search", content=QUESTION * 200_000)),
    ("unsupported_media_type", lambda c: c.put("/api/v1/documents", content=QUESTION, headers=NO_TYPE)),
    ("conflict", lambda c: c.post("/api/v1/sources", json={"name": "s", "kind": "push"})),
    ("invalid_query", lambda c: c.post("/api/v1/sources", json={**GIT, "location": f"https://x:{CREDENTIAL}@a.org/"})),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "send"), REFUSED, ids=[f"{n}-{code}" for n, (code, _) in enumerate(REFUSED)]
)
def test_errors_repeat_nothing(
    owner: httpx.Client, code: str, send: Callable[[httpx.Client], httpx.Response]
) -> None:
    """A refusal names the field at most, never what stands in it."""
    assert_error(send(owner), code)


def test_scopes_and_repeats_repeat_nothing(owner: httpx.Client, other: httpx.Client) -> None:
    """Nor do refusals that need two requests or little rights."""
    assert_error(other.get(f"/api/v1/audit?x={QUESTION}"), "not_permitted")
    headers = {"Idempotency-Key": COMMENT}
    for comment, status in ((COMMENT, 204), (QUESTION, 409)):
        body = {"request_id": "r", "rating": 1, "comment": comment}
        reply = owner.post("/api/v1/feedback", json=body, headers=headers)
        assert reply.status_code == status
    assert_error(reply, "idempotency_conflict")


def test_a_hidden_document_is_in_no_error(owner: httpx.Client, other: httpx.Client) -> None:
    """Who may not read a document learns nothing of it from any refusal."""
    listed = owner.get("/api/v1/documents", params={"path": PATH}).json()["documents"]
    hidden = next(each["id"] for each in listed if each["external_id"] == PATH)
    for method, path in (
        ("GET", ""),
        ("GET", "/text"),
        ("GET", "/chunks"),
        ("DELETE", ""),
        ("POST", "/reindex"),
    ):
        assert_error(other.request(method, f"/api/v1/documents/{hidden}{path}"), "not_found")


def test_what_a_job_says_holds_no_text(owner: httpx.Client, other: httpx.Client) -> None:
    """Somebody who reads a document sees why it failed, in words that hold nothing of it."""
    listed = other.get("/api/v1/documents", params={"state": "failed"}).json()["documents"]
    assert [each["external_id"] for each in listed] == ["broken-" + PATH.replace(".txt", ".pdf")]
    jobs = other.get("/api/v1/jobs").json()["jobs"]
    said = [
        str((each["error_code"], each["error_message"])) for each in [*listed, *jobs] if "error_code" in each
    ]
    assert any("corrupt" in words for words in said)
    assert CANARY.findall(" ".join(said)) == []


def broken(*_: object, **__: object) -> Any:
    """Fails like a library that quotes what it was handed."""
    raise KeyError(QUESTION, TITLE) from ValueError(f"cannot handle {DOCUMENT!r}")


@pytest.mark.parametrize("part", ["search", "embedder", "audit"])
def test_an_unforeseen_error_is_logged_without_what_it_quotes(
    served: Served, owner: httpx.Client, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The log has types and places of the whole chain, the reply a code; streams that break do the same."""
    answering: Any = served.desk.answering
    broken_part = {"search": (served.desk.search, "search"), "audit": (served.desk.audit, "append")}
    target = broken_part.get(part, (answering._embedder, "embed_documents"))
    monkeypatch.setattr(type(target[0]), target[1], broken)
    assert_error(ask(owner), "internal_error")
    streamed = ask(owner, stream=True)
    assert "internal_error" in streamed.text
    logged = served.log.getvalue()
    assert "builtins.KeyError\n" in logged
    assert "builtins.ValueError\n" in logged
    assert "in broken" in logged


def test_a_database_error_is_logged_without_its_parameters(served: Served, owner: httpx.Client) -> None:
    """SQLAlchemy would write down every value of the statement."""
    with served.desk.database.engine.begin() as connection:
        connection.execute(text("alter table feedback rename to elsewhere"))
    try:
        body = {"request_id": "r", "rating": 1, "comment": COMMENT}
        assert_error(owner.post("/api/v1/feedback", json=body), "catalogue_unavailable")
    finally:
        with served.desk.database.engine.begin() as connection:
            connection.execute(text("alter table elsewhere rename to feedback"))
    assert "no such table" in served.log.getvalue()
    assert "hide_parameters" in served.log.getvalue()


def test_a_job_that_breaks_says_only_of_which_type(
    served: Served, owner: httpx.Client, other: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job's message is the error's type; the log has the places."""
    monkeypatch.setattr(Pipeline, "_extract", broken)
    live = other.get("/api/v1/documents", params={"state": "live"}).json()["documents"]
    job = owner.post(f"/api/v1/documents/{live[0]['id']}/reindex").json()["job"]["id"]
    give_up_at = time.monotonic() + 20
    while not (said := owner.get(f"/api/v1/jobs/{job}").json())["error_code"]:
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    owner.delete(f"/api/v1/jobs/{job}")
    assert "job failed unexpectedly" in served.log.getvalue()
    assert "KeyError" in said["error_message"]
    assert CANARY.findall(said["error_message"]) == []
    wait_until_idle(served.desk)


def jobs_of(client: httpx.Client) -> list[dict[str, Any]]:
    """Jobs as somebody sees them."""
    jobs: list[dict[str, Any]] = client.get("/api/v1/jobs").json()["jobs"]
    return jobs


@pytest.mark.parametrize("name", ["key", "api_key", "apikey", "token", "access_token", "authorization"])
def test_a_key_in_an_address_counts_for_nothing(served: Served, name: str) -> None:
    """Addresses end up in logs and histories, so no credential is read from one."""
    key = served.desk.directory.create_key(UserId("owner"), name="k", scopes=["search"], expires_at=None)[1]
    for given in (key, f"Bearer {key}"):
        reply = httpx.get(f"{served.url}/api/v1/whoami", params={name: given}, trust_env=False)
        assert_error(reply, "unauthenticated")
    address = served.url.replace("http://", f"http://{key}:@")
    assert_error(httpx.get(f"{address}/api/v1/whoami", trust_env=False), "unauthenticated")
    assert key not in served.log.getvalue()
    assert key.split(".")[1] not in served.log.getvalue()


def test_over_a_quota_nothing_is_repeated(served: Served) -> None:
    """Refusals for too much come before anything is read."""
    app = create_app(served.desk, limits=Limits(user=Quota("user", 1, 0.01)))
    key = served.desk.directory.create_key(UserId("owner"), name="k", scopes=["search"], expires_at=None)[1]
    client = client_of(app, key=key)
    client.post("/api/v1/search", json=BODY)
    assert_error(client.post("/api/v1/search", json=BODY), "rate_limited")


def test_control_characters_do_not_make_lines(log: io.StringIO) -> None:
    """Who names a field like a log line does not write one."""
    handler = logging.getLogger("serving.test")
    handler.warning("event", extra={"reason": "x\r\n2026 ERROR fake \x1b[31m"})
    line = log.getvalue().splitlines()[-1]
    assert line.endswith('WARNING serving.test event reason="x\\\\r\\\\n2026 ERROR fake \\\\x1b[31m"')

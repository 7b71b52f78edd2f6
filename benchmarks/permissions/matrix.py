"""What every route asks for, and what every kind of caller gets: the table, and the asking.

`ROUTES` says of each route the scopes and whose the thing is that it is about; `KINDS` says who calls.
`tests/leaks/test_route_matrix.py` holds the application to both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from benchmarks.permissions.desk import Bench, open_bench
from retrieval.access import Acl, PrincipalId, UserId, user_principal
from retrieval.adapters.sql.groups import GroupChange, SqlGroups
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.links import SqlLinks
from retrieval.adapters.sql.models import (
    DocumentRow,
    GroupRow,
    IdentityRow,
    JobRow,
    MembershipRow,
    SourceRow,
    UserRow,
)
from retrieval.jobs import JobKind
from retrieval.wiring import utc_now
from serving.http.app import OPENAPI_PATH
from serving.scim import scim_id
from serving.scopes import ALL_SCOPES, END_USER_SCOPES, Scope

GUARDED = ("/api/v1/", "/v1/", "/scim/")


class About(Enum):
    """Whose the thing is that a route is about, and so who gets how far."""

    OPEN = auto()  # asks for nobody: the same for all
    CALLER = auto()  # about nothing, or the caller's own: the scopes are enough
    READ = auto()  # a document, for whoever may read it
    MANAGE = auto()  # a document, for its owner while it reads it, and for administrators
    SOURCE = auto()  # a source, for whoever reads one of its documents, its owner, administrators
    SOURCE_MANAGE = auto()  # a source, for its owner and administrators
    JOB = auto()  # a document's job, for its requester and the document's owner, and for administrators
    KEY = auto()  # a key, for its holder and administrators
    ABSENT = auto()  # asked about something that nobody has


@dataclass(frozen=True)
class Route:
    """What a route asks for, and a request to it in which `{document}` and the like are filled in.

    Attributes:
        changes: Whether an allowed request changes something.
        path: Of the request, where it differs from the route's.
    """

    scopes: tuple[Scope, ...]
    about: About
    body: Any = None
    changes: bool = False
    path: str = ""


READ, WRITE, SOURCES = Scope.DOCUMENTS_READ, Scope.DOCUMENTS_WRITE, Scope.SOURCES_WRITE
DOCUMENT = "/api/v1/documents/{document_id}"
SOURCE = "/api/v1/sources/{source_id}"
DIRECTORY, SCIM = "/api/v1/directory", "/scim/v2"
USER, GROUP = f"{DIRECTORY}/users/{{user_id}}", f"{DIRECTORY}/groups/{{group}}"
A_USER, A_GROUP = f"{DIRECTORY}/users/{{a_user}}", f"{DIRECTORY}/groups/{{a_group}}"
SCIM_USER, SCIM_GROUP = f"{SCIM}/Users/{{scim_user}}", f"{SCIM}/Groups/{{scim_group}}"
PATCH = {"Operations": [{"op": "replace", "value": {"displayName": "Another"}}]}
CHAT = {"messages": [{"role": "user", "content": "What of it?"}]}
PUSHED = {"source_id": "{source_id}", "external_id": "pushed.txt", "text": "Some words."}

ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/api/v1/search"): Route((Scope.SEARCH,), About.CALLER, {"query": "words"}),
    ("POST", "/api/v1/search/preview"): Route(
        (Scope.SEARCH, Scope.ACCESS_EXPLAIN), About.CALLER, {"user_id": "rea", "query": "words"}
    ),
    ("POST", "/api/v1/answers"): Route((Scope.ANSWERS,), About.CALLER, {"question": "What of it?"}),
    ("POST", "/api/v1/feedback"): Route((Scope.ANSWERS,), About.CALLER, {"request_id": "x", "rating": 1}),
    ("GET", "/api/v1/documents"): Route((READ,), About.CALLER),
    ("PUT", "/api/v1/documents"): Route((WRITE,), About.SOURCE_MANAGE, PUSHED, changes=True),
    ("POST", "/api/v1/documents/reindex"): Route((WRITE,), About.CALLER, {}, changes=True),
    ("GET", DOCUMENT): Route((READ,), About.READ),
    ("DELETE", DOCUMENT): Route((WRITE,), About.MANAGE, changes=True),
    ("GET", f"{DOCUMENT}/versions"): Route((READ,), About.READ),
    ("GET", f"{DOCUMENT}/chunks"): Route((READ,), About.READ),
    ("GET", f"{DOCUMENT}/history"): Route((READ,), About.READ),
    ("GET", f"{DOCUMENT}/text"): Route((READ,), About.READ),
    ("POST", f"{DOCUMENT}/reindex"): Route((WRITE,), About.MANAGE, changes=True),
    ("PUT", f"{DOCUMENT}/acl"): Route((WRITE,), About.MANAGE, {"allow": ["everyone"]}, changes=True),
    ("PUT", f"{DOCUMENT}/labels"): Route((WRITE,), About.MANAGE, {"labels": ["no-ai"]}, changes=True),
    ("GET", "/api/v1/retention"): Route((READ,), About.CALLER),
    ("POST", "/api/v1/access/explain"): Route(
        (Scope.ACCESS_EXPLAIN,), About.MANAGE, {"user_id": "somebody", "document_id": "{document_id}"}
    ),
    ("GET", "/api/v1/sources"): Route((READ,), About.CALLER),
    ("POST", "/api/v1/sources"): Route(
        (SOURCES,), About.CALLER, {"name": "{new}", "kind": "push"}, changes=True
    ),
    ("GET", SOURCE): Route((READ,), About.SOURCE),
    ("PATCH", SOURCE): Route((SOURCES,), About.SOURCE_MANAGE, {"paused": True}, changes=True),
    ("DELETE", SOURCE): Route((SOURCES,), About.SOURCE_MANAGE, changes=True),
    ("POST", f"{SOURCE}/reindex"): Route((SOURCES,), About.SOURCE_MANAGE, {}, changes=True),
    ("POST", f"{SOURCE}/sync"): Route((SOURCES,), About.SOURCE_MANAGE, changes=True),
    ("GET", f"{SOURCE}/runs"): Route((READ,), About.SOURCE_MANAGE),
    ("GET", "/api/v1/jobs"): Route((READ,), About.CALLER),
    ("GET", "/api/v1/jobs/{job_id}"): Route((READ,), About.JOB),
    ("DELETE", "/api/v1/jobs/{job_id}"): Route((WRITE,), About.JOB, changes=True),
    ("GET", "/api/v1/jobs/{job_id}/events"): Route(
        (READ,), About.JOB, path="/api/v1/jobs/{job_id}/events?limit_s=0.1"
    ),
    ("GET", "/api/v1/whoami"): Route((), About.CALLER),
    ("DELETE", "/api/v1/session"): Route((), About.CALLER),
    ("GET", "/api/v1/status"): Route((READ,), About.CALLER),
    ("GET", "/api/v1/status/events"): Route((READ,), About.CALLER, path="/api/v1/status/events?limit_s=0.1"),
    ("GET", "/api/v1/keys"): Route((Scope.KEYS,), About.CALLER),
    ("POST", "/api/v1/keys"): Route(
        (Scope.KEYS,), About.CALLER, {"name": "k", "scopes": ["keys"]}, changes=True
    ),
    ("DELETE", "/api/v1/keys/{key_id}"): Route((Scope.KEYS,), About.KEY, changes=True),
    ("POST", "/api/v1/keys/{key_id}/rotate"): Route((Scope.KEYS,), About.KEY, {}, changes=True),
    ("GET", f"{DIRECTORY}/users"): Route((Scope.DIRECTORY,), About.CALLER),
    ("GET", USER): Route((Scope.DIRECTORY,), About.CALLER),
    ("PUT", USER): Route((Scope.DIRECTORY,), About.CALLER, {"groups": ["news"]}, changes=True, path=A_USER),
    ("PATCH", USER): Route((Scope.DIRECTORY,), About.CALLER, {"disabled": True}, changes=True, path=A_USER),
    ("DELETE", f"{USER}/sessions"): Route((Scope.DIRECTORY,), About.CALLER),
    ("GET", f"{USER}/identities"): Route((Scope.DIRECTORY,), About.CALLER),
    ("POST", f"{USER}/identities"): Route(
        (Scope.DIRECTORY,),
        About.CALLER,
        {"issuer": "wiki", "subject": "{a_user}"},
        changes=True,
        path=f"{A_USER}/identities",
    ),
    ("DELETE", f"{USER}/identities"): Route(
        (Scope.DIRECTORY,),
        About.CALLER,
        changes=True,
        path=f"{A_USER}/identities?issuer=mail&subject={{a_user}}@example.org",
    ),
    ("GET", f"{DIRECTORY}/groups"): Route((Scope.DIRECTORY,), About.CALLER),
    ("POST", f"{DIRECTORY}/groups"): Route(
        (Scope.DIRECTORY,), About.CALLER, {"id": "of {a_user}", "members": ["user:{a_user}"]}, changes=True
    ),
    ("GET", GROUP): Route((Scope.DIRECTORY,), About.CALLER, path=A_GROUP),
    ("PATCH", GROUP): Route(
        (Scope.DIRECTORY,), About.CALLER, {"add": ["user:rea"]}, changes=True, path=A_GROUP
    ),
    ("DELETE", GROUP): Route((Scope.DIRECTORY,), About.CALLER, changes=True, path=A_GROUP),
    ("GET", f"{DIRECTORY}/members"): Route(
        (Scope.DIRECTORY,), About.CALLER, path=f"{DIRECTORY}/members?group={{a_group}}"
    ),
    ("POST", f"{DIRECTORY}/import"): Route(
        (Scope.DIRECTORY,), About.CALLER, {"users": [{"id": "{a_user}", "groups": ["news"]}]}, changes=True
    ),
    ("GET", f"{SCIM}/ServiceProviderConfig"): Route((Scope.DIRECTORY,), About.CALLER),
    ("GET", f"{SCIM}/ResourceTypes"): Route((Scope.DIRECTORY,), About.CALLER),
    ("GET", f"{SCIM}/ResourceTypes/{{name}}"): Route(
        (Scope.DIRECTORY,), About.CALLER, path=f"{SCIM}/ResourceTypes/User"
    ),
    ("GET", f"{SCIM}/Schemas"): Route((Scope.DIRECTORY,), About.CALLER),
    ("GET", f"{SCIM}/Schemas/{{name}}"): Route(
        (Scope.DIRECTORY,), About.CALLER, path=f"{SCIM}/Schemas/urn:ietf:params:scim:schemas:core:2.0:User"
    ),
    ("GET", f"{SCIM}/Users"): Route((Scope.DIRECTORY,), About.CALLER),
    ("POST", f"{SCIM}/Users"): Route(
        (Scope.DIRECTORY,), About.CALLER, {"userName": "scim {a_user}"}, changes=True
    ),
    ("GET", f"{SCIM}/Users/{{id}}"): Route((Scope.DIRECTORY,), About.CALLER, path=SCIM_USER),
    ("PUT", f"{SCIM}/Users/{{id}}"): Route(
        (Scope.DIRECTORY,), About.CALLER, {"userName": "named {a_user}"}, changes=True, path=SCIM_USER
    ),
    ("PATCH", f"{SCIM}/Users/{{id}}"): Route(
        (Scope.DIRECTORY,), About.CALLER, PATCH, changes=True, path=SCIM_USER
    ),
    ("DELETE", f"{SCIM}/Users/{{id}}"): Route((Scope.DIRECTORY,), About.CALLER, changes=True, path=SCIM_USER),
    ("GET", f"{SCIM}/Groups"): Route((Scope.DIRECTORY,), About.CALLER),
    ("POST", f"{SCIM}/Groups"): Route(
        (Scope.DIRECTORY,), About.CALLER, {"displayName": "new {a_user}"}, changes=True
    ),
    ("GET", f"{SCIM}/Groups/{{id}}"): Route((Scope.DIRECTORY,), About.CALLER, path=SCIM_GROUP),
    ("PUT", f"{SCIM}/Groups/{{id}}"): Route(
        (Scope.DIRECTORY,), About.CALLER, {"displayName": "renamed {a_user}"}, changes=True, path=SCIM_GROUP
    ),
    ("PATCH", f"{SCIM}/Groups/{{id}}"): Route(
        (Scope.DIRECTORY,), About.CALLER, PATCH, changes=True, path=SCIM_GROUP
    ),
    ("DELETE", f"{SCIM}/Groups/{{id}}"): Route(
        (Scope.DIRECTORY,), About.CALLER, changes=True, path=SCIM_GROUP
    ),
    ("GET", "/api/v1/audit"): Route((Scope.AUDIT_READ,), About.CALLER),
    ("GET", "/api/v1/audit/export"): Route((Scope.AUDIT_READ,), About.CALLER),
    ("GET", "/api/v1/usage"): Route((Scope.METRICS_READ,), About.CALLER),
    ("GET", "/api/v1/indexes"): Route((Scope.ADMIN,), About.CALLER),
    ("POST", "/api/v1/indexes"): Route((Scope.ADMIN,), About.CALLER, changes=True),
    ("POST", "/api/v1/indexes/{name}/activate"): Route((Scope.ADMIN,), About.ABSENT),
    ("DELETE", "/api/v1/indexes/{name}"): Route((Scope.ADMIN,), About.ABSENT),
    ("GET", "/v1/models"): Route((Scope.ANSWERS,), About.CALLER),
    ("GET", "/v1/models/{model}"): Route((Scope.ANSWERS,), About.CALLER, path="/v1/models/refdesk"),
    ("POST", "/v1/chat/completions"): Route((Scope.ANSWERS,), About.CALLER, CHAT),
    ("GET", "/healthz"): Route((), About.OPEN),
    ("GET", "/readyz"): Route((), About.OPEN),
    ("GET", "/metrics"): Route((), About.OPEN),
    ("GET", OPENAPI_PATH): Route((), About.OPEN),
    # Pages and their files: shells that hold nothing of the corpus.
    ("GET", "/"): Route((), About.OPEN),
    ("GET", "/search"): Route((), About.OPEN),
    ("GET", "/documents"): Route((), About.OPEN),
    ("GET", "/sources"): Route((), About.OPEN),
    ("GET", "/documents/{document_id}"): Route((), About.OPEN),
    ("GET", "/favicon.ico"): Route((), About.OPEN),
    ("GET", "/static/{digest}/{name}"): Route((), About.OPEN, path="/static/x/refdesk.css"),
}


@dataclass(frozen=True)
class Kind:
    """A kind of caller.

    Attributes:
        scopes: Of its key.
        acts_for: Sent as `X-Refdesk-User`.
        refused: Status and code of every guarded route, where it does not come in at all.
        reads, owns, keeps: Whether it reads the document, owns it, owns the source.
    """

    user: str = ""
    scopes: frozenset[str] = frozenset()
    acts_for: str = ""
    refused: tuple[int, str] | None = None
    reads: bool = False
    owns: bool = False
    keeps: bool = False

    @property
    def effective(self) -> frozenset[str]:
        """What it may try."""
        return self.scopes & END_USER_SCOPES if self.acts_for else self.scopes

    @property
    def administers(self) -> bool:
        """Whether it may do what owners may."""
        return Scope.ADMIN in self.effective


MOST = ALL_SCOPES - {Scope.ADMIN, Scope.ACT_AS, Scope.DIRECTORY, Scope.AUDIT_READ}

KINDS = {
    "anonymous": Kind(refused=(401, "unauthenticated")),
    "disabled user": Kind("dora", ALL_SCOPES, refused=(401, "unauthenticated")),
    "revoked key": Kind("rita", ALL_SCOPES, refused=(401, "unauthenticated")),
    "unknown user": Kind("service", ALL_SCOPES, acts_for="nobody", refused=(403, "unknown_user")),
    "disabled user acted for": Kind("service", ALL_SCOPES, acts_for="dora", refused=(403, "unknown_user")),
    "key that may not act": Kind("otto", MOST, acts_for="olga", refused=(403, "not_permitted")),
    "forged secret": Kind("olga", ALL_SCOPES, refused=(401, "unauthenticated")),
    "user without access": Kind("otto", MOST),
    "reader": Kind("rea", END_USER_SCOPES, reads=True),
    "document owner": Kind("olga", MOST, reads=True, owns=True),
    "denied document owner": Kind("deni", MOST),
    "source owner": Kind("sven", MOST, keeps=True),
    "service acting for a reader": Kind("service", ALL_SCOPES, acts_for="rea", reads=True),
    "narrow service acting for a reader": Kind(
        "service", frozenset({Scope.SEARCH, Scope.ACT_AS}), acts_for="rea", reads=True
    ),
    "service acting for an administrator": Kind("service", ALL_SCOPES, acts_for="adam"),
    "narrow key of the document owner": Kind("olga", frozenset({Scope.SEARCH}), reads=True, owns=True),
    "operator": Kind("oper", frozenset({Scope.DIRECTORY, Scope.AUDIT_READ, Scope.METRICS_READ})),
    "administrator": Kind("adam", ALL_SCOPES - {Scope.ACT_AS}),
}
"""Eighteen kinds: seven do not come in, eleven get as far as their scopes and the document let them."""


@dataclass(frozen=True)
class Things:
    """What a request is about."""

    document_id: str
    source_id: str
    job_id: str
    key_id: str
    user: str
    group: str

    def fill(self, template: Any) -> Any:
        """A path or body with the ids in it."""
        if isinstance(template, dict):
            return {name: self.fill(value) for name, value in template.items()}
        if isinstance(template, list):
            return [self.fill(value) for value in template]
        if not isinstance(template, str):
            return template
        names = {"{user_id}": "rea", "{name}": "index-none", "{model}": "refdesk", "{digest}": "x"}
        names["{new}"] = f"new {self.document_id}"
        names |= {"{a_user}": self.user, "{a_group}": self.group}
        names |= {"{scim_user}": scim_id(f"user:{self.user}"), "{scim_group}": scim_id(f"group:{self.group}")}
        for name in ("document_id", "source_id", "job_id", "key_id"):
            names[f"{{{name}}}"] = getattr(self, name)
        for name, value in names.items():
            template = template.replace(name, value)
        return template


@dataclass
class Lineup:
    """The desk, the kinds' credentials, and new things at a word."""

    bench: Bench
    client: TestClient
    keys: dict[str, str]
    groups: SqlGroups
    links: SqlLinks
    numbers: Iterator[int] = field(default_factory=itertools.count)
    shared: dict[str, Things] = field(default_factory=dict)

    def things_for(self, name: str, *, fresh: bool) -> Things:
        """What a kind of caller is asked about; of its own, where the request may change it."""
        owner = "deni" if name.startswith("denied") else "olga"
        if fresh:
            return self.things(owner)
        if owner not in self.shared:
            self.shared[owner] = self.things(owner)
        return self.shared[owner]

    def things(self, owner: str) -> Things:
        """A source of sven's with one document that its owner and rea may read, and that is live."""
        number = next(self.numbers)
        source_id = self.bench.source(f"s{number}", "sven")
        acl = Acl(
            UserId(owner), frozenset({PrincipalId("group:readers")}), frozenset({PrincipalId("user:deni")})
        )
        job = self.bench.push(
            source_id, "paper.txt", f"Words of paper {number}.", acl, title=f"Paper {number}"
        )
        self.bench.work_on(job.id)
        assert job.document_id is not None
        request = JobRequest(JobKind.INDEX, owner, "test", document_id=job.document_id)
        waiting = self.bench.desk.jobs.accept(request)
        key, _ = self.bench.desk.directory.create_key(
            UserId("olga"), name="", scopes=frozenset({"search"}), expires_at=None
        )
        user, group = f"u{number}", f"{self.bench.desk.settings.scim_name}/g{number}"
        self.bench.user(user)
        self.links.link(UserId(user), "mail", f"{user}@example.org")
        self.groups.create(
            PrincipalId(f"group:{group}"), GroupChange(add=frozenset((user_principal(UserId(user)),)))
        )
        return Things(job.document_id, source_id, waiting.id, key.id, user, group)

    def ask(self, name: str, method: str, path: str, body: Any) -> Any:
        """One request by a kind of caller."""
        kind = KINDS[name]
        headers = {"Authorization": f"Bearer {self.keys[name]}"} if name in self.keys else {}
        if kind.acts_for:
            headers["X-Refdesk-User"] = kind.acts_for
        return self.client.request(method, path, json=body, headers=headers)

    def state(self, things: Things) -> tuple[Any, ...]:
        """Everything of the things that a request may change."""
        with self.bench.desk.database.read() as session:
            document = session.get_one(DocumentRow, things.document_id)
            source = session.get_one(SourceRow, things.source_id)
            job = session.get_one(JobRow, things.job_id)
            n_inside = session.query(DocumentRow).filter_by(source_id=things.source_id).count()
            columns = [
                {column.name: getattr(row, column.key) for column in row.__table__.columns}
                for row in (document, source, job)
            ]
        keys = self.bench.desk.directory.keys()
        is_key_there = any(key.id == things.key_id for key in keys)
        return (*columns, n_inside, is_key_there, *self._people())

    def _people(self) -> tuple[Any, ...]:
        """Everything in the directory."""
        with self.bench.desk.database.read() as session:
            rows = [session.query(table).all() for table in (UserRow, GroupRow, MembershipRow, IdentityRow)]
        return tuple(
            sorted(str([getattr(row, column.key) for column in row.__table__.columns]) for row in some)
            for some in rows
        )


def expected_of(kind: Kind, route: Route) -> tuple[int, str, str]:
    """Status, code and a part of the detail; status 200 stands for success."""
    if route.about is About.OPEN:
        return 200, "", ""
    if kind.refused is not None:
        detail = "this needs the scope act-as" if kind.refused[1] == "not_permitted" else ""
        return *kind.refused, detail
    lacking = [scope for scope in route.scopes if scope not in kind.effective]
    if lacking:
        return 403, "not_permitted", f"this needs the scope {lacking[0].value}"
    is_in, knows = {
        About.CALLER: (True, True),
        About.ABSENT: (False, False),
        About.READ: (kind.reads, kind.reads),
        About.MANAGE: (kind.owns or kind.administers, kind.reads),
        About.SOURCE: (kind.reads or kind.keeps or kind.administers,) * 2,
        About.SOURCE_MANAGE: (kind.keeps or kind.administers, kind.reads),
        About.JOB: (kind.owns or kind.administers,) * 2,
        About.KEY: (kind.owns or kind.administers,) * 2,
    }[route.about]
    if is_in:
        return 200, "", ""
    return (403, "not_permitted", "owner") if knows else (404, "not_found", "nothing here that you may see")


def wrong(lineup: Lineup, route: tuple[str, str], name: str, *, careful: bool = False) -> str:
    """What is not as declared when a kind asks a route; empty where all is.

    Args:
        careful: Whether things that a refused request could change are new ones, too.
    """
    rule = ROUTES[route]
    status, code, detail = expected_of(KINDS[name], rule)
    things = lineup.things_for(name, fresh=rule.changes and (careful or status == 200))
    before = lineup.state(things)
    reply = lineup.ask(name, route[0], things.fill(rule.path or route[1]), things.fill(rule.body))
    if status == 200 and (reply.status_code, route[1]) == (409, f"{SOURCE}/sync"):
        return ""  # allowed, but there is nothing to sync in a source that is pushed to
    if status == 200:
        return "" if 200 <= reply.status_code < 300 else f"refused: {reply.text}"
    if reply.status_code != status:
        return f"{reply.status_code} for {status}"
    problem = reply.json().get("error") or reply.json()
    told = problem.get("detail") or problem["message"]
    shown = (
        code if route[1].startswith(f"{SCIM}/") else problem["code"]
    )  # errors of SCIM have no code of ours
    if shown != code or detail not in told:
        return f"{shown}, {told}, for {code}, {detail}"
    return "" if lineup.state(things) == before else "refused, and yet something changed"


def told_apart(lineup: Lineup, name: str) -> str:
    """The route by which a kind tells a hidden thing from one that is not there; empty without one."""
    things = lineup.things_for(name, fresh=False)
    nothing = "00000000-0000-4000-8000-000000000000"
    absent = Things(nothing, nothing, nothing, nothing, nothing, nothing)
    for route, rule in ROUTES.items():
        if expected_of(KINDS[name], rule)[0] != 404:
            continue
        replies = [
            lineup.ask(name, route[0], each.fill(rule.path or route[1]), each.fill(rule.body))
            for each in (things, absent)
        ]
        ids = [reply.headers["x-request-id"] for reply in replies]
        shown = [reply.text.replace(id_, "") for reply, id_ in zip(replies, ids, strict=True)]
        headers = [{**reply.headers, "x-request-id": ""} for reply in replies]
        if replies[0].status_code != 404 or (shown[0], headers[0]) != (shown[1], headers[1]):
            return " ".join(route)
    return ""


@contextmanager
def open_lineup(folder: Path) -> Iterator[Lineup]:
    """A desk with a key for every kind of caller."""
    with open_bench(folder) as bench:
        for user in ("dora", "rita", "otto", "olga", "deni", "sven", "oper", "adam", "service"):
            bench.user(user)
        bench.user("rea", "readers")
        keys = {name: bench.key(kind.user, kind.scopes) for name, kind in KINDS.items() if kind.user}
        keys["forged secret"] = keys["document owner"][:-8] + "AAAAAAAA"
        bench.user("dora", disabled_at=utc_now())
        made = bench.desk.directory.keys()
        for key in made:
            if key.user_id == "rita":
                bench.desk.directory.revoke_key(key.id)
        with TestClient(bench.app, "http://127.0.0.1:8080", raise_server_exceptions=False) as client:
            database = bench.desk.database
            yield Lineup(bench, client, keys, SqlGroups(database, utc_now), SqlLinks(database, utc_now))

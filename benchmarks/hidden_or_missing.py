"""Can somebody tell by the time of a refusal whether a thing is hidden or missing?

    python -m benchmarks.hidden_or_missing --pairs 2000

Asks every route that takes an id, as somebody who may not see the thing, for a hidden one and for one that does
not exist, in turns of random order, and searches for made-up words that stand in hidden documents and for others
that nobody wrote. The figure is the area under the ROC curve of a classifier by time alone, turned so that it is
at least 0.5: 0.5 is guessing, the bar is 0.55. Requests do not pass a network here, which makes the attack easier
than it is.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI

from benchmarks.machine import load, machine_facts
from retrieval.access import Acl, Principal, PrincipalId, UserId
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.corpus import Source
from retrieval.jobs import JobKind
from retrieval.query import Query
from retrieval.settings import load_settings
from serving.cli.in_process import BASE_URL, InProcessTransport
from serving.desk import Desk
from serving.documents import Documents, Push
from serving.embedded import open_embedded, request_docs_sync
from serving.http.app import create_app
from serving.limits import UNLIMITED
from serving.scopes import ALL_SCOPES
from serving.sources import NewSource, Sources

BAR = 0.55
ROOT = Path(__file__).parent.parent
OUTSIDER = UserId("jonas.weidler")
KEEPER = UserId("mara.lindqvist")
_KEEPER_ASKS = Principal(KEEPER, frozenset(), ALL_SCOPES)

NOTHING_HIDDEN = {
    "user_id": "whoever may ask sees every user",
    "group": "whoever may ask sees every group",
    "id": "whoever may ask over SCIM sees every user and group",
    "name": "whoever may ask sees every index",
    "model": "everybody sees the one model",
}
"""Parameters of paths that name nothing which is hidden from somebody who may use the route."""

BODIES: dict[tuple[str, str], Any] = {
    ("PUT", "/api/v1/documents/{document_id}/acl"): {"allow": ["everyone"]},
    ("PUT", "/api/v1/documents/{document_id}/labels"): {"labels": ["hold"]},
    ("PATCH", "/api/v1/sources/{source_id}"): {"paused": True},
    ("POST", "/api/v1/sources/{source_id}/reindex"): {},
    ("POST", "/api/v1/keys/{key_id}/rotate"): {},
}

IN_BODIES: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("PUT", "/api/v1/documents"): ("source_id", {"external_id": "x", "text": "y"}),
    ("POST", "/api/v1/access/explain"): ("document_id", {"user_id": OUTSIDER}),
}
"""Routes that take the id in their body: its field, and the rest."""

SEARCH = "POST /api/v1/search"

N_WORDS = 500
"""Words of each kind that are searched for. Dice decide which of them are written, so that nothing but having been
written can set the two kinds apart: how long a search takes depends on its words more than on anything else."""

_WORDS_EACH = 50

Ask = Callable[[str], httpx.Response]


@dataclass(frozen=True, slots=True)
class Route:
    """A route that takes an id of something that can be hidden.

    Attributes:
        parameter: What the id is one of: `document_id`, `source_id`, `job_id`, `key_id`.
        body: The rest of its body, None without one.
        in_body: Whether the id stands in the body.
    """

    method: str
    path: str
    parameter: str
    body: Mapping[str, Any] | None = None
    in_body: bool = False

    @property
    def name(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"

    def ask(self, client: Any, id_: str) -> Any:
        """The reply about this id."""
        body = {**(self.body or {}), self.parameter: id_} if self.in_body else self.body
        return client.request(self.method, self.path.replace(f"{{{self.parameter}}}", id_), json=body)


def routes_with_ids(app: FastAPI) -> list[Route]:
    """Every route of an application that takes an id of something that can be hidden."""
    found = []
    for path, operations in app.openapi()["paths"].items():
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        for method in (name.upper() for name in operations):
            if (method, path) in IN_BODIES:
                field, rest = IN_BODIES[method, path]
                found.append(Route(method, path, field, rest, in_body=True))
            elif len(names) == 1 and names[0] not in NOTHING_HIDDEN:
                found.append(Route(method, path, names[0], BODIES.get((method, path))))
    return found


def hidden_ids(desk: Desk) -> dict[str, list[str]]:
    """Ids of things that `OUTSIDER` may not see, by the parameter that takes them.

    Makes a source, a key and jobs of somebody else; the documents are those of the handbook's closed folders.
    """
    insider = Principal(UserId("insider"), frozenset({PrincipalId("group:hr"), PrincipalId("group:board")}))
    documents = [
        document.id
        for folder in ("hr-restricted/", "board/")
        for document in desk.corpus.documents(
            insider, DocumentFilter(path_prefix=folder), after=None, limit=100
        )
    ]
    source = _hidden_source(desk)
    jobs = [
        desk.jobs.accept(JobRequest(JobKind.INDEX, KEEPER, "benchmark", document_id=id_)) for id_ in documents
    ]
    key, _ = desk.directory.create_key(KEEPER, name="k", scopes=["search"], expires_at=None)
    return {
        "document_id": list(documents),
        "source_id": [source.id],
        "job_id": [job.id for job in jobs],
        "key_id": [key.id],
    }


def _hidden_source(desk: Desk) -> Source:
    new = NewSource(name=f"{uuid.uuid4()}", kind="push", location="", acl=Acl(KEEPER))
    return Sources(desk).create(_KEEPER_ASKS, new, request_id="benchmark")


def hidden_words(desk: Desk) -> tuple[list[str], list[str]]:
    """Made-up words that stand in documents which `OUTSIDER` may not see, and as many that stand nowhere."""
    dice = random.Random(20261130)
    made: set[str] = set()
    while len(made) < 2 * N_WORDS:
        made.add("".join(dice.choice(letters) for letters in ("bdfgklmnprstvz", "aeiou") * 4))
    words = sorted(made)
    dice.shuffle(words)
    written, unwritten = words[:N_WORDS], words[N_WORDS:]
    source = _hidden_source(desk)
    for start in range(0, N_WORDS, _WORDS_EACH):
        text = " ".join(written[start : start + _WORDS_EACH])
        push = Push(source.id, f"{start}.txt", text.encode())
        Documents(desk).push(_KEEPER_ASKS, push, request_id="benchmark")
    return written, unwritten


def area_under_curve(hidden: Sequence[float], missing: Sequence[float]) -> float:
    """How well a threshold on the time tells the two apart: 0.5 by guessing, 1.0 always.

    >>> area_under_curve([3.0, 4.0], [1.0, 2.0])
    1.0
    >>> area_under_curve([1.0, 2.0], [1.0, 2.0])
    0.5
    """
    others = np.sort(missing)
    below = np.searchsorted(others, hidden, side="left") + np.searchsorted(others, hidden, side="right")
    area = float(below.mean()) / 2 / len(others)
    return max(area, 1 - area)


def measure(
    ask: Ask, hidden: Callable[[], str], missing: Callable[[], str], n_pairs: int
) -> dict[str, float]:
    """Times of interleaved pairs, as the area under the curve and medians in milliseconds."""
    order, spent_s = random.Random(20261130), ([], [])  # type: tuple[random.Random, tuple[list[float], list[float]]]
    for _ in range(n_pairs):
        pair = [(0, hidden()), (1, missing())]
        order.shuffle(pair)
        for kind, id_ in pair:
            began = time.perf_counter()
            ask(id_)
            spent_s[kind].append(time.perf_counter() - began)
    medians = [round(float(np.median(each)) * 1000, 3) for each in spent_s]
    return {"auc": round(area_under_curve(*spent_s), 4), "hidden_ms": medians[0], "missing_ms": medians[1]}


@contextmanager
def opened_sample() -> Iterator[Desk]:
    """A desk over the sample handbook, which asks for keys, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            data=Path(folder) / "state",
            docs=ROOT / "sample" / "handbook",
            directory=ROOT / "sample" / "directory.toml",
            identity="keys",
        )
        with open_embedded(settings) as embedded:
            request_docs_sync(settings, embedded.desk)
            _wait(embedded.desk)
            yield embedded.desk


def main() -> None:
    """Measure every route and print a line for each, then a JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--only", default="", help="routes whose method and path hold this text")
    arguments = parser.parse_args()
    n_pairs = arguments.pairs
    with opened_sample() as desk:
        scopes = ALL_SCOPES - {"admin", "act-as"}
        key = desk.directory.create_key(OUTSIDER, name="k", scopes=scopes, expires_at=None)[1]
        app = create_app(desk, limits=UNLIMITED)
        ids, words = hidden_ids(desk), hidden_words(desk)
        _wait(desk)
        transport = InProcessTransport(app)
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(transport=transport, base_url=BASE_URL, headers=headers, timeout=60) as client:
            found = {
                route.name: _measured(route, client, ids, n_pairs)
                for route in routes_with_ids(app)
                if arguments.only in route.name
            }
            if arguments.only in SEARCH:
                hits = desk.search.search(Query(words[0][0]), _KEEPER_ASKS).hits
                assert any(words[0][0] in hit.passage.text for hit in hits), "the words are not in the index"
                found[SEARCH] = _searched(client, *words, n_pairs)
    print(
        json.dumps({"machine": machine_facts(), "load": load(), "pairs": n_pairs, "routes": found}, indent=1)
    )


def _measured(
    route: Route, client: httpx.Client, ids: Mapping[str, Sequence[str]], n_pairs: int
) -> dict[str, float]:
    hidden = cycle(ids[route.parameter])
    for _ in range(20):
        assert route.ask(client, next(hidden)).status_code == httpx.codes.NOT_FOUND
    figures = measure(
        lambda id_: route.ask(client, id_), lambda: next(hidden), lambda: str(uuid.uuid4()), n_pairs
    )
    return _told(route.name, figures)


def _searched(
    client: httpx.Client, written: Sequence[str], unwritten: Sequence[str], n_pairs: int
) -> dict[str, float]:
    """A number after each word keeps a cache of questions out of it."""
    numbers = random.Random(7)

    def ask(query: str) -> httpx.Response:
        return client.post("/api/v1/search", json={"query": query})

    def next_of(words: Sequence[str]) -> Callable[[], str]:
        turn = cycle(words)
        return lambda: f"{next(turn)} {numbers.randrange(1000, 10_000)}"

    return _told(SEARCH, measure(ask, next_of(written), next_of(unwritten), n_pairs))


def _told(name: str, figures: dict[str, float]) -> dict[str, float]:
    verdict = "ok" if figures["auc"] <= BAR else "OVER"
    print(
        f"{figures['auc']:.3f} {verdict:<4} {figures['hidden_ms']:.2f} / {figures['missing_ms']:.2f} ms  {name}"
    )
    return figures


def _wait(desk: Desk) -> None:
    while desk.jobs.unfinished():
        time.sleep(0.1)


if __name__ == "__main__":
    main()

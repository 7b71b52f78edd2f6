"""What does it cost a search that its asker is in many groups?

    python -m benchmarks.many_groups [--chunks 20000] [--groups 1 10 100 1000 5000] [--searches 300]

Readers who differ in nothing but the number of their groups ask the same questions through HTTP, in turns of
changing order, and get the same hits; every fifth group holds another group and no person. Beside them a reader is
asked for without any condition in the index, which no setting allows: that is what the filter is compared with.
Vectors of passages are made (`benchmarks/size/vectors.py`), questions run through the model. The bar is 1.5 times
the 95th percentile without the condition, for 1,000 groups.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import httpx

from benchmarks.machine import load, machine_facts
from benchmarks.size.corpus import SECTIONS, MadeCorpus, sample_corpus
from benchmarks.size.vectors import open_made_corpus
from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.groups import GroupChange, SqlGroups
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import SourceId
from retrieval.jobs import JobKind
from retrieval.metrics import percentile
from retrieval.settings import load_settings
from retrieval.wiring import utc_now
from serving.cli.in_process import BASE_URL, InProcessTransport
from serving.desk import Desk
from serving.embedded import open_embedded
from serving.http.app import create_app
from serving.limits import UNLIMITED

NO_CONDITION = "no condition"
_STAFF = PrincipalId("group:staff")
_NAMED_GROUPS = 1000
_NESTED_EVERY = 5


def main() -> None:
    """Measure, and print a JSON document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--groups", type=int, nargs="*", default=[1, 10, 100, 1000, 5000])
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    corpus = sample_corpus(given.seed)
    n_documents = max(given.chunks // SECTIONS, 1)
    questions = [corpus.question(number, n_documents) for number in range(given.searches)]
    with tempfile.TemporaryDirectory() as folder, _indexed(Path(folder), corpus, n_documents) as desk:
        readers = {f"{n} groups": _reader(desk, n) for n in given.groups}
        found = measure(desk, readers, questions)
    base = found[NO_CONDITION]["p95_ms"]
    for name, figures in found.items():
        figures["p95_ratio"] = round(figures["p95_ms"] / base, 3)
        print(f"{name:>14}: p50 {figures['p50_ms']:.1f}  p95 {figures['p95_ms']:.1f} ms", file=sys.stderr)
    told = {"machine": machine_facts(), "load": load(), "chunks": n_documents * SECTIONS, "readers": found}
    print(json.dumps(told, indent=1))


def measure(desk: Desk, readers: dict[str, UserId], questions: Sequence[str]) -> dict[str, dict[str, float]]:
    """Percentiles of one search in milliseconds, by reader, the first one's without a condition besides."""
    app = create_app(desk, limits=UNLIMITED)
    spent_ms: dict[str, list[float]] = {name: [] for name in (NO_CONDITION, *readers)}
    with httpx.Client(transport=InProcessTransport(app), base_url=BASE_URL, timeout=60) as client:
        asks = {name: partial(_hits, client, user) for name, user in readers.items()}
        asks[NO_CONDITION] = partial(_without_condition, next(iter(asks.values())))
        names = list(spent_ms)
        for number, question in enumerate(["warm up", *questions]):
            turn = number % len(names)
            hits = []
            for name in names[turn:] + names[:turn]:
                began = time.perf_counter()
                hits.append(asks[name](f"{question} {number}"))
                spent_ms[name].append((time.perf_counter() - began) * 1000)
            if any(each != hits[0] for each in hits):
                raise RuntimeError(f"readers of everything get different hits for {question!r}")
    return {
        name: {"p50_ms": round(percentile(some[1:], 0.5), 2), "p95_ms": round(percentile(some[1:], 0.95), 2)}
        for name, some in spent_ms.items()
    }


def _hits(client: httpx.Client, user: UserId, question: str) -> list[str]:
    reply = client.post("/api/v1/search", json={"query": question}, headers={"X-Refdesk-User": user})
    reply.raise_for_status()
    return [hit["chunk_id"] for hit in reply.json()["hits"]]


def _without_condition(ask: Callable[[str], list[str]], question: str) -> list[str]:
    place = "retrieval.adapters.qdrant_edge"
    with patch(f"{place}.must", lambda *_: ()), patch(f"{place}.must_not", lambda *_: ()):
        return ask(question)


def _reader(desk: Desk, n_groups: int) -> UserId:
    """A user who is in so many groups, one of which reads everything."""
    user, teams = UserId(f"reader-{n_groups}"), range(n_groups - 1)
    outer = {number for number in teams if number % _NESTED_EVERY == 0 and number + 1 in teams}
    direct = [_STAFF, *(_team(number) for number in teams if number not in outer)]
    desk.directory.put_user(user, name=user, groups=direct)
    groups = SqlGroups(desk.database, utc_now)
    known = {group.id for group in groups.groups(limit=2 * n_groups)}
    for number in sorted(outer):
        change = GroupChange(add=frozenset({_team(number + 1)}))
        (groups.change if _team(number) in known else groups.create)(_team(number), change)
    found = desk.directory.standing_of(user).groups
    if len(found) != n_groups:
        raise RuntimeError(f"{user} is in {len(found)} groups")
    return user


def _team(number: int) -> PrincipalId:
    return PrincipalId(f"group:team-{number:05d}")


@contextmanager
def _indexed(folder: Path, corpus: MadeCorpus, n_documents: int) -> Iterator[Desk]:
    """A desk over made documents in 1,000 folders, each of which is its group's and everybody's of the staff."""
    for number in range(n_documents):
        place = folder / "documents" / f"{number % _NAMED_GROUPS:04d}"
        if not place.exists():
            place.mkdir(parents=True)
            allow = [_team(number % _NAMED_GROUPS), _STAFF]
            (place / ".refdesk.toml").write_text(f"[acl]\nallow = {json.dumps(allow)}\n", encoding="utf-8")
        (place / f"{number:06d}.md").write_text(corpus.document(number), encoding="utf-8")
    opener = partial(open_made_corpus, spends=False)
    with open_embedded(load_settings(data=folder / "state"), opener=opener) as embedded:
        desk = embedded.desk
        source = SourceId("made")
        SqlSources(desk.database, utc_now).create(
            source, name="made", kind="folder", location=str(folder / "documents"), owner=UserId("nobody")
        )
        desk.jobs.accept(JobRequest(JobKind.SYNC, "nobody", "benchmark", source_id=source))
        while desk.jobs.unfinished():
            time.sleep(0.5)
        desk.indexes.optimise(is_stopped=lambda: False)
        yield desk


if __name__ == "__main__":
    main()

"""Races what takes a right away against the searches of whoever loses it, through HTTP.

    python -m benchmarks.revocation_races [--races 10000]

In each race a reader searches for a document without pause while the right to read it is taken away: the reader
leaves the group, the group leaves the one that the document's list names, the account is closed, the key is
revoked, or the list changes, in turn. A reply is stale when it shows the document and its request was sent after
the change had been committed. The desk is the real one, with one document; the exit code is 1 for a stale reply.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import httpx

from retrieval.access import Acl, PrincipalId, UserId, user_principal
from retrieval.adapters.sql.directory import UserChange
from retrieval.adapters.sql.groups import GroupChange, SqlGroups
from retrieval.adapters.sql.sources import SqlSources
from retrieval.adapters.sql.upkeep import SqlUpkeep
from retrieval.corpus import SourceId, document_id_for
from retrieval.settings import load_settings
from retrieval.wiring import utc_now
from serving.cli.in_process import BASE_URL, InProcessTransport
from serving.desk import Desk
from serving.embedded import open_embedded
from serving.http.app import create_app
from serving.limits import UNLIMITED
from serving.scopes import ALL_SCOPES, END_USER_SCOPES

_KEEPER, _READER = UserId("keeper"), UserId("reader")
_INNER, _OUTER = PrincipalId("group:audit"), PrincipalId("group:board")
_SOURCE, _NAME = SourceId("races"), "minutes"
_DOCUMENT = document_id_for(_SOURCE, _NAME)
_TEXT = "The quorum of the harbour committee is seven members."
_QUESTION = {"query": "quorum of the harbour committee"}
_LONGEST_WAIT_S = 60.0


@dataclass
class Report:
    """What came of the races of one way to lose a right.

    Attributes:
        overlapped: Races in which a search that was under way still showed the document, rightly.
        stale: Replies that showed it though they were asked for after the commit.
    """

    races: int = 0
    searches: int = 0
    overlapped: int = 0
    stale: int = 0


@dataclass
class RevocationBench:
    """A desk with one document that one reader may read by way of two groups."""

    desk: Desk
    client: httpx.Client
    reader_key: str = ""
    groups: SqlGroups = field(init=False)

    def __post_init__(self) -> None:
        """Put the reader into the directory."""
        self.groups = SqlGroups(self.desk.database, utc_now)
        self.desk.directory.put_user(_READER, name=_READER, groups=[_INNER])
        self.groups.create(_OUTER, GroupChange(add=frozenset({_INNER})))
        self.give_key()

    def ways(self) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
        """How the right is lost and given back."""
        return {
            "member leaves": (partial(self._member, is_in=False), partial(self._member, is_in=True)),
            "group leaves": (partial(self._nested, is_in=False), partial(self._nested, is_in=True)),
            "account closed": (partial(self._account, is_open=False), partial(self._account, is_open=True)),
            "key revoked": (self._revoke_key, self.give_key),
            "list changed": (partial(self._share, frozenset()), partial(self._share, frozenset({_OUTER}))),
        }

    def is_shown(self) -> bool:
        """Whether the reader, who asks now, is shown the document."""
        headers = {"Authorization": f"Bearer {self.reader_key}"}
        reply = self.client.post("/api/v1/search", json=_QUESTION, headers=headers)
        if reply.status_code == httpx.codes.UNAUTHORIZED:
            return False
        reply.raise_for_status()
        return any(hit["document_id"] == _DOCUMENT for hit in reply.json()["hits"])

    def wait_until_shown(self) -> None:
        """Wait for the index to hear of a right that was given back."""
        began = time.monotonic()
        while not self.is_shown():
            if time.monotonic() - began > _LONGEST_WAIT_S:
                raise RuntimeError("the document does not come back")
            time.sleep(0.005)

    def give_key(self) -> None:
        """A new key for the reader."""
        made = self.desk.directory.create_key(_READER, name="k", scopes=END_USER_SCOPES, expires_at=None)
        self._key_id, self.reader_key = made[0].id, made[1]

    def _revoke_key(self) -> None:
        self.desk.directory.revoke_key(self._key_id)

    def _member(self, *, is_in: bool) -> None:
        reader = frozenset({user_principal(_READER)})
        self.groups.change(_INNER, GroupChange(add=reader) if is_in else GroupChange(remove=reader))

    def _nested(self, *, is_in: bool) -> None:
        inner = frozenset({_INNER})
        self.groups.change(_OUTER, GroupChange(add=inner) if is_in else GroupChange(remove=inner))

    def _account(self, *, is_open: bool) -> None:
        self.desk.directory.change_user(_READER, UserChange(is_disabled=not is_open))

    def _share(self, allow: frozenset[PrincipalId]) -> None:
        upkeep = SqlUpkeep(self.desk.database, utc_now)
        upkeep.set_acl(_DOCUMENT, Acl(_KEEPER, allow, frozenset()), requested_by=_KEEPER)


@contextmanager
def open_revocation_bench(folder: Path) -> Iterator[RevocationBench]:
    """A desk in a folder, with its document brought in."""
    with open_embedded(load_settings(data=folder, identity="keys")) as embedded:
        desk = embedded.desk
        desk.directory.put_user(_KEEPER, name=_KEEPER, groups=[])
        key = desk.directory.create_key(_KEEPER, name="k", scopes=ALL_SCOPES, expires_at=None)[1]
        SqlSources(desk.database, utc_now).create(
            _SOURCE, name=_SOURCE, kind="push", location="", owner=_KEEPER
        )
        transport = InProcessTransport(create_app(desk, limits=UNLIMITED))
        with httpx.Client(transport=transport, base_url=BASE_URL, timeout=60) as client:
            body = {"source_id": _SOURCE, "external_id": _NAME, "text": _TEXT, "acl": {"allow": [_OUTER]}}
            headers = {"Authorization": f"Bearer {key}"}
            client.put("/api/v1/documents", json=body, headers=headers).raise_for_status()
            bench = RevocationBench(desk, client)
            bench.wait_until_shown()
            yield bench


def race(bench: RevocationBench, races: int) -> dict[str, Report]:
    """So many races, the ways to lose a right in turn; what came of them by way."""
    ways = list(bench.ways().items())
    reports = {name: Report() for name, _ in ways}
    for number in range(races):
        name, (take, give_back) = ways[number % len(ways)]
        seen: list[tuple[float, bool]] = []
        committed = threading.Event()
        searcher = threading.Thread(target=_search_until, args=(bench, committed, seen))
        searcher.start()
        while not seen and searcher.is_alive():  # the race begins with searches under way
            time.sleep(0.0002)
        take()
        committed_at = time.monotonic()
        committed.set()
        searcher.join()
        if len(seen) < 2:
            raise RuntimeError("the reader's searches failed")
        report = reports[name]
        report.races += 1
        report.searches += len(seen)
        report.overlapped += seen[0][1]
        report.stale += sum(is_shown for sent_at, is_shown in seen if sent_at > committed_at)
        give_back()
        bench.wait_until_shown()
    return reports


def _search_until(bench: RevocationBench, committed: threading.Event, seen: list[tuple[float, bool]]) -> None:
    """Search without pause until the change is committed, and once more."""
    while True:
        is_last = committed.is_set()
        sent_at = time.monotonic()
        seen.append((sent_at, bench.is_shown()))
        if is_last:
            return


def main() -> int:
    """Run the races and print what came of them as JSON; 1 for a stale reply."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--races", type=int, default=10_000)
    races = parser.parse_args().races
    with tempfile.TemporaryDirectory() as folder, open_revocation_bench(Path(folder)) as bench:
        reports = race(bench, races)
    print(json.dumps({name: asdict(report) for name, report in reports.items()}, indent=1))
    return 1 if any(report.stale for report in reports.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

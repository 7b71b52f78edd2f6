"""A random organisation, on a desk and in the oracle at once; everything follows from one seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import select
from starlette.testclient import TestClient

from benchmarks.permissions.desk import INSIDE, UNREADABLE, Bench, open_bench
from benchmarks.permissions.oracle import EVERYONE, Listing, Organisation, Paper, Seclusion, Text
from retrieval.access import UserId
from retrieval.adapters.sql.links import SqlLinks
from retrieval.adapters.sql.models import ChunkRow, JobRow, UserRow, VersionRow
from retrieval.corpus import DocumentId, DocumentState, SourceId, document_id_for
from retrieval.errors import GroupsTooDeepError
from retrieval.wiring import utc_now
from serving.scopes import ALL_SCOPES, END_USER_SCOPES, Scope

PEOPLE = ("ada", "bo", "cy", "dee", "eve", "hr", "olga", "sven")
GROUPS = ("group:hr", "group:HR", "group:ada", "group:board", "group:ops", "group:staff")
CHAIN = tuple(f"group:level-{number}" for number in range(1, 10))
"""Each lies in the next, and the last one in the one before it too."""

_DEEP = ("group:hr", CHAIN[0])
"""Groups in which no, or hardly any, level is left for another one."""

FEATURES = frozenset({"nesting", "doubt", "other ids", "age", "labels", "sections"})
"""What an organisation may make use of beyond people, groups and lists."""

STRANGER = "mallory"
"""Has a key, but is not in the directory."""

ADMINISTRATOR = "adam"

TOKEN = re.compile(r"zq[a-z0-9]{8}")
WORD = re.compile(r"[a-z0-9]+")

_PROVIDER = "oidc"
_MOST_IN_DOUBT = 3

_PLAIN_WORDS = (
    "annual budget review travel claim invoice meeting policy contract supplier office project "
    "deadline report holiday salary training laptop network security backup access request manager "
    "team approval customer order delivery warehouse shift safety audit board vote minutes draft "
    "plan forecast revenue cost saving merger legal notice patent licence software release incident "
    "repair vendor payment bank pension insurance claimant visitor badge parking canteen survey "
    "result hiring interview offer notice"
)
_VOCABULARY = tuple(_PLAIN_WORDS.split())


@dataclass(frozen=True)
class Viewer:
    """Somebody who asks, and how.

    Attributes:
        acts: Whether a service key asks on the person's behalf.
    """

    person: str
    acts: bool = False

    @property
    def is_admin(self) -> bool:
        """Whether it may manage what others own; it reads no more than others."""
        return self.person == ADMINISTRATOR and not self.acts

    def __str__(self) -> str:
        return f"service for {self.person}" if self.acts else self.person


@dataclass(frozen=True)
class KnownJob:
    """A job there is, or was."""

    id: str
    document_id: str | None
    requested_by: str
    is_finished: bool


class World:
    """An organisation that lives on a desk. `step` lets something happen to both.

    The fewer features it makes use of, the more often whatever is left happens: swarm testing, Groce and others,
    ISSTA 2012.
    """

    def __init__(
        self, bench: Bench, client: TestClient, seed: int, *, n_papers: int, features: Collection[str]
    ) -> None:
        """Found it: people, groups, sources and the first papers, all brought in."""
        self.bench, self.client, self.seed = bench, client, seed
        self.features = frozenset(features)
        self.dice = random.Random(seed)
        self.organisation = Organisation()
        self.history: list[str] = []
        self.chunks: dict[str, tuple[str, str]] = {}
        self.positions: dict[str, int] = {}
        self.versions: dict[str, str] = {}
        self.jobs: dict[str, KnownJob] = {}
        self.live_versions: dict[str, str | None] = {}
        self.successors: dict[str, str] = {}
        self.texts: list[Text] = []
        self.tokens: set[str] = set()
        self._n_tokens = 0
        self._n_papers = n_papers
        self._found()

    def _found(self) -> None:
        for person in PEOPLE:
            self.organisation.groups_of[person] = set()
            self._join(person, self._some(GROUPS, 2))
        self.bench.user(ADMINISTRATOR)
        self.organisation.groups_of |= {ADMINISTRATOR: set(), STRANGER: set()}
        self.organisation.unknown.add(STRANGER)
        chained = [*pairwise(CHAIN), (CHAIN[-1], CHAIN[-2]), ("group:hr", CHAIN[0])]
        nested = (("group:ops", "group:staff"), ("group:staff", "group:board"), *chained)
        for inner, outer in nested if "nesting" in self.features else ():
            self._nest(inner, outer)
        self.links = SqlLinks(self.bench.desk.database, utc_now)
        most = END_USER_SCOPES | {Scope.SOURCES_WRITE, Scope.KEYS, Scope.PREVIEW}
        self.keys = {person: self.bench.key(person, frozenset(most)) for person in (*PEOPLE, STRANGER)}
        self.keys |= {
            other_id(person): self.bench.key(other_id(person), frozenset(most)) for person in PEOPLE
        }
        self.keys[ADMINISTRATOR] = self.bench.key(ADMINISTRATOR, ALL_SCOPES - {Scope.ACT_AS})
        self.bench.user("service")
        self.service_key = self.bench.key("service", END_USER_SCOPES | {Scope.ACT_AS})
        for source, owner in (("alpha", "sven"), ("beta", "bo")):
            self.bench.source(source, owner)
            self.organisation.sources[source] = owner
        for _ in range(self._n_papers):
            self._new_paper()
        self.work()

    # --- asking

    def ask(self, viewer: Viewer, method: str, path: str, body: Any = None) -> Any:
        """One request by somebody, under one of the ids that are its own."""
        id_ = self.dice.choice(sorted(self.organisation.ids(viewer.person)))
        headers = {"Authorization": f"Bearer {self.service_key if viewer.acts else self.keys[id_]}"}
        if viewer.acts:
            headers["X-Refdesk-User"] = id_
        return self.client.request(method, path, json=body, headers=headers)

    def viewers(self) -> list[Viewer]:
        """Everybody who may ask, in every way."""
        people = (*PEOPLE, ADMINISTRATOR)
        own = [Viewer(person) for person in (*people, STRANGER)]
        return [*own, *(Viewer(person, acts=True) for person in people)]

    @property
    def is_in_step(self) -> bool:
        """Whether the index has heard of everything."""
        return not self.bench.waiting()

    def look(self) -> None:
        """Read which ids there are; what they are worth the oracle says."""
        with self.bench.desk.database.read() as session:
            columns = (ChunkRow.id, ChunkRow.document_id, ChunkRow.version_id, ChunkRow.position)
            for id_, document, version, position in session.execute(select(*columns)):
                self.chunks[id_], self.positions[id_] = (document, version), position
            versions = session.execute(select(VersionRow.id, VersionRow.document_id))
            self.versions |= dict(versions.tuples().all())
            current = select(VersionRow.document_id, VersionRow.id).where(
                VersionRow.live_at.is_not(None), VersionRow.replaced_at.is_(None)
            )
            self.live_versions = dict(session.execute(current).tuples().all())
            rows = session.execute(
                select(JobRow.id, JobRow.document_id, JobRow.requested_by, JobRow.finished_at)
            )
            self.jobs = {id_: KnownJob(id_, doc, by, at is not None) for id_, doc, by, at in rows}

        in_work = {job.document_id for job in self.jobs.values() if not job.is_finished}
        for paper in self.organisation.papers:
            paper.is_in_work = paper.document_id in in_work

    # --- what happens

    def step(self) -> None:
        """One thing happens, or the index hears of what happened."""
        happenings: list[tuple[int, Callable[[], str], str]] = [
            (5, self._someone_moves, ""),
            (6, self._list_changes, ""),
            (4, self._text_changes, ""),
            (2, self._new_paper, ""),
            (2, self._paper_goes, ""),
            (2, self._groups_nest, "nesting"),
            (3, self._members_are_in_doubt_or_certain, "doubt"),
            (2, self._id_is_linked_or_taken, "other ids"),
            (3, self._other_id_moves, "other ids"),
            (1, self._stranger_moves, ""),
            (1, self._account_is_closed_or_opened, ""),
            (1, self._reindex, ""),
            (2, self._permissions_age_or_are_refreshed, "age"),
            (3, self._labels_change, "labels"),
            (2, self._labels_of_a_source_change, "labels"),
            (1, self._sweep, "labels"),
            (2, self._some_work, ""),
            (4, self.work, ""),
        ]
        possible = [each for each in happenings if not each[2] or each[2] in self.features]
        ((_, chosen, _),) = self.dice.choices(possible, [weight for weight, _, _ in possible])
        self.history.append(chosen())

    def work(self) -> str:
        """Bring everything in that waits."""
        while waiting := self.bench.waiting():
            for job in waiting:
                self._work_on(job.id)
        return "everything is brought in"

    def _some_work(self) -> str:
        waiting = self.bench.waiting()
        for job in waiting[: self.dice.randrange(len(waiting) + 1)]:
            self._work_on(job.id)
        return "some of it is brought in"

    def _work_on(self, job_id: Any) -> None:
        job = self.bench.desk.jobs.job(job_id)
        self.bench.work_on(job_id)
        paper = next((each for each in self.organisation.papers if each.document_id == job.document_id), None)
        if paper is None or paper.is_deleted or job.state.is_finished or job.parameters.get("access_only"):
            return
        were = {each.document_id: each.lists() for each in self.organisation.inside(paper)}
        text = self.organisation.brought_in(paper)
        if text is not None and paper.parent is None:
            self._take_inside(paper, text, were)

    def _take_inside(self, paper: Paper, text: Text, were: dict[str, list[Listing]]) -> None:
        """What was found inside a paper that has just been brought in; `were`: its lists until then."""
        path = f"{paper.path}!/{text.inside_name}"
        for each in list(self.organisation.inside(paper)):
            if each.path != path:
                self.organisation.deleted(each)
        if not text.inside:
            return
        found = Text(text.inside)
        id_ = document_id_for(SourceId(paper.source), path)
        child = next((each for each in self.organisation.papers if each.document_id == id_), None)
        if child is None:
            child = Paper(id_, paper.source, path, text.inside_name, paper.tag, paper.listing, parent=paper)
            self.organisation.papers.append(child)
        if child.is_deleted:
            child.is_deleted, child.is_manual, child.live, child.before = False, False, None, []
            child.last_lists = []
        if child.live is not None and child.live != found:
            child.before = were.get(id_, [])
        child.sent = found

    def _someone_moves(self) -> str:
        person = self.dice.choice(PEOPLE)
        groups = self._some(GROUPS, 3)
        self._join(person, groups)
        return f"{person} is in {sorted(groups)}"

    def _join(self, person: str, groups: set[str]) -> None:
        self.bench.user(person, *(name.removeprefix("group:") for name in sorted(groups)))
        self.organisation.groups_of[person] = groups
        self.organisation.disabled.discard(person)

    def _groups_nest(self) -> str:
        inner, outer = self.dice.sample((*GROUPS, CHAIN[0]), 2)
        around = sorted(self.organisation.outer.get(outer, set()) & {*GROUPS})
        if around and self.dice.random() < 0.3:
            inner = self.dice.choice(around)  # a cycle
        elif inner not in _DEEP and self.dice.random() < 0.5:
            outer = self.dice.choice(_DEEP)
        if outer in self.organisation.outer.get(inner, set()):
            self.bench.in_group(inner, outer.removeprefix("group:"), is_in=False)
            self.organisation.outer[inner].discard(outer)
            return f"{inner} is in {outer} no more"
        is_too_deep = self.organisation.is_too_deep(inner, outer)
        try:
            self._nest(inner, outer)
        except GroupsTooDeepError:
            assert is_too_deep, f"{inner} may not be put into {outer}"
            return f"{inner} would lie too deep in {outer}"
        assert not is_too_deep, f"{inner} lies too deep in {outer}"
        return f"{inner} is in {outer}"

    def _nest(self, inner: str, outer: str) -> None:
        self.bench.nest(inner.removeprefix("group:"), outer.removeprefix("group:"))
        self.organisation.outer.setdefault(inner, set()).add(outer)

    def _members_are_in_doubt_or_certain(self) -> str:
        group = self.dice.choice((*GROUPS, *CHAIN) if "nesting" in self.features else GROUPS)
        in_doubt = self.organisation.in_doubt
        is_in_doubt = group not in in_doubt and len(in_doubt) < _MOST_IN_DOUBT
        self.bench.in_group("user:nobody", group.removeprefix("group:"))
        self.bench.doubt(group.removeprefix("group:"), is_in_doubt=is_in_doubt)
        (in_doubt.add if is_in_doubt else in_doubt.discard)(group)
        return f"who is in {group} is {'in doubt' if is_in_doubt else 'certain'}"

    def _id_is_linked_or_taken(self) -> str:
        person = self.dice.choice(PEOPLE)
        linked = self.organisation.other_ids.setdefault(person, set())
        if linked:
            self.links.unlink(UserId(person), _PROVIDER, person)
            linked.clear()
            return f"{other_id(person)} is {person} no more"
        self.links.link(UserId(person), _PROVIDER, person)
        linked.add(other_id(person))
        return f"{other_id(person)} is {person}"

    def _other_id_moves(self) -> str:
        return self._moves_by_membership(other_id(self.dice.choice(PEOPLE)))

    def _stranger_moves(self) -> str:
        return self._moves_by_membership(STRANGER)

    def _moves_by_membership(self, user_id: str) -> str:
        """A group takes in or puts out a user id that is no user's of the directory."""
        group, groups = self.dice.choice(GROUPS), self.organisation.listed_in.setdefault(user_id, set())
        is_in = group not in groups
        self.bench.in_group(f"user:{user_id}", group.removeprefix("group:"), is_in=is_in)
        (groups.add if is_in else groups.discard)(group)
        return f"{user_id} is {'in' if is_in else 'out of'} {group}"

    def _account_is_closed_or_opened(self) -> str:
        person = self.dice.choice(PEOPLE)
        is_closed = person in self.organisation.disabled
        with self.bench.desk.database.write() as session:
            session.get_one(UserRow, person).disabled_at = None if is_closed else utc_now()
        (self.organisation.disabled.discard if is_closed else self.organisation.disabled.add)(person)
        return f"{person} {'comes back' if is_closed else 'is shut out'}"

    def _list_changes(self) -> str:
        papers = [paper for paper in self.organisation.papers if self.organisation.is_there(paper)]
        if not papers:
            return "nothing"
        paper, listing = self.dice.choice(papers), self._listing()
        owner = self.organisation.holder(paper.owner) if self.dice.random() < 0.7 else None
        actor = Viewer(owner or ADMINISTRATOR)
        body = _listing_as_sent(listing)
        secluded = self._seclusions(paper, listing) if paper.parent is None else None
        if secluded is not None:
            body["sections"] = [{**_as_sent(rule), "confirmed": rule.is_known_absent} for rule in secluded]
        record = self.bench.desk.corpus.record(DocumentId(paper.document_id))
        newer_text = record.state is not DocumentState.LIVE
        reply = self.ask(actor, "PUT", f"/api/v1/documents/{paper.document_id}/acl", body)
        allowed = actor.is_admin or (self._comes_in(actor) and self.organisation.may(actor.person, paper))
        if reply.status_code == 202:
            assert allowed, f"{actor} set a list without a right to"
            self.organisation.shared(paper, listing, secluded, newer_text=newer_text)
        elif paper.parent is None and paper.is_settled:
            assert not allowed, f"{actor} could not set a list: {reply.text}"
        return f"{actor} shares {paper.path}: {listing} {secluded}, {reply.status_code}"

    def _labels_change(self) -> str:
        papers = [paper for paper in self.organisation.papers if self.organisation.is_there(paper)]
        around = [paper for paper in papers if any(self.organisation.inside(paper))]
        paper = self.dice.choice(around if around and self.dice.random() < 0.4 else papers)
        labels = self._labels()
        owner = self.organisation.holder(paper.owner) if self.dice.random() < 0.5 else None
        actor = Viewer(owner or ADMINISTRATOR)
        body = {"labels": sorted(labels)}
        reply = self.ask(actor, "PUT", f"/api/v1/documents/{paper.document_id}/labels", body)
        allowed = actor.is_admin or (self._comes_in(actor) and self.organisation.may(actor.person, paper))
        if reply.status_code == 200:
            assert allowed, f"{actor} set labels without a right to"
            paper.set_by_hand = labels
            told = {each["name"] for each in reply.json()["labels"]}
            assert told == self.organisation.labels(paper), f"{paper.path}: {told}"
        elif paper.parent is None and paper.is_settled:
            assert not allowed, f"{actor} could not set labels: {reply.text}"
        return f"{actor} labels {paper.path}: {sorted(labels)}, {reply.status_code}"

    def _labels_of_a_source_change(self) -> str:
        source = self.dice.choice(sorted(self.organisation.sources))
        labels = self._labels() if self.dice.random() < 0.6 else frozenset()
        reply = self.ask(
            Viewer(ADMINISTRATOR), "PATCH", f"/api/v1/sources/{source}", {"labels": sorted(labels)}
        )
        assert reply.status_code == 200, reply.text
        self.organisation.labels_of_source[source] = labels
        return f"all of {source} is labelled {sorted(labels)}"

    def _sweep(self) -> str:
        while self.bench.toolbox.expiry.bury_due():
            pass
        self.organisation.swept()
        return "what has ended is swept away"

    def _comes_in(self, viewer: Viewer) -> bool:
        return viewer.person not in self.organisation.disabled

    def _new_paper(self) -> str:
        source = self.dice.choice(sorted(self.organisation.sources))
        path = f"{self.dice.choice(('a', 'b'))}/{self.token()}.txt"
        paper = Paper(
            document_id_for(SourceId(source), path), source, path, "", self.token(), self._default(source)
        )
        self.organisation.papers.append(paper)
        if self.dice.random() < 0.2 and len(self.organisation.papers) > 1:
            self.successors[paper.document_id] = self.dice.choice(self.organisation.papers[:-1]).path
        paper.is_deleted = True  # so that its first push makes it
        return self._push(paper, self._listing() if self.dice.random() < 0.8 else None)

    def _text_changes(self) -> str:
        papers = [paper for paper in self.organisation.papers if paper.parent is None]
        listing = self._listing() if self.dice.random() < 0.5 else None
        return self._push(self.dice.choice(papers), listing)

    def _push(self, paper: Paper, listing: Listing | None) -> str:
        text = self._text(paper.live)
        paper.title = f"Title {self.token()} of a paper"
        body: dict[str, Any] = {
            "source_id": paper.source,
            "external_id": paper.path,
            "title": paper.title,
            "text": _as_pushed(text),
            "metadata": {"tags": [paper.tag], "superseded_by": self.successors.get(paper.document_id, "")},
        }
        paper.age_days = self.dice.choice((0, 60))
        changed_at = utc_now() - timedelta(days=paper.age_days)
        body["metadata"]["modified_at"] = changed_at.isoformat()
        if self.dice.random() < 0.6:
            paper.stated = self._labels()
            body["labels"] = sorted(paper.stated)
        if listing is not None:
            body["acl"] = _listing_as_sent(listing)
        secluded = self._seclusions(paper, listing or paper.listing, text)
        if secluded is not None:
            body["sections"] = [_as_sent(rule) for rule in secluded]
            for rule in secluded:
                rule.is_known_absent = False
        owner = self.organisation.sources[paper.source]
        actor = Viewer(ADMINISTRATOR if owner in self.organisation.disabled else owner)
        reply = self.ask(actor, "PUT", "/api/v1/documents", body)
        assert reply.status_code == 202, reply.text
        self.organisation.pushed(paper, text, listing, self._default(paper.source), secluded)
        return f"{actor} pushes {paper.path}: {listing} {secluded}"

    def _paper_goes(self) -> str:
        papers = [each for each in self.organisation.papers if self.organisation.is_there(each)]
        papers = [each for each in papers if each.parent is None]
        if len(papers) < self._n_papers // 2:
            return "nothing"
        paper = self.dice.choice(papers)
        reply = self.ask(Viewer(ADMINISTRATOR), "DELETE", f"/api/v1/documents/{paper.document_id}")
        assert reply.status_code == 202, reply.text
        self.organisation.deleted(paper)
        return f"{paper.path} is deleted"

    def _reindex(self) -> str:
        paper = self.dice.choice(list(filter(self.organisation.is_there, self.organisation.papers)))
        reply = self.ask(Viewer(ADMINISTRATOR), "POST", f"/api/v1/documents/{paper.document_id}/reindex")
        assert reply.status_code == 202, reply.text
        return f"{paper.path} is read anew"

    def _permissions_age_or_are_refreshed(self) -> str:
        source = self.dice.choice(sorted(self.organisation.sources))
        if source not in self.organisation.outdated:
            self.bench.let_permissions_age(SourceId(source))
            self.organisation.outdated.add(source)
            return f"who may read {source} was known too long ago"
        breaks_off = self.dice.random() < 0.5
        self.bench.refresh_permissions(SourceId(source), breaks_off=breaks_off)
        if not breaks_off:
            self.organisation.outdated.discard(source)
        return f"the permissions of {source} {'cannot be read' if breaks_off else 'are confirmed'}"

    # --- what it is made of

    def token(self) -> str:
        """A word that stands nowhere else."""
        self._n_tokens += 1
        made = "zq" + "".join(self.dice.choices("abcdefghijkmnpqrstuvwxyz", k=4)) + f"{self._n_tokens:04x}"
        self.tokens.add(made)
        return made

    def _some(self, of: tuple[str, ...], at_most: int) -> set[str]:
        return set(self.dice.sample(of, self.dice.randint(0, at_most)))

    def _listing(self) -> Listing:
        ids = (*PEOPLE, *map(other_id, PEOPLE)) if "other ids" in self.features else PEOPLE
        names = (*GROUPS, CHAIN[-1], *(f"user:{id_}" for id_ in ids))
        allow, deny = self._some(names, 3), self._some(names, 2) if self.dice.random() < 0.4 else set()
        if self.dice.random() < 0.2:
            allow.add(EVERYONE)
        if self.dice.random() < 0.05:
            deny.add(EVERYONE)
        if self.dice.random() < 0.1:
            allow.add("group:unheard-of")
        if self.organisation.in_doubt and self.dice.random() < 0.4:
            doubtful = self.dice.choice(sorted(self.organisation.in_doubt))
            (allow if self.dice.random() < 0.4 else deny).add(doubtful)
            allow |= {EVERYONE} if doubtful in deny else set()
        owner = self.dice.choice(PEOPLE)
        if self.dice.random() < 0.1:
            deny.add(f"user:{owner}")
        if "other ids" in self.features and self.dice.random() < 0.2:
            owner = other_id(owner)
        return Listing(owner, frozenset(allow), frozenset(deny))

    def _labels(self) -> frozenset[str]:
        if "labels" not in self.features or self.dice.random() < 0.4:
            return frozenset()
        names = ("no-ai", "no-ai", "no-ai", "retention:short", "retention:short", "retention:long")
        chosen = {self.dice.choice(names)}
        if self.dice.random() < 0.3:
            chosen.add(self.dice.choice(("hold", "retention:odd", *names)))
        return frozenset(chosen)

    def _seclusions(
        self, paper: Paper, listing: Listing, coming: Text | None = None
    ) -> list[Seclusion] | None:
        """Rules for parts of a paper, some of them about headings that it does not have; None for no say."""
        if "sections" not in self.features or self.dice.random() < 0.5:
            return None
        rules = [self._seclusion(paper, listing, coming) for _ in range(self.dice.randint(0, 2))]
        if self.dice.random() < 0.4:
            rules += [Seclusion(old.heading, old.allow, old.deny) for old in paper.secluded[:2]]
        by_heading = {rule.heading: rule for rule in rules}
        for rule in by_heading.values():
            rule.is_known_absent = self.dice.random() < 0.3
        return list(by_heading.values())

    def _seclusion(self, paper: Paper, listing: Listing, coming: Text | None) -> Seclusion:
        texts = [text for text in (paper.live, paper.sent, coming) if text is not None]
        paths = [path for text in texts for path, _ in text.parts if path]
        heading: tuple[str, ...] = (self.token(),)
        if paths and self.dice.random() < 0.85:
            path = self.dice.choice(paths)
            start = self.dice.randrange(len(path))
            heading = path[start : start + self.dice.randint(1, 2)]
        other = self._listing()
        of_paper = {name for name in sorted(listing.allow) if self.dice.random() < 0.5}
        return Seclusion(heading, other.allow | of_paper, other.deny)

    def _default(self, source: str) -> Listing:
        return Listing(self.organisation.sources[source])

    def _text(self, live: Text | None) -> Text:
        if live is not None and self.dice.random() < 0.15:
            return live
        known = [path for path, _ in live.parts if path] if live is not None else []
        body = "\n\n".join(self._headings(known) + self._paragraph() for _ in range(self.dice.randint(1, 4)))
        if live is not None and self.dice.random() < 0.1:
            return Text(body, is_readable=False)
        if self.dice.random() < 0.3:
            inside_name = live.inside_name if live is not None and live.inside_name else f"{self.token()}.txt"
            made = Text(body, inside_name, self._paragraph())
        else:
            made = Text(body)
        self.texts.append(made)
        return made

    def _headings(self, known: list[tuple[str, ...]]) -> str:
        """The line of headings above a paragraph, empty for none; `known` ones stay more often than not."""
        if self.dice.random() < 0.4:
            return ""
        if not known or self.dice.random() < 0.3:
            known.append(tuple(self.token() for _ in range(self.dice.randint(1, 6))))
        path = self.dice.choice(known)
        return f"# {' / '.join(path[: self.dice.randint(1, len(path))])}\n"

    def _paragraph(self) -> str:
        return " ".join(self._sentence() for _ in range(2))

    def _sentence(self) -> str:
        words = self.dice.choices(_VOCABULARY, k=10)
        words.insert(self.dice.randrange(3, 8), self.token())
        return f"The {' '.join(words)}."


def other_id(person: str) -> str:
    """The id that a person has elsewhere, while it is linked."""
    return f"{_PROVIDER}:{person}"


def _listing_as_sent(listing: Listing) -> dict[str, Any]:
    return {"owner": listing.owner, "allow": sorted(listing.allow), "deny": sorted(listing.deny)}


def _as_sent(rule: Seclusion) -> dict[str, Any]:
    return {"heading": list(rule.heading), "allow": sorted(rule.allow), "deny": sorted(rule.deny)}


def _as_pushed(text: Text) -> str:
    start = UNREADABLE if not text.is_readable else ""
    inside = f"{INSIDE}{text.inside_name}\n{text.inside}" if text.inside else ""
    return f"{start}{text.body}{inside}"


@contextmanager
def open_world(
    folder: Path,
    seed: int,
    *,
    n_papers: int = 30,
    index_url: str = "",
    features: Collection[str] = FEATURES,
) -> Iterator[World]:
    """A world on a desk of its own in a folder."""
    with (
        open_bench(folder, index_url=index_url) as bench,
        TestClient(bench.app, "http://127.0.0.1:8080", raise_server_exceptions=False) as client,
    ):
        yield World(bench, client, seed, n_papers=n_papers, features=features)

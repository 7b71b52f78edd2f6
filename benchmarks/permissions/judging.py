"""What a reply tells, against what the oracle lets be told."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.permissions.oracle import Paper, Part
from benchmarks.permissions.world import TOKEN, WORD, Viewer, World

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
RUN = 8
"""Words in a row that count as text."""


@dataclass(frozen=True)
class Violation:
    """Something told that may not be, or not told that must be. `seed` and `step` find it again."""

    seed: int
    step: int
    surface: str
    viewer: str
    what: str


@dataclass
class Report:
    """How often it was looked, by surface, and what was found.

    Attributes:
        checks: Decisions that were compared: one for each document of a listing, one for a reply about one
            thing, one for each reply that was searched for what is hidden.
    """

    checks: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def n_checks(self) -> int:
        """Over all surfaces."""
        return self.checks.total()

    def add(self, other: Report) -> None:
        """Count another report in."""
        self.checks += other.checks
        self.requests += other.requests
        self.violations += other.violations


@dataclass(frozen=True)
class Sight:
    """What one viewer may be told now."""

    papers: frozenset[str]
    words: frozenset[str]
    ids: frozenset[str]
    runs: frozenset[tuple[str, ...]]


class Judge:
    """Compares replies with the oracle for a world as it is now."""

    def __init__(self, world: World, report: Report) -> None:
        """Judge this world and write to this report."""
        self.world, self.report = world, report
        self.surface, self.viewer = "", Viewer("")
        self._sights: dict[tuple[Viewer, bool], Sight] = {}
        self._runs: dict[tuple[str, ...], None] = {}
        self._known_texts = 0
        self.known_ids: set[str] = set()
        self.askers: dict[str, str] = {}
        self.said: defaultdict[str, list[str]] = defaultdict(list)
        self.salts: dict[str, tuple[frozenset[str], frozenset[str]]] = {}

    def turn(self) -> None:
        """Something happened: what may be told has to be found out anew."""
        self.world.look()
        self._sights.clear()
        for text in self.world.texts[self._known_texts :]:
            said = [words for _, words in text.parts]
            self._runs |= dict.fromkeys(run for words in (*said, text.inside) for run in runs_of(words))
        self._known_texts = len(self.world.texts)
        papers = {paper.document_id for paper in self.world.organisation.papers}
        self.known_ids = (
            papers | self.world.chunks.keys() | self.world.versions.keys() | self.world.jobs.keys()
        )

    def sight(self, *, by_prompt: bool = False) -> Sight:
        """What the viewer may be told; `by_prompt`: in answers and what is made for them."""
        key = self.viewer, by_prompt
        if key not in self._sights:
            self._sights[key] = self._sight_of(*key)
        return self._sights[key]

    def _sight_of(self, viewer: Viewer, by_prompt: bool) -> Sight:
        organisation, person = self.world.organisation, viewer.person
        papers = organisation.readable(person)
        ids = {paper.document_id for paper in papers}
        if by_prompt:  # a successor is named, whether or not it may be answered from
            papers = list(filter(organisation.may_be_prompted, papers))
        parts = {paper.document_id: organisation.parts(person, paper) for paper in papers}
        told = [self._told_of(paper, parts[paper.document_id]) for paper in papers]
        if not by_prompt:
            told += self._told_of_rules(viewer)
        chunks = {
            id_
            for id_, (document, _) in self.world.chunks.items()
            if document in parts and self.part(id_) in parts[document]
        }
        versions = {id_ for id_, document in self.world.versions.items() if document in ids}
        jobs = {job.id for job in self.world.jobs.values() if job.document_id in ids}
        concerned = [job for job in self.world.jobs.values() if self.concerns(person, job.id)]
        own = {id_ for job in concerned for id_ in (job.id, job.document_id) if id_}  # deleted ones too
        runs = frozenset(run for some in parts.values() for _, words in some for run in runs_of(words))
        return Sight(
            frozenset(ids),
            frozenset(TOKEN.findall("\n".join(told))),
            frozenset(ids | chunks | versions | jobs | own),
            runs,
        )

    def _told_of(self, paper: Paper, parts: Iterable[Part]) -> str:
        said = [part for path, words in parts for part in (*path, words)]
        return "\n".join((paper.path, paper.title, paper.tag, *said))

    def _told_of_rules(self, viewer: Viewer) -> list[str]:
        """Whoever may set the rules for a paper's parts is told what they are; an administrator of every paper."""
        organisation = self.world.organisation
        managed = [
            paper
            for paper in organisation.papers
            if viewer.is_admin or organisation.may_as_owner(viewer.person, paper)
        ]
        return [heading for paper in managed for rule in paper.rules() for heading in rule.heading]

    def part(self, chunk_id: str) -> Part | None:
        """The part of a live text that a chunk is; None for one of another version."""
        document, version = self.world.chunks[chunk_id]
        paper = self.paper(document)
        if paper is None or paper.live is None or self.world.live_versions.get(document) != version:
            return None
        return paper.live.parts[self.world.positions[chunk_id]]

    def concerns(self, person: str, job_id: str) -> bool:
        """Whether a job is about work that somebody asked for or owns, and may still hear of."""
        job = self.world.jobs[job_id]
        paper = self.paper(job.document_id)
        if paper is None:
            return job.requested_by == person
        organisation = self.world.organisation
        concerned = job.requested_by == person or organisation.owns(person, paper)
        return concerned and organisation.admitted(person, paper)

    def paper(self, document_id: str | None) -> Paper | None:
        """The paper of this id."""
        papers = self.world.organisation.papers
        return next((paper for paper in papers if paper.document_id == document_id), None)

    # --- verdicts

    def check(self, is_right: bool, what: str, *, n: int = 1) -> None:
        """Count checks, and note a violation unless it is right."""
        self.report.checks[self.surface] += n
        if not is_right:
            self.report.violations.append(
                Violation(self.world.seed, len(self.world.history), self.surface, str(self.viewer), what)
            )

    def listing(
        self, shown: Iterable[str], among: Collection[Paper], *, whole: bool = True, by_text: bool = False
    ) -> None:
        """Compare the documents of a listing with those that should be in it.

        Args:
            shown: Document ids.
            among: Papers that the listing would show to somebody who may read everything.
            whole: Whether what must be reachable has to be there.
            by_text: Whether a paper is listed for what may be read of its text, not for being there.
        """
        organisation, person = self.world.organisation, self.viewer.person
        seen = set(shown)

        def is_listed(paper: Paper, *, surely: bool) -> bool:
            if by_text:
                return bool(organisation.parts(person, paper, surely=surely))
            return (organisation.must if surely else organisation.may)(person, paper)

        allowed = {paper.document_id for paper in among if is_listed(paper, surely=False)}
        needed = {paper.document_id for paper in among if whole and is_listed(paper, surely=True)}
        wrong = sorted(self._name(id_) for id_ in seen - allowed)
        lacking = sorted(self._name(id_) for id_ in needed - seen)
        self.check(not wrong, f"shows {wrong}", n=len(organisation.papers))
        self.check(not lacking, f"lacks {lacking}", n=0)

    def count(self, counted: int, among: Collection[Paper], what: str) -> None:
        """Compare a number with that of the papers that may and must be counted."""
        organisation, person = self.world.organisation, self.viewer.person
        least = sum(organisation.must(person, paper) for paper in among)
        most = sum(organisation.may(person, paper) for paper in among)
        self.check(least <= counted <= most, f"{what}: {counted}, not {least} to {most}")

    def one(self, reply: Any, paper: Paper | None, *, found: Collection[int] = (200,)) -> bool:
        """Compare the reply about one document; whether it was shown."""
        organisation, person = self.world.organisation, self.viewer.person
        is_shown = reply.status_code in found
        may = paper is not None and organisation.may(person, paper)
        must = paper is not None and organisation.must(person, paper)
        self.check(is_shown or reply.status_code == 404, f"{paper and paper.path}: {reply.status_code}")
        self.check(not is_shown or may, f"shows {paper and paper.path}", n=0)
        self.check(is_shown or not must, f"hides {paper and paper.path}", n=0)
        return bool(is_shown)

    def told(self, text: str, *, sent: Any = None, by_prompt: bool = False) -> None:
        """Search a reply for ids, words and runs of words that the viewer may not be told."""
        text = text.replace("\\n", " ").lower()
        given = json.dumps(sent).lower() if sent is not None else ""
        sight = self.sight(by_prompt=by_prompt)
        ids = {id_ for id_ in UUID.findall(text) if id_ in self.known_ids and id_ not in sight.ids}
        leaked = sorted(id_ for id_ in ids if id_ not in given)
        words = {
            word
            for word in TOKEN.findall(text)
            if word in self.world.tokens and word not in sight.words and word not in given
        }
        foreign = sorted(word for word in words if self.askers.get(word) != self.viewer.person)
        run = next(
            (
                run
                for run in runs_of(text)
                if run in self._runs and run not in sight.runs and " ".join(run) not in given
            ),
            None,
        )
        self.check(not leaked, f"tells ids {[self._name(id_) for id_ in leaked]}")
        self.check(not foreign, f"tells words {foreign}", n=0)
        self.check(run is None, f"tells {run}", n=0)

    def _name(self, id_: str) -> str:
        document = self.world.chunks.get(id_, (id_, ""))[0]
        document = self.world.versions.get(document, document)
        paper = self.paper(document)
        if paper is not None:
            return paper.path if document == id_ else f"a part of {paper.path}"
        return f"job {id_}" if id_ in self.world.jobs else id_


def runs_of(text: str) -> list[tuple[str, ...]]:
    """Every run of `RUN` words in a text."""
    words = WORD.findall(text.lower())
    return list(zip(*(words[start:] for start in range(RUN)), strict=False))

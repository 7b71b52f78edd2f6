"""Who may read what, once more: a plain model of an organisation that shares no code with the desk.

`may` is the most that anybody is let in to see, `must` the least that has to be reachable. They differ only while
newer text of a document waits to be brought in, and for lists set by hand on what was found inside a document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

EVERYONE = "group:everyone"

PERIODS_DAYS = {"retention:short": 30, "retention:long": 3650}
"""Classes of retention; others have no period, and what is in one of those stays."""


@dataclass(frozen=True)
class Listing:
    """An access list: names with their prefix, the owner without."""

    owner: str
    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()


@dataclass(eq=False)
class Seclusion:
    """Who may read one section of a paper, of those who may read the paper.

    Attributes:
        heading: Headings in a row; what stands below them is the section.
        is_known_absent: Whether whoever set it was told that the live text has no such heading.
        is_lost: Whether a text came without the heading: it counts for the whole paper until somebody says more.
    """

    heading: tuple[str, ...]
    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    is_known_absent: bool = False
    is_lost: bool = False

    def is_over(self, path: tuple[str, ...]) -> bool:
        """Whether a part below these headings is in the section."""
        length = len(self.heading)
        return any(path[at : at + length] == self.heading for at in range(len(path)))

    def is_like(self, other: Seclusion) -> bool:
        """Whether it says the same."""
        return (self.heading, self.allow, self.deny) == (other.heading, other.allow, other.deny)

    def listing(self, owner: str) -> Listing:
        """As a list that has to let somebody in besides the paper's own; the owner is not shut out by name."""
        allow = frozenset() if EVERYONE in self.deny else self.allow
        return Listing(owner, allow, self.deny - {EVERYONE, f"user:{owner}"})


Part = tuple[tuple[str, ...], str]
"""A paragraph below its headings, outermost first."""


@dataclass(frozen=True)
class Text:
    """What a document says in one version.

    Attributes:
        body: Paragraphs, one blank line apart. The headings above one stand before it, in a line that begins with
            "# ", " / " between them.
        inside_name, inside: Name and text of a file found inside, empty for none.
        is_readable: Whether it can be parsed.
    """

    body: str
    inside_name: str = ""
    inside: str = ""
    is_readable: bool = True

    @property
    def parts(self) -> list[Part]:
        """The passages it is cut into."""
        return [_part(paragraph) for paragraph in self.body.split("\n\n")]


@dataclass(eq=False)
class Paper:
    """A document as the organisation thinks of it.

    Attributes:
        listing: The list that was stated last.
        before: Lists under which the live text was readable, while a newer text waits or could not be read.
        sent, live: The text that was sent last, which is brought in sooner or later; the one that readers see.
        is_in_work: Whether a job for it waits.
        is_manual: Whether a person set the list, which a source does not change then.
        secluded: Who reads parts of it.
        secluded_before: Rules for the live text, while a newer one with other rules waits.
        parent: The document that it was found inside.
        last_lists: For one that was found inside another and is deleted: the lists of its end, which go for what
            is still told of it, its jobs; those of the document around it may change afterwards.
        stated, set_by_hand: Labels that its source stated with it last, and those that a person set.
        age_days: Since its source last changed it.
    """

    document_id: str
    source: str
    path: str
    title: str
    tag: str
    listing: Listing
    sent: Text | None = None
    live: Text | None = None
    before: list[Listing] = field(default_factory=list)
    secluded: list[Seclusion] = field(default_factory=list)
    secluded_before: list[Seclusion] = field(default_factory=list)
    is_manual: bool = False
    is_deleted: bool = False
    is_in_work: bool = False
    parent: Paper | None = None
    last_lists: list[Listing] = field(default_factory=list)
    stated: frozenset[str] = frozenset()
    set_by_hand: frozenset[str] = frozenset()
    age_days: int = 0

    def own_labels(self) -> frozenset[str]:
        """Labels it has, those of its source as a whole apart."""
        return self.stated | self.set_by_hand | (self.parent.own_labels() if self.parent else frozenset())

    @property
    def outermost(self) -> Paper:
        """The document that its source sent."""
        return self.parent.outermost if self.parent else self

    def lists(self) -> list[Listing]:
        """Every list that has to let somebody in; a paper found inside another one has that one's owner."""
        if self.parent is None:
            return [self.listing, *self.before]
        if self.last_lists:
            return self.last_lists
        own = [replace(self.listing, owner=self.parent.owner)] if self.is_manual else []
        around = [each.listing(self.parent.owner) for each in self.parent.rules()]
        return [*self.parent.lists(), *around, *own, *self.before]

    def rules(self) -> list[Seclusion]:
        """Every rule for a part of it that counts now."""
        return [*self.secluded, *self.secluded_before]

    def over(self, path: tuple[str, ...]) -> list[Seclusion]:
        """The rules that are over a part of the live text."""
        return [rule for rule in self.rules() if rule.is_lost or rule.is_over(path)]

    def over_all(self) -> list[Seclusion]:
        """The rules that are over some part of the live text, or may be."""
        return [rule for rule in self.rules() if not rule.is_known_absent]

    def the_list(self) -> Listing:
        """The one list that counts, where it is settled."""
        if self.parent is None:
            return self.listing
        return narrowed(self.parent.the_list(), self.parent.rules())

    @property
    def owner(self) -> str:
        """Who looks after it."""
        if self.last_lists:
            return self.last_lists[0].owner
        return self.listing.owner if self.parent is None else self.parent.owner

    @property
    def is_settled(self) -> bool:
        """Whether exactly one list counts."""
        by_parent = self.parent is None or (
            self.parent.is_settled and not self.is_manual and not self.is_in_work
        )
        return by_parent and not self.before and not self.secluded_before


class Organisation:
    """People, groups, sources and papers.

    Attributes:
        groups_of: By person, the groups that the directory puts it into.
        listed_in: By any user id, the groups that list it.
        unknown: People who are not in the directory.
        other_ids: By person, the ids that are linked to it.
        outer: By group, the groups that it lies in.
        in_doubt: Groups of which nobody knows for certain any more who is in them.
    """

    def __init__(self) -> None:
        """Nobody and nothing."""
        self.groups_of: dict[str, set[str]] = {}
        self.listed_in: dict[str, set[str]] = {}
        self.unknown: set[str] = set()
        self.disabled: set[str] = set()
        self.other_ids: dict[str, set[str]] = {}
        self.outer: dict[str, set[str]] = {}
        self.in_doubt: set[str] = set()
        self.sources: dict[str, str] = {}
        self.outdated: set[str] = set()
        self.labels_of_source: dict[str, frozenset[str]] = {}
        self.papers: list[Paper] = []

    def ids(self, person: str) -> set[str]:
        """Every user id that is a person's."""
        return {person} | self.other_ids.get(person, set())

    def owns(self, person: str, paper: Paper) -> bool:
        """Whether a person looks after a paper, under whatever id."""
        return paper.owner in self.ids(person)

    def holder(self, user_id: str) -> str | None:
        """The person whose user id this is; None for one that is nobody's."""
        return next((person for person in self.groups_of if user_id in self.ids(person)), None)

    def names(self, person: str) -> frozenset[str]:
        """Every name by which a list lets a person in; somebody unknown is in no group but everyone."""
        known = set() if person in self.unknown else self._groups_around(person, self.in_doubt)
        return frozenset(known | {EVERYONE} | {f"user:{id_}" for id_ in self.ids(person)})

    def names_against(self, person: str) -> frozenset[str]:
        """Every name by which a list shuts a person out: groups too of which nobody knows for certain who is in."""
        return self.names(person) | self._groups_around(person, set())

    def _groups_around(self, person: str, left_out: set[str]) -> set[str]:
        found: set[str] = set()
        todo = list(self.groups_of.get(person, ()))
        for id_ in self.ids(person):
            todo += self.listed_in.get(id_, ())
        while todo:
            group = todo.pop()
            if group not in found and group not in left_out:
                found.add(group)
                todo.extend(self.outer.get(group, ()))
        return found

    def is_too_deep(self, inner: str, outer: str) -> bool:
        """Whether a group may not be put into another, since one would lie in more than ten, itself counted."""
        outer_of = {**self.outer, inner: self.outer.get(inner, set()) | {outer}}

        def levels(group: str) -> int:
            depth, seen, edge = 0, {group}, {group}
            while edge:
                depth += 1
                edge = {each for one in edge for each in outer_of.get(one, set())} - seen
                seen |= edge
            return depth

        def lies_in(group: str) -> bool:
            seen, edge = {group}, {group}
            while edge:
                edge = {each for one in edge for each in outer_of.get(one, set())} - seen
                seen |= edge
            return inner in seen

        return any(levels(group) > 10 for group in {*outer_of, outer} if lies_in(group))

    def passes(self, person: str, listing: Listing) -> bool:
        """Whether one list lets a person in."""
        against, names = self.names_against(person), self.names(person)
        for name in listing.deny:
            if name in against:
                return False
        if listing.owner in self.ids(person):
            return True
        return any(name in names for name in listing.allow)

    def admitted(self, person: str, paper: Paper) -> bool:
        """Whether every list lets a person in, deleted or not; the owner alone where they are too old."""
        return self._counts(person, paper) and all(self.passes(person, listing) for listing in paper.lists())

    def _counts(self, person: str, paper: Paper) -> bool:
        """Whether lists are young enough for a person to go by; the owner is told that there is the paper still."""
        return paper.source not in self.outdated or self.owns(person, paper)

    def labels(self, paper: Paper) -> frozenset[str]:
        """Every label that counts for a paper."""
        return paper.own_labels() | self.labels_of_source.get(paper.source, frozenset())

    def has_ended(self, paper: Paper) -> bool:
        """Whether its period is over, so that it is there for nobody."""
        labels = self.labels(paper)
        classes = [label for label in labels if label.startswith("retention:")]
        if "hold" in labels or not classes:
            return False
        for name in classes:
            if name not in PERIODS_DAYS or paper.outermost.age_days < PERIODS_DAYS[name]:
                return False
        return True

    def may_be_prompted(self, paper: Paper) -> bool:
        """Whether its text may enter a prompt of anybody who reads it."""
        return "no-ai" not in self.labels(paper)

    def is_there(self, paper: Paper) -> bool:
        """Whether somebody might see it."""
        return not paper.is_deleted and not self.has_ended(paper)

    def may(self, person: str, paper: Paper) -> bool:
        """Whether a person may see that there is such a paper."""
        return self.is_there(paper) and self.admitted(person, paper)

    def is_shown(self, paper: Paper) -> bool:
        """Whether anybody is shown its text now."""
        return paper.live is not None and paper.source not in self.outdated

    def may_as_owner(self, person: str, paper: Paper) -> bool:
        """Whether a person looks after a paper, and may see it."""
        return self.owns(person, paper) and self.may(person, paper)

    def must(self, person: str, paper: Paper) -> bool:
        """Whether a person has to be able to see it."""
        is_let_in = self._counts(person, paper) and self.passes(person, paper.the_list())
        return paper.is_settled and self.is_there(paper) and is_let_in

    def may_below(self, person: str, paper: Paper, rules: list[Seclusion]) -> bool:
        """Whether a person may see a paper, and what these rules are over."""
        if paper.is_settled:
            return self.must_below(person, paper, rules)
        let_in = all(self.passes(person, rule.listing(paper.owner)) for rule in rules)
        return let_in and self.may(person, paper)

    def must_below(self, person: str, paper: Paper, rules: list[Seclusion]) -> bool:
        """Whether a person has to be able to."""
        return self.must(person, paper) and self.passes(person, narrowed(paper.the_list(), rules))

    def parts(self, person: str, paper: Paper, *, surely: bool = False) -> list[Part]:
        """Parts of the live text that a person may read, or has to be able to read."""
        reads = self.must_below if surely else self.may_below
        parts = paper.live.parts if paper.live and self.is_shown(paper) else []
        return [part for part in parts if reads(person, paper, paper.over(part[0]))]

    def readable(self, person: str) -> list[Paper]:
        """Papers that a person may see."""
        return [paper for paper in self.papers if self.may(person, paper)]

    def inside(self, paper: Paper) -> Iterator[Paper]:
        """Papers found inside one that are there now."""
        return (each for each in self.papers if each.parent is paper and not each.is_deleted)

    # --- what happens

    def pushed(
        self,
        paper: Paper,
        text: Text,
        listing: Listing | None,
        default: Listing,
        secluded: list[Seclusion] | None = None,
    ) -> None:
        """A source's owner sends a text, perhaps with a list and with rules for its parts."""
        if paper.is_deleted:
            paper.is_deleted, paper.is_manual, paper.live, paper.before = False, False, None, []
            paper.secluded, paper.secluded_before = [], []
            paper.listing = listing or default
        elif listing is not None and not paper.is_manual:
            if paper.live is not None:
                paper.before.append(paper.listing)
            paper.listing = listing
        paper.sent = text
        if secluded is not None and not paper.is_manual:
            self._announced(paper, secluded)

    def swept(self) -> None:
        """What has ended goes, unless something inside it is kept still."""
        for paper in self.papers:
            if (
                not paper.is_deleted
                and self.has_ended(paper)
                and all(map(self.has_ended, self._below(paper)))
            ):
                self.deleted(paper)

    def _below(self, paper: Paper) -> Iterator[Paper]:
        for each in self.inside(paper):
            yield each
            yield from self._below(each)

    def _announced(self, paper: Paper, secluded: list[Seclusion]) -> None:
        """Rules for a text that is not live yet; those of before count as long as theirs is."""
        same = [next((old for old in paper.secluded if old.is_like(rule)), rule) for rule in secluded]
        if paper.live is not None:
            paper.secluded_before += [old for old in paper.secluded if old not in same]
        paper.secluded = same

    def shared(
        self,
        paper: Paper,
        listing: Listing,
        secluded: list[Seclusion] | None = None,
        *,
        newer_text: bool = False,
    ) -> None:
        """A person sets the list by hand, perhaps with rules for parts of the live text."""
        paper.listing, paper.before, paper.is_manual = listing, [], True
        if secluded is None:
            return
        lost = [rule.heading for rule in paper.secluded if rule.is_lost]
        for rule in secluded:
            is_missing = not newer_text and paper.live is not None and not _is_in(rule, paper.live)
            rule.is_lost = is_missing and rule.heading in lost and not rule.is_known_absent
            rule.is_known_absent = is_missing and not rule.is_lost
        paper.secluded, paper.secluded_before = secluded, []

    def deleted(self, paper: Paper) -> None:
        """A paper goes, with all that was found inside it."""
        for each in list(self.inside(paper)):
            self.deleted(each)
        paper.is_deleted, paper.sent, paper.live, paper.before = True, None, None, []
        paper.secluded_before = []
        paper.last_lists = paper.lists() if paper.parent is not None else []

    def brought_in(self, paper: Paper) -> Text | None:
        """The text that was sent last is read; gives it when it could be, and is live now."""
        if paper.sent is None or not paper.sent.is_readable:
            return None
        paper.live, paper.before, paper.secluded_before = paper.sent, [], []
        for rule in paper.secluded:
            is_there = _is_in(rule, paper.live)
            rule.is_known_absent = rule.is_known_absent and not is_there
            rule.is_lost = not is_there and not rule.is_known_absent
        return paper.live


def narrowed(listing: Listing, rules: list[Seclusion]) -> Listing:
    """One list in place of several: names that all of them let in; everyone stands for every name."""
    for rule in rules:
        bound = rule.listing(listing.owner)
        if EVERYONE in listing.allow and EVERYONE in bound.allow:
            allow = listing.allow | bound.allow
        elif EVERYONE in listing.allow:
            allow = bound.allow
        elif EVERYONE in bound.allow:
            allow = listing.allow
        else:
            allow = listing.allow & bound.allow
        listing = Listing(listing.owner, allow, listing.deny | bound.deny)
    return listing


def _is_in(rule: Seclusion, text: Text) -> bool:
    return any(rule.is_over(path) for path, _ in text.parts)


def _part(paragraph: str) -> Part:
    if not paragraph.startswith("# "):
        return (), paragraph
    headings, _, words = paragraph.removeprefix("# ").partition("\n")
    return tuple(headings.split(" / ")), words

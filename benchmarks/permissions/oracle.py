"""Who may read what, once more: a plain model of an organisation that shares no code with the desk.

`may` is the most that anybody is let in to see, `must` the least that has to be reachable. They differ only while
newer text of a document waits to be brought in, and for lists set by hand on what was found inside a document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

EVERYONE = "group:everyone"


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
        if EVERYONE in self.deny:
            return Listing(owner)
        return Listing(owner, self.allow, self.deny - {f"user:{owner}"})


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

    def lists(self) -> list[Listing]:
        """Every list that has to let somebody in."""
        if self.parent is None:
            return [self.listing, *self.before]
        own = [self.listing] if self.is_manual else []
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
        return self.listing.owner if self.parent is None else self.parent.owner

    @property
    def is_settled(self) -> bool:
        """Whether exactly one list counts."""
        by_parent = self.parent is None or (
            self.parent.is_settled and not self.is_manual and not self.is_in_work
        )
        return by_parent and not self.before and not self.secluded_before


class Organisation:
    """People, groups, sources and papers."""

    def __init__(self) -> None:
        """Nobody and nothing."""
        self.groups_of: dict[str, set[str]] = {}
        self.disabled: set[str] = set()
        self.outer: dict[str, set[str]] = {}
        self.sources: dict[str, str] = {}
        self.papers: list[Paper] = []

    def names(self, person: str) -> frozenset[str]:
        """Every name by which a list can reach a person; somebody unknown is in no group but everyone."""
        found = {f"user:{person}", EVERYONE}
        todo = list(self.groups_of.get(person, ()))
        while todo:
            group = todo.pop()
            if group not in found:
                found.add(group)
                todo.extend(self.outer.get(group, ()))
        return frozenset(found)

    def passes(self, person: str, listing: Listing) -> bool:
        """Whether one list lets a person in."""
        names = self.names(person)
        for name in listing.deny:
            if name in names:
                return False
        if person == listing.owner:
            return True
        return any(name in names for name in listing.allow)

    def admitted(self, person: str, paper: Paper) -> bool:
        """Whether every list lets a person in, deleted or not."""
        return all(self.passes(person, listing) for listing in paper.lists())

    def may(self, person: str, paper: Paper) -> bool:
        """Whether a person may see that there is such a paper, and its live text."""
        return not paper.is_deleted and self.admitted(person, paper)

    def must(self, person: str, paper: Paper) -> bool:
        """Whether a person has to be able to see it."""
        return paper.is_settled and not paper.is_deleted and self.passes(person, paper.the_list())

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
        parts = paper.live.parts if paper.live else []
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

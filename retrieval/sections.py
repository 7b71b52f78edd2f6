"""Sections of a document that fewer people may read than the document. Pure.

A rule names a section by headings and lists who may read it. It only ever narrows: a part of a document is read by
those whom the document's list and every rule over the part let in, and by the document's owner. `list_for` gives
that as one access list, which `access.permits` and the index's filter judge like any other. Lists are compared name
by name (`access.narrowed`): somebody whom the document lets in only as a member of one group and the rule only as a
member of another is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import reduce

from retrieval.access import EVERYONE, Acl, Principal, PrincipalId, narrowed, permits, user_principal

HeadingPath = tuple[str, ...]
"""Headings above a text, outermost first."""

MAX_SHOWN_HEADINGS = 4
"""A passage shows at most so many of its headings, the innermost ones."""

MAX_HEADING_CHARS = 120
"""Headings are cut here before they are compared."""


class Standing(StrEnum):
    """What became of a rule's heading.

    `FOUND`: the live text has it. `ABSENT`: it does not, and who set the rule was told. `LOST`: a text came in that
    does not have it, and nobody has confirmed the rule since: it counts for the whole text. `AWAITED`: the rule was
    stated for a text that is not live yet.
    """

    FOUND = "found"
    ABSENT = "absent"
    LOST = "lost"
    AWAITED = "awaited"


@dataclass(frozen=True, slots=True)
class SectionRule:
    """Who may read one section, of those who may read the document.

    Attributes:
        heading: Headings that follow one another down to the section, outermost first, at least one; it need not
            begin with the document's outermost heading. Case and white space do not count. What stands below
            every place that fits is the section.
        allow: Principals who may read it.
        deny: Principals who may not; wins over `allow`. The owner by its own name is not shut out.
        is_outgoing: Whether it was stated for the text that is live, and another list waits for a newer text.
    """

    heading: HeadingPath
    allow: frozenset[PrincipalId] = frozenset()
    deny: frozenset[PrincipalId] = frozenset()
    standing: Standing = Standing.AWAITED
    is_outgoing: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of a document stands.

    Attributes:
        paths: Full heading paths of all text in it; None when they are not known, so that any rule may be meant.
    """

    paths: tuple[HeadingPath, ...] | None = field(default=((),))


def place_of(heading_path: Sequence[str], section_paths: Iterable[Sequence[str]] | None) -> Place:
    """The place of a stored passage.

    Args:
        heading_path: As it is shown.
        section_paths: Full paths, kept where the shown one does not say it all; else empty or None.
    """
    if section_paths:
        return Place(tuple(tuple(path) for path in section_paths))
    if len(heading_path) >= MAX_SHOWN_HEADINGS:  # headings further out may have been left out
        return Place(None)
    return Place((tuple(heading_path),))


def covers(rule: SectionRule, place: Place) -> bool:
    """Whether any text of the place is, or may be, in the rule's section."""
    if place.paths is None:
        return True
    wanted = _folded(rule.heading)
    return any(_runs_through(_folded(path), wanted) for path in place.paths)


def list_for(acl: Acl, rules: Sequence[SectionRule], place: Place) -> Acl:
    """The access list of a part of a document with this list and these rules."""
    if not rules:
        return acl
    return reduce(
        _tightened, (rule for rule in rules if rule.standing is Standing.LOST or covers(rule, place)), acl
    )


def list_inside(acl: Acl, rules: Sequence[SectionRule]) -> Acl:
    """The access list for what is found inside the document: it may belong to any section."""
    return reduce(_tightened, rules, acl)


def reads_whole(acl: Acl, rules: Sequence[SectionRule], principal: Principal) -> bool:
    """Whether the principal may read every part of the live text, and so its bytes, full text and outline."""
    counting = [rule for rule in rules if rule.standing is not Standing.ABSENT]
    return permits(list_inside(acl, counting), principal)


def stated(
    present: Iterable[SectionRule], rules: Iterable[SectionRule], places: Sequence[Place]
) -> tuple[SectionRule, ...]:
    """Rules that a person sets for the live text, whose parts stand at these places, in place of the present ones.

    A heading that was lost stays so until its rule comes as `ABSENT`: setting something else confirms nothing.
    """
    lost = {_folded(rule.heading) for rule in present if rule.standing is Standing.LOST}

    def standing_of(rule: SectionRule) -> Standing:
        if _is_there(rule, places):
            return Standing.FOUND
        is_confirmed = rule.standing is Standing.ABSENT or _folded(rule.heading) not in lost
        return Standing.ABSENT if is_confirmed else Standing.LOST

    return tuple(replace(rule, standing=standing_of(rule), is_outgoing=False) for rule in rules)


def awaiting(present: Sequence[SectionRule], rules: Sequence[SectionRule]) -> tuple[SectionRule, ...]:
    """Rules that a source states with a new text, and until that is live those that counted before, too."""
    kept = {_terms_of(rule): rule for rule in present if not rule.is_outgoing}
    coming = [
        kept.pop(_terms_of(rule), replace(rule, standing=Standing.AWAITED, is_outgoing=False))
        for rule in rules
    ]
    outgoing = [rule for rule in present if rule.is_outgoing]
    outgoing += [replace(rule, is_outgoing=True) for rule in kept.values()]
    return (*coming, *outgoing)


def judged(rules: Iterable[SectionRule], places: Sequence[Place]) -> tuple[SectionRule, ...]:
    """The rules once a text with parts at these places is live."""
    return tuple(replace(rule, standing=_standing_in(rule, places)) for rule in rules if not rule.is_outgoing)


def _standing_in(rule: SectionRule, places: Sequence[Place]) -> Standing:
    if _is_there(rule, places):
        return Standing.FOUND
    return Standing.ABSENT if rule.standing is Standing.ABSENT else Standing.LOST


def _is_there(rule: SectionRule, places: Sequence[Place]) -> bool:
    return any(covers(rule, place) for place in places)


def _tightened(acl: Acl, rule: SectionRule) -> Acl:
    allow = frozenset() if EVERYONE in rule.deny else rule.allow
    return narrowed(acl, Acl(acl.owner, allow, rule.deny - {EVERYONE, user_principal(acl.owner)}))


def _terms_of(rule: SectionRule) -> tuple[HeadingPath, frozenset[PrincipalId], frozenset[PrincipalId]]:
    return _folded(rule.heading), rule.allow, rule.deny


def _folded(path: Iterable[str]) -> HeadingPath:
    return tuple(" ".join(heading.split())[:MAX_HEADING_CHARS].casefold() for heading in path)


def _runs_through(path: HeadingPath, wanted: HeadingPath) -> bool:
    length = len(wanted)
    return any(path[at : at + length] == wanted for at in range(len(path) - length + 1))

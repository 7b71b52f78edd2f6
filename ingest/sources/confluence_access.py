"""Who may read a Confluence page: those who may view its space and pass every restriction on the way down. Pure.

An access list allows whoever is in any of its principals, so it cannot say "in this group and in that one".
The readers are therefore those principals that pass each step by themselves: a restriction to a user passes a
space that is open to a group only where that group is known to hold everybody (the option `users_group`). What
cannot be expressed or understood opens nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ingest.sources.confluence_space import Page, PermissionSet, Site, Subject
from ingest.sources.identities import Identities
from retrieval.access import EVERYONE, Acl, PrincipalId

Readers = frozenset[PrincipalId]
_NOBODY: Readers = frozenset()


@dataclass(frozen=True, slots=True)
class ConfluenceRules:
    """What a source's options say.

    Attributes:
        space_by_source: Whether the source's own access list takes the place of the space permissions.
        users_group: A group that every user of Confluence belongs to; empty when there is none.
        anonymous_is_everyone: Whether a space open to anonymous visitors is open to every user of the desk.
    """

    default_acl: Acl
    identities: Identities
    space_by_source: bool
    users_group: str
    anonymous_is_everyone: bool


class PageAccess:
    """Works out access lists for the pages of one export."""

    def __init__(self, site: Site, rules: ConfluenceRules) -> None:
        """Judge pages of `site`."""
        self._site = site
        self._rules = rules
        group = rules.identities.group
        # From the widest on: whoever is in one of these is in those before it.
        self._widest = [EVERYONE, group("anonymous"), group("all-users")]
        if rules.users_group:
            self._widest.append(group(rules.users_group))
        # The desk's own principals; nobody says whether they are users of Confluence.
        self._foreign = rules.default_acl.allow if rules.space_by_source else _NOBODY

    def acl_of(self, page: Page) -> Acl:
        """Who may read a page.

        Access: deny by default. Unknown spaces, parents, kinds of restrictions and subjects let nobody in
        but the source's owner; the source's own denials always hold.
        """
        owner, deny = self._rules.default_acl.owner, self._rules.default_acl.deny
        return Acl(owner, frozenset(self._readers(page)), deny)

    def _readers(self, page: Page) -> Readers:
        readers = self._space_readers(page)
        seen: set[str] = set()
        current: Page | None = page
        while current is not None:
            if current.id in seen or current.has_lost_restrictions:
                return _NOBODY
            seen.add(current.id)
            for restriction in current.restrictions:
                if restriction.kind != "edit":
                    readers = self._narrowed(readers, self._restricted_to(restriction))
            if current.parent_id and current.parent_id not in self._site.pages:
                return _NOBODY
            current = self._site.pages.get(current.parent_id)
        return readers

    def _space_readers(self, page: Page) -> Readers:
        space = self._site.spaces.get(page.space_id)
        if space is None:
            return _NOBODY
        if self._rules.space_by_source:
            return self._rules.default_acl.allow
        return self._principals(space.viewers)

    def _restricted_to(self, restriction: PermissionSet) -> Readers:
        """Whom a restriction lets pass; a kind that is unknown lets nobody pass."""
        return self._principals(restriction.subjects) if restriction.kind == "view" else _NOBODY

    def _principals(self, subjects: Iterable[Subject]) -> Readers:
        found = (self._principal(subject) for subject in subjects)
        return frozenset(principal for principal in found if principal is not None)

    def _principal(self, subject: Subject) -> PrincipalId | None:
        identities = self._rules.identities
        if subject.group:
            return identities.group(subject.group)
        if subject.user:
            person = self._site.people.get(subject.user)
            name = person.name if person else subject.user
            return identities.user(
                person.email if person else "", name if self._is_name(subject.user) else ""
            )
        if subject.everybody == "anonymous" and self._rules.anonymous_is_everyone:
            return EVERYONE
        return {"anonymous": identities.group("anonymous"), "users": identities.group("all-users")}.get(
            subject.everybody
        )

    def _is_name(self, user: str) -> bool:
        """Whether a user's name is known: through the list of users, or because the export has no such list."""
        return user in self._site.people or not self._site.people

    def _narrowed(self, readers: Readers, restricted_to: Readers) -> Readers:
        """Principals that pass both steps by themselves."""
        return frozenset(
            principal
            for principal in readers | restricted_to
            if self._passes(principal, readers) and self._passes(principal, restricted_to)
        )

    def _passes(self, principal: PrincipalId, step: Collection[PrincipalId]) -> bool:
        """Whether everybody behind a principal is among those whom a step lets pass."""
        if principal in step:
            return True
        if principal in self._foreign:
            return EVERYONE in step
        at = self._widest.index(principal) if principal in self._widest else len(self._widest)
        return not set(self._widest[:at]).isdisjoint(step)

"""Who may read what: the one place that decides.

`permits` judges one document for one principal. `filter_for` gives the same rule as a condition for the
index. A property test holds the two equal. The rule (design.md, invariants 2 and 3):

- a denied principal never reads, whatever else applies;
- the owner reads;
- an allowed principal reads;
- everybody else does not: an empty `Acl` is readable by its owner only.

This module does no I/O, logs nothing and reads no clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NewType

UserId = NewType("UserId", str)
"""A user's stable id, without prefix, for example `mara.lindqvist`."""

PrincipalId = NewType("PrincipalId", str)
"""`user:<id>` or `group:<qualified name>`. Equality is exact: no case folding, no aliases."""

EVERYONE = PrincipalId("group:everyone")
"""The group that every known principal belongs to."""


@dataclass(frozen=True)  # without slots, so that the sets of ids are made once and not for every passage
class Principal:
    """Somebody who asks.

    Attributes:
        user_id: Who it is.
        groups: Ids of the groups the user belongs to now, nested ones resolved, without `EVERYONE`.
        scopes: What the credential may be used for, for example `search` or `documents:write`.
        acted_by: Whose service key asks on this user's behalf; empty when the user itself asks.
        aliases: Other ids that are linked to the user: what is theirs is the user's too.
        deny_only: Groups that the user may or may not be in, because nobody listed their members for certain.
            They count where a list denies, and nowhere else.
    """

    user_id: UserId
    groups: frozenset[PrincipalId] = frozenset()
    scopes: frozenset[str] = frozenset()
    acted_by: UserId = UserId("")
    aliases: frozenset[UserId] = frozenset()
    deny_only: frozenset[PrincipalId] = frozenset()

    @property
    def acting_for(self) -> bool:
        """Whether a service key asks on this user's behalf."""
        return bool(self.acted_by)

    @cached_property
    def user_ids(self) -> frozenset[UserId]:
        """Every user id that is this user's: owners are compared with these."""
        return self.aliases | {self.user_id}

    @cached_property
    def allow_ids(self) -> frozenset[PrincipalId]:
        """Every principal id that an access list may name to let this principal in."""
        return self.groups | {EVERYONE, *(user_principal(user_id) for user_id in self.user_ids)}

    @cached_property
    def deny_ids(self) -> frozenset[PrincipalId]:
        """Every principal id that an access list may name to shut this principal out: never fewer."""
        return self.allow_ids | self.deny_only


@dataclass(frozen=True, slots=True)
class Acl:
    """Access list of one document.

    Attributes:
        owner: The user who looks after the document.
        allow: Principals who may read it.
        deny: Principals who may not; wins over `allow` and over ownership.
    """

    owner: UserId
    allow: frozenset[PrincipalId] = frozenset()
    deny: frozenset[PrincipalId] = frozenset()


@dataclass(frozen=True, slots=True)
class AccessFilter:
    """The index condition for one principal. Made by `filter_for` only; there is no "everything" value.

    Attributes:
        allow: Hashes of `Principal.allow_ids`: a visible point's `readers` contain one of them.
        deny: Hashes of `Principal.deny_ids`: a visible point's `denied` contain none of them.
        outdated: Ids of sources of which nothing is visible, as their permission data are too old.
        owners: Hashes of a previewer's own ids, one of which the `readers` have to contain besides; empty
            where nobody previews.
    """

    allow: frozenset[int] = field(repr=False)
    deny: frozenset[int] = field(repr=False)
    outdated: frozenset[str] = frozenset()
    owners: frozenset[int] = field(default=frozenset(), repr=False)

    def admits(self, readers: Collection[int], denied: Iterable[int], source_id: str = "") -> bool:
        """Whether a point with these hashed lists passes; what an index adapter has to implement."""
        is_owned = not self.owners or not self.owners.isdisjoint(readers)
        is_named = not self.allow.isdisjoint(readers) and self.deny.isdisjoint(denied)
        return is_named and is_owned and source_id not in self.outdated


def source_of(group: PrincipalId) -> str:
    """What qualifies a group's id: the part before the first "/"; empty for a group of the directory itself."""
    qualifier, slash, _ = group.removeprefix("group:").partition("/")
    return qualifier if slash else ""


def user_principal(user_id: UserId) -> PrincipalId:
    """The principal id of a user."""
    return PrincipalId(f"user:{user_id}")


def permits(acl: Acl, principal: Principal) -> bool:
    """Whether the principal may read a document with this access list."""
    if not principal.deny_ids.isdisjoint(acl.deny):
        return False
    return acl.owner in principal.user_ids or not principal.allow_ids.isdisjoint(acl.allow)


def narrowed(acl: Acl, bound: Acl) -> Acl:
    """The access list without anybody whom `bound` does not let in: what `narrowed` permits, `bound` permits.

    Lists are compared name by name: a user whom `bound` lets in only as a member of a group is left out. The
    owner is that of `bound`.
    """
    allow = acl.allow if EVERYONE in bound.allow else acl.allow & bound.allow
    if EVERYONE in acl.allow:
        allow |= bound.allow
    return Acl(bound.owner, allow, acl.deny | bound.deny)


def common(acl: Acl, other: Acl) -> Acl:
    """The list of `acl` without anybody whom `other` does not let in; what it permits, both permit.

    Lists are compared name by name, as in `narrowed`. The owner is that of `acl`, and is denied unless `other`
    lets it in by its own name or everyone.
    """
    owner = user_principal(acl.owner)
    named = other.allow | {user_principal(other.owner)}
    both = narrowed(replace(acl, allow=acl.allow | {owner}), replace(other, allow=named))
    denied = both.deny if EVERYONE in named or owner in named else both.deny | {owner}
    allow = both.allow if owner in acl.allow else both.allow - {owner}
    return Acl(acl.owner, allow, denied)


def owns(acl: Acl, principal: Principal) -> bool:
    """Whether the principal owns what has this access list, a document or a part of one, and may read it."""
    return acl.owner in principal.user_ids and permits(acl, principal)


def filter_for(
    principal: Principal, *, outdated: Collection[str], previewer: Principal | None = None
) -> AccessFilter:
    """The same rule as `permits`, as a condition that an index can evaluate.

    Args:
        principal: Who reads.
        outdated: Ids of sources whose permission data are too old for anything of them to be read.
        previewer: Who looks at what the principal would find among the documents that this one owns: at most
            these pass, and some of others that name the previewer; `owns` sees to the rest.
    """
    allow = frozenset(map(hash_principal, principal.allow_ids))
    own = () if previewer is None else map(user_principal, previewer.user_ids)
    return AccessFilter(
        allow,
        allow | set(map(hash_principal, principal.deny_only)),
        frozenset(outdated),
        frozenset(map(hash_principal, own)),
    )


def hash_principal(principal_id: PrincipalId) -> int:
    """A principal id as a 63-bit integer, which an index filters faster than a string.

    Two ids that collide (chance about 2^-63 a pair) could only widen the index's candidates; the check
    against the catalogue compares the full ids.
    """
    digest = hashlib.blake2b(principal_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def hashed_readers(acl: Acl) -> tuple[int, ...]:
    """Hashes of everyone an access list lets in: the owner and the allowed, sorted."""
    return tuple(sorted({hash_principal(p) for p in acl.allow | {user_principal(acl.owner)}}))


def hashed_denied(acl: Acl) -> tuple[int, ...]:
    """Hashes of everyone an access list shuts out, sorted."""
    return tuple(sorted({hash_principal(p) for p in acl.deny}))

"""How deep groups lie in groups. Pure: decides over the groups' own memberships, whoever stores them.

A group may be in any number of groups, and in itself by way of others: a cycle gives its groups the same members
and harms nothing. Depth is counted by the shortest ways, so it ends there too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from retrieval.access import PrincipalId

MAX_LEVELS = 10
"""Most groups that lie between a user and the outermost group the user is in, both ends of the chain counted."""

Parents = Mapping[PrincipalId, Collection[PrincipalId]]
"""Groups by the group that is a direct member of them."""


def levels_above(group: PrincipalId, parents: Parents) -> int:
    """Levels of groups that a member of `group` is in, the group itself counted: at least 1."""
    reached, frontier, levels = {group}, {group}, 0
    while frontier:
        levels += 1
        frontier = {parent for each in frontier for parent in parents.get(each, ())} - reached
        reached |= frontier
    return levels


def too_deep(changed: Iterable[PrincipalId], parents: Parents) -> PrincipalId | None:
    """A group that lies deeper than `MAX_LEVELS`, among the changed ones and all below them.

    Args:
        changed: Groups that were put into another one.
        parents: All memberships of groups in groups, those of the change included.

    Returns:
        The first such group in order of id, None when there is none.
    """
    children: dict[PrincipalId, set[PrincipalId]] = defaultdict(set)
    for group, above in parents.items():
        for parent in above:
            children[parent].add(group)
    below = set(changed)
    waiting = list(below)
    while waiting:
        fresh = children[waiting.pop()] - below
        below |= fresh
        waiting += fresh
    return next((group for group in sorted(below) if levels_above(group, parents) > MAX_LEVELS), None)

"""How deep groups lie, with and without cycles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retrieval.access import PrincipalId
from retrieval.nesting import MAX_LEVELS, levels_above, too_deep

GROUPS = [PrincipalId(f"group:{number}") for number in range(14)]


def chain(n_groups: int) -> dict[PrincipalId, set[PrincipalId]]:
    """Groups 0 in 1 in 2 and so on."""
    return {GROUPS[number]: {GROUPS[number + 1]} for number in range(n_groups - 1)}


def test_ten_levels_are_allowed_and_eleven_are_not() -> None:
    """The limit counts groups, from the one that a user is in to the outermost."""
    assert levels_above(GROUPS[0], chain(MAX_LEVELS)) == MAX_LEVELS
    assert too_deep(GROUPS, chain(MAX_LEVELS)) is None
    assert too_deep([GROUPS[10]], chain(MAX_LEVELS + 1)) == GROUPS[0]


def test_a_change_above_is_judged_for_everything_below() -> None:
    """Putting the top of one chain into another makes the bottom too deep, and is refused."""
    joined = chain(12)
    assert too_deep([GROUPS[6]], joined) == GROUPS[0]
    assert (
        too_deep([GROUPS[3]], {group: above for group, above in joined.items() if group != GROUPS[1]}) is None
    )


def test_a_cycle_is_as_deep_as_it_is_long() -> None:
    """Going round a second time adds nothing."""
    ring = {**chain(10), GROUPS[9]: {GROUPS[0]}}
    assert levels_above(GROUPS[4], ring) == 10
    assert too_deep(GROUPS, ring) is None


@given(
    st.dictionaries(st.sampled_from(GROUPS), st.sets(st.sampled_from(GROUPS), max_size=3)),
    st.sampled_from(GROUPS),
)
def test_levels_are_the_steps_until_nothing_new_is_found(
    parents: dict[PrincipalId, set[PrincipalId]], group: PrincipalId
) -> None:
    """Equal to walking upwards step by step, which is what a limited look-up would do."""
    seen = [{group}]
    while fresh := {p for g in seen[-1] for p in parents.get(g, set())} - set().union(*seen):
        seen.append(fresh)
    assert levels_above(group, parents) == len(seen)

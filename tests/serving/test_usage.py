"""Usage is counted, and nobody is singled out by it."""

from __future__ import annotations

from datetime import date

import hypothesis.strategies as st
from hypothesis import given

from serving.usage import FEWEST, Asked, Breakdown, Tally, usage_of

MONDAY, TUESDAY, WEDNESDAY = date(2026, 11, 2), date(2026, 11, 3), date(2026, 11, 4)


def make_asked(
    asker: str, day: date = MONDAY, *sources: str, was_found: bool = True, tokens: int = 10
) -> Asked:
    """One answer."""
    return Asked(asker, day, was_found, frozenset(sources), tokens)


def crowd(day: date, *sources: str, n: int = FEWEST) -> list[Asked]:
    """Answers to as many people as may be counted by themselves."""
    return [make_asked(f"p{number}", day, *sources) for number in range(n)]


def test_everything_is_counted() -> None:
    """Found and not found, tokens, and people once however often they ask."""
    answers = [*crowd(MONDAY, "a", "b"), make_asked("p1", MONDAY, was_found=False, tokens=0)]
    usage = usage_of(answers)
    assert usage.total == Tally(n_questions=6, n_found=5, n_tokens=50, n_askers=5)
    assert usage.total.n_not_found == 1
    assert usage.by_day == Breakdown({MONDAY: usage.total}, None)
    assert usage.by_source.cells == {"a": Tally(5, 5, 50, 5), "b": Tally(5, 5, 50, 5)}


def test_few_people_are_not_broken_down() -> None:
    """Four are counted in the total only."""
    usage = usage_of([*crowd(MONDAY, "a", n=2), *crowd(TUESDAY, "b", n=4)])
    assert usage.total.n_questions == 6
    assert usage.by_day == Breakdown({}, None)
    assert usage.by_source == Breakdown({}, None)


def test_what_the_total_would_tell_is_put_together() -> None:
    """A day with one asker takes another day along, since the total less the rest would be that one."""
    usage = usage_of([*crowd(MONDAY, n=9), *crowd(TUESDAY, n=6), make_asked("p0", WEDNESDAY)])
    assert set(usage.by_day.cells) == {MONDAY}
    assert usage.by_day.rest == Tally(n_questions=7, n_found=7, n_tokens=70, n_askers=6)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(2, 6), st.booleans()), max_size=80))
def test_no_count_covers_few_people(answers: list[tuple[int, int, bool]]) -> None:
    """Neither a cell nor what is left when the cells are taken from the total."""
    asked = [make_asked(f"p{who}", date(2026, 11, day), was_found=found) for who, day, found in answers]
    usage = usage_of(asked)
    by_day = usage.by_day
    assert all(tally.n_askers >= FEWEST for tally in by_day.cells.values())
    left = [each for each in asked if each.day not in by_day.cells]
    if by_day.cells and left:
        assert by_day.rest is not None
        assert by_day.rest.n_askers == len({each.asker for each in left}) >= FEWEST
        assert by_day.rest.n_questions == len(left)

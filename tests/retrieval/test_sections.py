"""Section rules: they only narrow, reach all that stands below a heading, and outlive the heading."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.access import EVERYONE, Acl, Principal, permits
from retrieval.sections import (
    MAX_HEADING_CHARS,
    Place,
    SectionRule,
    Standing,
    awaiting,
    covers,
    judged,
    list_for,
    list_inside,
    place_of,
    reads_whole,
    stated,
)
from tests.make import make_acl, make_principal
from tests.retrieval.test_access import PRINCIPALS, acls, principals

HEADINGS = st.sampled_from(["Pay", "Directors", "Leave"])
PATHS = st.lists(HEADINGS, max_size=3).map(tuple)
PLACES = st.one_of(st.just(Place(None)), st.lists(PATHS, min_size=1, max_size=2).map(tuple).map(Place))
RULES = st.builds(
    SectionRule,
    st.lists(HEADINGS, min_size=1, max_size=2).map(tuple),
    st.frozensets(PRINCIPALS, max_size=3),
    st.frozensets(PRINCIPALS, max_size=2),
    st.sampled_from(Standing),
    st.booleans(),
)
"""Rules of any kind."""


@given(acls, st.lists(RULES, max_size=3), PLACES, principals)
def test_a_part_is_read_by_whom_document_and_rules_let_in(
    acl: Acl, rules: list[SectionRule], place: Place, principal: Principal
) -> None:
    """Nobody reads a part who may not read the document, or whom a rule over it does not let in."""
    if not permits(list_for(acl, rules, place), principal):
        return
    assert permits(acl, principal)
    owns = acl.owner in principal.user_ids
    own_name = f"user:{acl.owner}"
    for rule in rules:
        if covers(rule, place) or rule.standing is Standing.LOST:
            assert owns or principal.allow_ids & rule.allow
            assert owns or EVERYONE not in rule.deny
            assert not principal.deny_ids & rule.deny - {EVERYONE, own_name}


@given(acls, st.lists(RULES, max_size=3), PLACES, principals)
def test_who_reads_the_whole_reads_every_part(
    acl: Acl, rules: list[SectionRule], place: Place, principal: Principal
) -> None:
    """No place is closed to somebody who may have the full text, as far as the rules' headings were found out."""
    known = [rule for rule in rules if rule.standing is not Standing.ABSENT]
    if reads_whole(acl, rules, principal):
        assert permits(list_for(acl, known, place), principal)
    if permits(list_inside(acl, rules), principal):
        assert permits(list_for(acl, rules, place), principal)


@given(acls, PLACES)
def test_without_rules_the_document_has_one_list(acl: Acl, place: Place) -> None:
    """It is the document's own."""
    assert list_for(acl, (), place) is acl


def test_the_owner_reads_what_a_rule_lets_nobody_read() -> None:
    """A rule without names, one against the owner's name and one against everybody leave the owner."""
    acl, place = make_acl("olga", allow=("group:everyone",)), Place((("Pay",),))
    for rule in (_rule(), _rule(deny=("user:olga",)), _rule(deny=("group:everyone",))):
        narrow = list_for(acl, [rule], place)
        assert permits(narrow, make_principal("olga"))
        assert not permits(narrow, make_principal("ada", "hr"))


def test_names_have_to_stand_in_both_lists() -> None:
    """Everyone stands for every name; else a group is let in by its name in both."""
    place, rule = Place((("Pay",),)), _rule(allow=("group:hr",))
    hr_staff = make_principal("ada", "hr", "staff")
    assert permits(list_for(make_acl(allow=("group:everyone",)), [rule], place), hr_staff)
    assert permits(list_for(make_acl(allow=("group:staff", "group:hr")), [rule], place), hr_staff)
    assert not permits(list_for(make_acl(allow=("group:staff",)), [rule], place), hr_staff)


@pytest.mark.parametrize(
    ("heading", "path", "is_covered"),
    [
        (("Pay",), ("Pay",), True),
        (("Pay",), ("Handbook", "Pay", "Directors", "Bonus"), True),
        (("Pay", "Directors"), ("Handbook", "Pay", "Directors"), True),
        (("Pay", "Directors"), ("Handbook", "Pay"), False),
        (("Handbook", "Directors"), ("Handbook", "Pay", "Directors"), False),
        (("Pay",), ("Payments",), False),
        (("pay  of\tdirectors",), ("Pay of Directors",), True),
        (("x" * 500,), ("x" * MAX_HEADING_CHARS,), True),
        (("Pay",), (), False),
    ],
)
def test_a_rule_reaches_everything_below_its_heading(
    heading: tuple[str, ...], path: tuple[str, ...], is_covered: bool
) -> None:
    """Headings are compared whole, without regard to case, white space and what is cut off."""
    assert covers(SectionRule(heading), Place((path,))) is is_covered


def test_text_of_several_sections_is_under_every_rule() -> None:
    """One path that fits is enough."""
    assert covers(_rule(), Place((("Leave",), ("Pay",))))


def test_a_passage_whose_outer_headings_are_not_known_is_under_every_rule() -> None:
    """Before full paths were kept, four headings could have had others above them."""
    assert place_of(["a", "b", "c", "d"], None) == Place(None)
    assert covers(_rule(), Place(None))
    assert place_of(["b", "c", "d", "e"], [["a", "b", "c", "d", "e"]]).paths == (("a", "b", "c", "d", "e"),)
    assert place_of(["a"], None).paths == (("a",),)


def test_a_heading_that_vanishes_closes_the_text_until_it_is_confirmed() -> None:
    """The rule then counts for everything; a text that has the heading again, or its owner, opens the rest."""
    acl, leave = make_acl(allow=("group:everyone",)), Place((("Leave",),))
    with_pay = [leave, Place((("Pay",),))]
    (found,) = judged(awaiting((), [_rule(allow=("group:hr",))]), with_pay)
    assert found.standing is Standing.FOUND
    assert permits(list_for(acl, [found], leave), make_principal("bo"))
    (lost,) = judged([found], [leave])
    assert lost.standing is Standing.LOST
    assert not permits(list_for(acl, [lost], leave), make_principal("bo"))
    assert permits(list_for(acl, [lost], leave), make_principal("ada", "hr"))
    assert judged([lost], with_pay)[0].standing is Standing.FOUND
    (again,) = stated([lost], [_rule(allow=("group:board",))], [leave])
    assert again.standing is Standing.LOST
    (confirmed,) = stated([lost], [replace(_rule(), standing=Standing.ABSENT)], [leave])
    assert confirmed.standing is Standing.ABSENT
    assert permits(list_for(acl, [confirmed], leave), make_principal("bo"))
    assert judged([confirmed], [leave])[0].standing is Standing.ABSENT
    assert judged([confirmed], with_pay)[0].standing is Standing.FOUND


def test_a_rule_stated_with_a_text_that_lacks_its_heading_closes_it() -> None:
    """A misspelt heading of a push is no silent opening."""
    assert judged(awaiting((), [_rule()]), [Place()])[0].standing is Standing.LOST


def test_rules_of_the_live_text_stay_until_the_new_one_is_live() -> None:
    """Both count meanwhile; what is stated again keeps its standing."""
    before = judged(awaiting((), [_rule(), SectionRule(("Leave",))]), [Place((("Pay",), ("Leave",)))])
    meanwhile = awaiting(before, [_rule(), SectionRule(("Travel",))])
    assert {(rule.heading, rule.standing, rule.is_outgoing) for rule in meanwhile} == {
        (("Pay",), Standing.FOUND, False),
        (("Travel",), Standing.AWAITED, False),
        (("Leave",), Standing.FOUND, True),
    }
    after = judged(meanwhile, [Place((("Pay",),)), Place((("Travel",),))])
    assert {rule.heading for rule in after} == {("Pay",), ("Travel",)}
    assert awaiting(meanwhile, ()) == tuple(
        replace(rule, is_outgoing=True) for rule in sorted(meanwhile, key=lambda each: not each.is_outgoing)
    )


def _rule(*, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> SectionRule:
    named = make_acl(allow=allow, deny=deny)
    return SectionRule(("Pay",), named.allow, named.deny)

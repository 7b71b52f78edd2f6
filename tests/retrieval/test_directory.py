"""Users, groups in groups and other ids, on both databases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert

from retrieval.access import Acl, PrincipalId, UserId, permits, user_principal
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.directory import SqlDirectory, UserChange
from retrieval.adapters.sql.groups import INCOMPLETE_GRACE, GroupChange, SqlGroups
from retrieval.adapters.sql.links import SqlLinks
from retrieval.adapters.sql.models import AclEntryRow, DocumentRow, MembershipRow, SourceRow
from retrieval.adapters.sql.section_rules import stored_rules
from retrieval.errors import ConflictError, GroupsTooDeepError, IdentityTakenError, NotFoundError
from retrieval.sections import SectionRule
from tests.make import NOON, make_acl

MARA, BO = UserId("mara"), UserId("bo")


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


class World:
    """An empty directory."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.database = Database(url)
        self.database.migrate()
        self.people = SqlDirectory(self.database, self.clock)
        self.groups = SqlGroups(self.database, self.clock)
        self.links = SqlLinks(self.database, self.clock)

    def put(self, user: UserId, *groups: str) -> None:
        """Put a user into the directory."""
        self.people.put_user(user, name="", groups=ids(*groups))

    def nest(self, group: str, *members: str) -> None:
        """Add members, with their prefix, to a group."""
        self.groups.change(only(group), GroupChange(add=frozenset(map(PrincipalId, members))))

    def of(self, user: UserId) -> frozenset[PrincipalId]:
        """All groups of a user."""
        return self.people.standing_of(user).groups

    def shut_out(self, user: UserId) -> frozenset[PrincipalId]:
        """Groups that count against a user only."""
        return self.people.standing_of(user).deny_only


def ids(*groups: str) -> frozenset[PrincipalId]:
    """Ids of groups."""
    return frozenset(PrincipalId(f"group:{group}") for group in groups)


def only(group: str) -> PrincipalId:
    """The id of a group."""
    return PrincipalId(f"group:{group}")


@pytest.fixture
def world(catalogue_url: str) -> Iterator[World]:
    """An empty directory, on each database."""
    opened = World(catalogue_url)
    yield opened
    opened.database.close()


def test_groups_reach_through_ten_levels(world: World) -> None:
    """A user is in the tenth group by way of nine; an eleventh is refused and changes nothing."""
    world.put(MARA, "g1")
    for number in range(1, 10):
        world.groups.create(only(f"g{number + 1}"), GroupChange(add=ids(f"g{number}")))
    assert world.of(MARA) == ids(*(f"g{number}" for number in range(1, 11)))
    with pytest.raises(GroupsTooDeepError, match="group:g1 "):
        world.groups.create(only("g11"), GroupChange(name="Eleven", add=ids("g10")))
    with pytest.raises(NotFoundError):
        world.groups.group(only("g11"))
    with pytest.raises(GroupsTooDeepError):
        world.nest("g1", "group:g0")
    assert world.groups.members(only("g1")) == [user_principal(MARA)]


def test_a_cycle_gives_its_groups_the_same_members(world: World) -> None:
    """And ends, however the look-up goes round."""
    world.put(MARA, "a")
    world.put(BO, "c")
    world.groups.create(only("b"), GroupChange(add=ids("a")))
    world.nest("c", "group:b")
    world.nest("a", "group:c", "group:a")
    assert world.of(MARA) == world.of(BO) == ids("a", "b", "c")


def test_what_is_resolved_is_what_walking_finds(world: World) -> None:
    """Random graphs with cycles: the one query finds what plain Python finds."""
    draw = random.Random(7)  # the same graph in every run
    names = [f"g{number}" for number in range(12)]
    inside: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        world.groups.create(only(name), GroupChange())
    for _ in range(20):
        outer, inner = draw.choice(names), draw.choice(names)
        try:
            world.nest(outer, f"group:{inner}")
        except GroupsTooDeepError:
            continue
        inside[outer].add(inner)
    for name in names:
        world.put(MARA, name)
        found, frontier = {name}, {name}
        while frontier := {o for o in names if inside[o] & frontier} - found:
            found |= frontier
        assert world.of(MARA) == ids(*found)


def test_thousands_of_groups_are_one_query(world: World) -> None:
    """However many there are and however they are nested, groups are looked up by one statement."""
    world.put(MARA)
    world.groups.create(only("outer"), GroupChange())
    direct = [only(f"team-{number}") for number in range(3000)]
    world.people.put_user(MARA, name="", groups=direct)
    world.nest("outer", *direct[:50])
    asked: list[str] = []
    event.listen(world.database.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    assert world.of(MARA) == {*direct, only("outer")}
    assert sum("memberships" in statement for statement in asked) == 1


def test_the_same_name_in_two_sources_is_two_groups(world: World) -> None:
    """A member of one gains nothing of the other, nor of the directory's own group of that name."""
    world.put(MARA, "slack/hr")
    world.put(BO, "confluence/hr")
    assert world.groups.group(only("slack/hr")).source == "slack"
    assert world.of(MARA).isdisjoint(world.of(BO) | ids("hr"))


def test_a_removed_member_is_out_at_once(world: World) -> None:
    """The next look-up says so; deleting a group takes it from everybody, and out of the groups it was in."""
    world.put(MARA, "hr")
    world.put(BO, "hr")
    world.groups.create(only("staff"), GroupChange(add=ids("hr")))
    world.groups.change(only("hr"), GroupChange(remove=frozenset({user_principal(MARA)})))
    assert world.of(MARA) == frozenset()
    assert world.of(BO) == ids("hr", "staff")
    world.groups.delete(only("hr"))
    assert world.of(BO) == frozenset()
    assert world.groups.members(only("staff")) == []


def test_an_unknown_group_opens_its_documents_when_it_arrives(world: World) -> None:
    """A list that names a group which nobody knows matches nobody; nothing of it has to be written again."""
    acl = make_acl(allow=("group:newcomers",))
    world.put(MARA)
    assert world.groups.unknown(ids("newcomers")) == ids("newcomers")
    assert not permits(acl, world.people.standing_of(MARA).principal())
    world.groups.create(only("newcomers"), GroupChange(add=frozenset({user_principal(MARA)})))
    assert world.groups.unknown(ids("newcomers")) == frozenset()
    assert permits(acl, world.people.standing_of(MARA).principal())


def test_groups_that_lists_name_and_nobody_knows_are_told(world: World) -> None:
    """By source, of its own list and of its documents' lists; deleted documents and known groups are left out."""
    world.put(MARA, "known")
    entries = {
        "a": ("allow", "group:known"),
        "b": ("allow", "group:newcomers"),
        "c": ("deny", "group:leavers"),
        "gone": ("allow", "group:of-the-deleted"),
        "e": ("allow", "group:everyone"),
        "u": ("allow", "user:nobody"),
    }
    with world.database.write() as session:
        named = {"wiki": ["group:wiki-readers"], "files": ["user:mara"]}
        session.add_all(_source(name, allow) for name, allow in named.items())
        session.flush()
        session.add_all(_document(id_) for id_ in entries)
        rule = SectionRule(("Pay",), ids("known", "payroll", "everyone"), ids("interns"))
        session.add(_document("s", section_rules=stored_rules([rule])))
        session.flush()
        session.add_all(
            AclEntryRow(document_id=id_, effect=effect, principal_id=principal)
            for id_, (effect, principal) in entries.items()
        )
    unknown = {"files": ids("newcomers", "leavers", "payroll", "interns"), "wiki": ids("wiki-readers")}
    assert world.groups.unknown_by_source() == unknown
    for name in ("newcomers", "payroll"):
        world.groups.create(only(name), GroupChange())
    assert world.groups.unknown_by_source() == {**unknown, "files": ids("leavers", "interns")}


def _source(id_: str, allow: list[str]) -> SourceRow:
    return SourceRow(
        id=id_, name=id_, kind="push", location="", owner="olga", allow=allow, deny=[], created_at=NOON
    )


def _document(id_: str, section_rules: list[Any] | None = None) -> DocumentRow:
    return DocumentRow(
        id=id_,
        source_id="files",
        external_id=id_,
        title=id_,
        source_title="",
        url="",
        tags=[],
        owner="olga",
        state="live",
        section_rules=section_rules,
        warnings=[],
        fingerprint="",
        modified_at=NOON,
        created_at=NOON,
        updated_at=NOON,
        deleted_at=NOON if id_ == "gone" else None,
    )


def test_a_list_cut_short_changes_nobody_and_counts_for_an_hour(world: World) -> None:
    """Nobody gains, earlier members keep the group for the grace, then it counts for nobody until it is whole."""
    world.put(MARA, "wiki/team")
    partial = GroupChange(members=frozenset({user_principal(BO)}), is_complete=False)
    world.put(BO)
    world.groups.change(only("wiki/team"), partial)
    assert (world.of(MARA), world.of(BO)) == (ids("wiki/team"), frozenset())
    world.clock.now += INCOMPLETE_GRACE / 2
    world.groups.change(only("wiki/team"), partial)  # failing again does not begin the grace anew
    world.clock.now += INCOMPLETE_GRACE / 2
    assert world.of(MARA) == ids("wiki/team")
    world.clock.now += timedelta(seconds=1)
    assert world.of(MARA) == frozenset()
    assert world.shut_out(MARA) == ids("wiki/team")
    whole = GroupChange(members=frozenset({user_principal(MARA), user_principal(BO)}), is_complete=True)
    world.groups.change(only("wiki/team"), whole)
    assert world.of(MARA) == world.of(BO) == ids("wiki/team")
    assert world.shut_out(MARA) == frozenset()


def test_a_list_cut_short_denies_as_before(world: World) -> None:
    """A group that counts for nobody any more, and groups around it, still shut out; another way in is one."""
    world.put(MARA, "wiki/team")
    for outer, inner in (("staff", "wiki/team"), ("all", "staff")):
        world.groups.create(only(outer), GroupChange(add=ids(inner)))
    world.groups.change(only("wiki/team"), GroupChange(is_complete=False))
    world.clock.now += INCOMPLETE_GRACE + timedelta(seconds=1)
    principal = world.people.standing_of(MARA).principal()
    for group in ("group:wiki/team", "group:staff", "group:all"):
        assert not permits(make_acl(allow=("group:everyone",), deny=(group,)), principal)
        assert not permits(make_acl(allow=(group,)), principal)
    world.nest("all", "user:mara")
    assert (world.of(MARA), world.shut_out(MARA)) == (ids("all"), ids("wiki/team", "staff"))


def test_a_group_that_names_somebody_unknown_shuts_them_out(world: World) -> None:
    """A user whom the directory does not know, with a key of their own, gains no group and escapes none."""
    world.groups.create(only("leavers"), GroupChange(add=frozenset({user_principal(BO)})))
    world.groups.create(only("outside"), GroupChange(add=ids("leavers", "oidc/guests")))
    standing = world.people.standing_of(BO)
    assert (standing.groups, standing.deny_only) == (frozenset(), ids("leavers", "outside"))
    vouched = world.people.standing_of(BO, vouched=ids("oidc/guests"))
    assert (vouched.groups, vouched.deny_only) == (ids("outside"), ids("leavers"))


def test_groups_of_a_provider_lie_in_groups_of_the_directory(world: World) -> None:
    """What a token says of somebody counts in the groups around it too."""
    world.put(MARA, "hr")
    world.groups.create(only("staff"), GroupChange(add=ids("oidc/people")))
    assert world.people.standing_of(MARA, vouched=ids("oidc/people")).groups == ids("hr", "staff")


def test_a_disabled_user_has_no_groups(world: World) -> None:
    """Nor other ids; enabled again, both are back."""
    world.put(MARA, "hr")
    world.links.link(MARA, "oidc", "42")
    world.people.change_user(MARA, UserChange(is_disabled=True))
    for user in (MARA, UserId("oidc:42")):
        standing = world.people.standing_of(user)
        assert (standing.may_come_in, standing.groups, standing.aliases) == (False, frozenset(), frozenset())
    world.people.change_user(MARA, UserChange(is_disabled=False))
    assert world.of(MARA) == ids("hr")


def test_a_linked_id_is_the_user(world: World) -> None:
    """Whoever comes in by it is the user; what is granted to it, or owned by it, is the user's."""
    world.put(MARA, "hr")
    world.links.link(MARA, "oidc", "42")
    world.links.link(MARA, "mail", "mara@example.org")
    standing = world.people.standing_of(UserId("oidc:42"))
    assert (standing.user_id, standing.groups) == (MARA, ids("hr"))
    principal = standing.principal()
    for named in ("user:mara", "user:oidc:42", "user:mara@example.org"):
        assert permits(make_acl(allow=(named,)), principal)
        assert not permits(make_acl(allow=("group:hr",), deny=(named,)), principal)
    assert permits(Acl(UserId("mara@example.org")), principal)
    assert not permits(make_acl(allow=("user:mara+x@example.org",)), principal)


def test_groups_name_members_by_other_ids(world: World) -> None:
    """A source that lists members by mail address means the users that these are linked to."""
    world.put(MARA)
    world.groups.create(only("slack/hr"), GroupChange(add=frozenset({PrincipalId("user:mara@example.org")})))
    assert world.of(MARA) == frozenset()
    world.links.link(MARA, "mail", "mara@example.org")
    assert world.of(MARA) == ids("slack/hr")


def test_a_mail_address_lets_nobody_in(world: World) -> None:
    """It says what access lists mean, never who somebody is."""
    world.put(MARA, "hr")
    world.links.link(MARA, "mail", "mara@example.org")
    standing = world.people.standing_of(UserId("mara@example.org"))
    assert (standing.user_id, standing.is_known) == (UserId("mara@example.org"), False)


def test_an_address_given_to_somebody_else_inherits_nothing(world: World) -> None:
    """Not while it is linked, not after the link has ended; only where somebody says so."""
    world.put(MARA)
    world.put(BO)
    world.links.link(MARA, "mail", "office@example.org")
    with pytest.raises(IdentityTakenError):
        world.links.link(BO, "mail", "office@example.org")
    world.links.unlink(MARA, "mail", "office@example.org")
    assert world.people.standing_of(MARA).aliases == frozenset()
    with pytest.raises(IdentityTakenError):
        world.links.link(BO, "mail", "office@example.org")
    with pytest.raises(IdentityTakenError):
        world.put(UserId("office@example.org"))
    assert world.people.standing_of(BO).aliases == frozenset()
    world.links.link(BO, "mail", "office@example.org", takeover=True)
    assert world.people.standing_of(BO).aliases == {UserId("office@example.org")}


def test_nobody_is_linked_to_a_user_of_the_directory(world: World) -> None:
    """Linking is no way to become somebody, whoever may do it."""
    world.put(MARA)
    world.put(BO)
    world.put(UserId("oidc:42"))
    for issuer, subject in (("mail", "bo"), ("oidc", "42")):
        with pytest.raises(IdentityTakenError):
            world.links.link(MARA, issuer, subject, takeover=True)


def test_ids_are_given_once(world: World) -> None:
    """A second user or group of an id is refused."""
    world.people.create_user(MARA, UserChange(name="Mara"))
    world.groups.create(only("hr"), GroupChange())
    with pytest.raises(ConflictError):
        world.people.create_user(MARA, UserChange())
    with pytest.raises(ConflictError):
        world.groups.create(only("hr"), GroupChange())


def test_pages_are_in_order_of_id(world: World) -> None:
    """Users, groups and members each go on after the last one shown."""
    for name in ("c", "a", "b"):
        world.put(UserId(name), "hr", f"in-{name}")
    assert [user.id for user in world.people.users(after="a", limit=1)] == ["b"]
    assert [group.id for group in world.groups.groups(after="group:hr", limit=2)] == [
        "group:in-a",
        "group:in-b",
    ]
    assert world.groups.members(only("hr"), after="user:a", limit=9) == ["user:b", "user:c"]


def test_members_of_before_groups_had_rows_still_count(catalogue_url: str) -> None:
    """The migration gives every group that has members a row."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    database = Database(catalogue_url)
    config = Config()
    config.set_main_option("script_location", "retrieval/adapters/sql/migrations")
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")
        connection.execute(
            text("insert into users (id, name, created_at) values ('mara', 'M', '2026-01-01')")
        )
        connection.execute(
            insert(MembershipRow),
            [{"group_id": g, "member_id": "user:mara"} for g in ("group:hr", "group:s/hr")],
        )
    database.migrate()
    people = SqlDirectory(database, Clock())
    assert people.standing_of(MARA).groups == ids("hr", "s/hr")
    assert people.user(MARA).login == "mara"
    assert SqlGroups(database, Clock()).group(only("s/hr")).source == "s"
    database.close()

"""One rule in three forms: `permits`, the index filter and the SQL condition agree on everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.access import (
    Acl,
    Principal,
    PrincipalId,
    UserId,
    filter_for,
    hash_principal,
    hashed_denied,
    hashed_readers,
    narrowed,
    owns,
    permits,
)
from retrieval.adapters.sql.corpus import DocumentFilter, SqlCorpus
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.models import AclEntryRow, DocumentRow, SourceRow
from tests.make import NOON, PRESENCE, make_acl, make_principal

USERS = st.sampled_from(["ada", "bo", "olga"]).map(UserId)
PRINCIPALS = st.sampled_from(
    ["user:ada", "user:bo", "user:olga", "group:everyone", "group:hr", "group:board", "group:ada"]
).map(PrincipalId)
GROUPS = st.sampled_from(["group:hr", "group:board", "group:ada", "group:HR"]).map(PrincipalId)

acls = st.builds(Acl, USERS, st.frozensets(PRINCIPALS, max_size=3), st.frozensets(PRINCIPALS, max_size=2))
principals = st.builds(
    Principal,
    USERS,
    st.frozensets(GROUPS, max_size=3),
    aliases=st.frozensets(USERS, max_size=2),
    deny_only=st.frozensets(GROUPS, max_size=2),
)


@given(acls, principals)
def test_filter_admits_what_permits_permits(acl: Acl, principal: Principal) -> None:
    """The hashed filter lets a document through exactly when the rule does."""
    admitted = filter_for(principal, outdated=()).admits(hashed_readers(acl), hashed_denied(acl))
    assert admitted == permits(acl, principal)


@given(acls, principals, principals)
def test_a_preview_stays_within_what_its_asker_owns(acl: Acl, principal: Principal, asker: Principal) -> None:
    """Whatever both rules let through passes the filter, and nothing of a source that is outdated does."""
    access = filter_for(principal, outdated={"old"}, previewer=asker)
    lists = hashed_readers(acl), hashed_denied(acl)
    assert access.admits(*lists, "s") or not (permits(acl, principal) and owns(acl, asker))
    assert not access.admits(*lists, "old")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """An empty catalogue with one source."""
    folder: Path = tmp_path_factory.mktemp("catalogue")
    database = Database(f"sqlite:///{folder / 'catalogue.db'}")
    database.migrate()
    with database.write() as session:
        session.add(
            SourceRow(
                id="s", name="s", kind="push", location="", owner="olga", allow=[], deny=[], created_at=NOON
            )
        )
    return database


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(acls, min_size=1, max_size=6), principals)
def test_listing_shows_what_permits_permits(
    database: Database, some: list[Acl], principal: Principal
) -> None:
    """The SQL condition lists a document exactly when the rule allows it."""
    with database.write() as session:
        session.query(AclEntryRow).delete()
        session.query(DocumentRow).delete()
        for number, acl in enumerate(some):
            session.add(_document(f"d{number}", acl))
            session.flush()
            session.add_all(_entries(f"d{number}", acl))
    listed = SqlCorpus(database, PRESENCE).documents(principal, DocumentFilter(), after=None, limit=100)
    expected = {f"d{number}" for number, acl in enumerate(some) if permits(acl, principal)}
    assert {document.id for document in listed} == expected


def test_no_acl_means_owner_only() -> None:
    """An empty access list lets nobody in but the owner."""
    acl = make_acl("olga")
    assert permits(acl, make_principal("olga"))
    assert not permits(acl, make_principal("ada", "hr"))


def test_deny_wins_over_ownership_and_allow() -> None:
    """A denied principal does not read, whatever else applies."""
    acl = make_acl("olga", allow=("group:everyone",), deny=("user:olga",))
    assert not permits(acl, make_principal("olga"))
    assert permits(acl, make_principal("ada"))


def test_a_group_in_doubt_shuts_out_and_lets_nobody_in() -> None:
    """Whoever may or may not be in a group is treated as a member where that takes, never where it gives."""
    in_doubt = replace(make_principal("ada"), deny_only=frozenset({PrincipalId("group:hr")}))
    allowed, denied = (
        make_acl(allow=("group:hr",)),
        make_acl(allow=("group:everyone",), deny=("group:hr",)),
    )
    for acl in (allowed, denied):
        assert not permits(acl, in_doubt)
        assert not filter_for(in_doubt, outdated=()).admits(hashed_readers(acl), hashed_denied(acl))
    assert permits(denied, make_principal("ada"))


def test_user_named_like_group_gains_nothing() -> None:
    """The user `hr` is not the group `hr`, and case matters."""
    acl = make_acl(allow=("group:hr",))
    assert not permits(acl, make_principal("hr"))
    assert not permits(acl, make_principal("ada", "HR"))


def test_hash_fits_a_signed_64_bit_integer() -> None:
    """Index engines store integers of 64 bits with a sign."""
    assert 0 <= hash_principal(PrincipalId("group:everyone")) < 2**63


def _document(id_: str, acl: Acl) -> DocumentRow:
    return DocumentRow(
        id=id_,
        source_id="s",
        external_id=id_,
        title=id_,
        source_title="",
        url="",
        tags=[],
        owner=acl.owner,
        state="live",
        warnings=[],
        fingerprint="",
        modified_at=NOON,
        created_at=NOON,
        updated_at=NOON,
    )


def _entries(id_: str, acl: Acl) -> list[AclEntryRow]:
    named = [("allow", p) for p in acl.allow] + [("deny", p) for p in acl.deny]
    return [AclEntryRow(document_id=id_, effect=effect, principal_id=p) for effect, p in named]


@given(acls, acls, principals)
def test_a_narrowed_list_lets_nobody_in_whom_the_bound_shuts_out(
    acl: Acl, bound: Acl, principal: Principal
) -> None:
    """What is found inside a document is readable by its readers only, whatever list a person sets on it."""
    assert permits(bound, principal) or not permits(narrowed(acl, bound), principal)
    assert narrowed(bound, bound) == bound

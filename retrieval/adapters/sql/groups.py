"""Groups, their members, and which groups somebody is in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Label,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.orm import Session

from retrieval.access import EVERYONE, PrincipalId, source_of
from retrieval.adapters.sql.database import Database, one_at_a_time
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import AclEntryRow, DocumentRow, GroupRow, MembershipRow, SourceRow
from retrieval.adapters.sql.rows import batches
from retrieval.adapters.sql.section_rules import NAMES_IN_RULE
from retrieval.corpus import SourceId
from retrieval.errors import GroupsTooDeepError, NotFoundError, TakenError
from retrieval.nesting import MAX_LEVELS, too_deep

INCOMPLETE_GRACE = timedelta(hours=1)
"""How long the members of a group keep it after its source failed to list them all."""

_LOCK = "directory"
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the directory.

    Attributes:
        id: Its principal id, which access lists name; never changes.
        name: Name to show.
        source: What qualifies the id; empty for a group of the directory itself.
        external_id: The id that a provisioning system has for it; empty without one.
        n_members: Direct members, users and groups.
        incomplete_since: When its source last failed to list all members; None while the list is whole.
    """

    id: PrincipalId
    name: str
    source: str
    external_id: str
    n_members: int
    created_at: datetime
    updated_at: datetime
    incomplete_since: datetime | None


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What to change of a group; what is None or empty stays.

    Attributes:
        members: The direct members afterwards; None keeps them, apart from `add` and `remove`.
        is_complete: Whether the list of members is whole. False changes no member at all.
    """

    name: str | None = None
    external_id: str | None = None
    members: frozenset[PrincipalId] | None = None
    add: frozenset[PrincipalId] = frozenset()
    remove: frozenset[PrincipalId] = frozenset()
    is_complete: bool | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """The groups that somebody is in.

    Attributes:
        certain: Those whose members are known.
        deny_only: All others, which are reached only by way of a list that is not whole, or of a name that lets
            nobody in: they count where an access list denies, and nowhere else.
    """

    certain: frozenset[PrincipalId] = frozenset()
    deny_only: frozenset[PrincipalId] = frozenset()


class SqlGroups:
    """Groups in SQL. A change counts from its commit on."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep groups in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def create(self, group_id: PrincipalId, change: GroupChange) -> Group:
        """Make a group with what `change` says of it.

        Raises:
            ConflictError: There is one of this id.
            GroupsTooDeepError: Its members would lie too deep in it.
        """
        with self._database.write() as session:
            lock_directory(session)
            if session.get(GroupRow, group_id) is not None:
                raise TakenError(f"there is a group {group_id} already")
            ensure_groups(session, [group_id], self._clock())
            return change_group(session, group_id, change, self._clock())

    def change(self, group_id: PrincipalId, change: GroupChange) -> Group:
        """Change a group in one transaction.

        Raises:
            NotFoundError: There is no such group.
            GroupsTooDeepError: A member would lie too deep; nothing is changed then.
        """
        with self._database.write() as session:
            lock_directory(session)
            return change_group(session, group_id, change, self._clock())

    def delete(self, group_id: PrincipalId) -> None:
        """Delete a group with all memberships; access lists that name it match nobody from then on.

        Raises:
            NotFoundError: There is no such group.
        """
        with self._database.write() as session:
            lock_directory(session)
            session.delete(_row(session, group_id))
            touched = or_(MembershipRow.group_id == group_id, MembershipRow.member_id == group_id)
            session.execute(delete(MembershipRow).where(touched))

    def group(self, group_id: PrincipalId) -> Group:
        """One group. Raises `NotFoundError` when there is none."""
        with self._database.read() as session:
            return to_groups(session, [_row(session, group_id)])[0]

    def groups(self, *, after: str = "", limit: int, source: str | None = None) -> list[Group]:
        """Groups in order of id, those after an id; of one source only where it is given."""
        query = select(GroupRow).where(GroupRow.id > after)
        if source is not None:
            query = query.where(GroupRow.source == source)
        with self._database.read() as session:
            return to_groups(session, list(session.scalars(query.order_by(GroupRow.id).limit(limit))))

    def members(
        self, group_id: PrincipalId, *, after: str = "", limit: int | None = None
    ) -> list[PrincipalId]:
        """Direct members in order of id, those after an id. Raises `NotFoundError` for no such group."""
        query = select(MembershipRow.member_id).where(
            MembershipRow.group_id == group_id, MembershipRow.member_id > after
        )
        with self._database.read() as session:
            _row(session, group_id)
            rows = session.scalars(query.order_by(MembershipRow.member_id).limit(limit))
            return [PrincipalId(member) for member in rows]

    def unknown(self, names: Collection[PrincipalId]) -> frozenset[PrincipalId]:
        """Those of some ids of groups that the directory does not know."""
        with self._database.read() as session:
            return frozenset(names) - known_groups(session, names)

    def unknown_by_source(self) -> dict[SourceId, frozenset[PrincipalId]]:
        """Groups that access lists name and the directory does not know, by source of the documents.

        They match nobody until they arrive. Takes as long as there are names in lists, not entries, and
        documents with rules for sections.
        """
        with self._database.read() as session:
            found = _groups_in_section_rules(session)
            listed = _groups_in_lists(session)
            sources = session.execute(
                select(SourceRow.id, SourceRow.allow, SourceRow.deny).where(SourceRow.removed_at.is_(None))
            )
            for source_id, allow, deny in sources:
                found[SourceId(source_id)] |= {
                    PrincipalId(name) for name in (*allow, *deny) if _is_group(name)
                }
            known = known_groups(session, listed.union(*found.values()))
            for batch in batches(sorted(listed - known), _BATCH):
                query = select(DocumentRow.source_id, AclEntryRow.principal_id).distinct()
                named_by = query.join(AclEntryRow, AclEntryRow.document_id == DocumentRow.id).where(
                    AclEntryRow.principal_id.in_(batch), DocumentRow.deleted_at.is_(None)
                )
                for source_id, group in session.execute(named_by):
                    found[SourceId(source_id)].add(PrincipalId(group))
        unknown = {source_id: frozenset(groups - known) for source_id, groups in found.items()}
        return {source_id: groups for source_id, groups in unknown.items() if groups}


def _groups_in_lists(session: Session) -> frozenset[PrincipalId]:
    """Every group that documents' access lists name: the index is jumped through from name to name."""
    least = func.min(AclEntryRow.principal_id)
    names = select(least.label("name")).cte("names", recursive=True)
    after = select(least).where(AclEntryRow.principal_id > names.c.name).scalar_subquery()
    names = names.union_all(select(after).where(names.c.name.is_not(None)))
    return frozenset(PrincipalId(name) for name in session.scalars(select(names.c.name)) if _is_group(name))


def _groups_in_section_rules(session: Session) -> defaultdict[SourceId, set[PrincipalId]]:
    """Every group that rules for sections name, by source of the documents; few documents have such rules."""
    has_rules = (DocumentRow.section_rules.is_not(None), DocumentRow.deleted_at.is_(None))
    found: defaultdict[SourceId, set[PrincipalId]] = defaultdict(set)
    for source_id, rules in session.execute(
        select(DocumentRow.source_id, DocumentRow.section_rules).where(*has_rules)
    ):
        named = (name for rule in rules for part in NAMES_IN_RULE for name in rule[part])
        found[SourceId(source_id)] |= {PrincipalId(name) for name in named if _is_group(name)}
    return found


def _is_group(name: str | None) -> bool:
    return name is not None and name.startswith("group:") and name != EVERYONE


def known_groups(session: Session, names: Collection[PrincipalId]) -> frozenset[PrincipalId]:
    """Those of some ids of groups that the directory knows."""
    found: set[str] = set()
    for batch in batches(sorted(names), _BATCH):
        found.update(session.scalars(select(GroupRow.id).where(GroupRow.id.in_(batch))))
    return frozenset(PrincipalId(id_) for id_ in found)


def change_group(session: Session, group_id: PrincipalId, change: GroupChange, now: datetime) -> Group:
    """Change a group. The caller holds the directory's lock. Raises as `SqlGroups.change`."""
    row = _row(session, group_id)
    row.name = change.name or row.name
    row.external_id = row.external_id if change.external_id is None else change.external_id or None
    if change.is_complete is False:
        row.incomplete_since = row.incomplete_since or now
    else:
        row.incomplete_since = None if change.is_complete else row.incomplete_since
        _change_members(session, group_id, change, now)
    row.updated_at = now
    session.flush()
    return to_groups(session, [row])[0]


def lock_directory(session: Session) -> None:
    """Let one transaction at a time change who is in which group: depth is judged over all of them."""
    one_at_a_time(session, _LOCK)


def ensure_groups(session: Session, group_ids: Iterable[PrincipalId], now: datetime) -> None:
    """Make the groups that are missing, named by their ids. The caller holds the directory's lock."""
    wanted = sorted(set(group_ids))
    found = known_groups(session, wanted)
    session.add_all(
        GroupRow(
            id=id_,
            name=id_.removeprefix("group:"),
            source=source_of(id_),
            created_at=now,
            updated_at=now,
        )
        for id_ in wanted
        if id_ not in found
    )
    session.flush()


def add_members(session: Session, pairs: Collection[tuple[PrincipalId, PrincipalId]]) -> None:
    """Add memberships, (group, member), that are not there yet. The caller holds the directory's lock.

    Raises:
        GroupsTooDeepError: A group would lie too deep.
    """
    members_by_group: dict[PrincipalId, set[PrincipalId]] = defaultdict(set)
    for group, member in pairs:
        members_by_group[group].add(member)
    fresh: list[dict[str, str]] = []
    for group, members in members_by_group.items():
        for batch in batches(sorted(members), _BATCH):
            known = set(session.scalars(_memberships(group, batch)))
            fresh += [{"group_id": group, "member_id": member} for member in batch if member not in known]
    for start in range(0, len(fresh), _BATCH):
        session.execute(insert(MembershipRow), fresh[start : start + _BATCH])
    nested = [PrincipalId(row["member_id"]) for row in fresh if row["member_id"].startswith("group:")]
    if nested:
        _refuse_too_deep(session, nested)


def remove_members(session: Session, group: PrincipalId, members: Collection[PrincipalId]) -> None:
    """Remove direct members of a group. The caller holds the directory's lock."""
    for batch in batches(sorted(members), _BATCH):
        session.execute(
            delete(MembershipRow).where(MembershipRow.group_id == group, MembershipRow.member_id.in_(batch))
        )


def groups_around(
    session: Session,
    members: Collection[PrincipalId],
    now: datetime,
    *,
    doubtful: Collection[PrincipalId] = (),
) -> Around:
    """Every group that somebody is in, by way of groups too: one query, whatever the depth.

    `union` keeps each group once for each way to count, so a cycle ends by itself. A group whose source failed to
    list its members for longer than `INCOMPLETE_GRACE`, and what is reached through it alone, counts where a list
    denies and nowhere else.

    Args:
        members: Names by which groups may list this somebody.
        doubtful: More such names, by which no group lets anybody in: it may only shut out.
    """
    values = {
        "names": [*members, *doubtful],
        "doubtful": list(doubtful),
        "stale_before": now - INCOMPLETE_GRACE,
    }
    found: dict[int, set[PrincipalId]] = {0: set(), 1: set()}
    for id_, flag in session.execute(_groups_reached(), values):
        found[flag].add(PrincipalId(id_))
    return Around(frozenset(found[1]), frozenset(found[0] - found[1]))


@cache
def _groups_reached() -> Select[str, int]:
    """Put together once: that takes longer than to run it, and every request runs it.

    A function, not a constant, so that a seeded defect can be put in (`benchmarks/permissions/mutants.py`).
    """
    names: BindParameter[str] = bindparam("names", expanding=True)
    doubtful: BindParameter[str] = bindparam("doubtful", expanding=True)
    stale_before: BindParameter[datetime] = bindparam("stale_before")
    is_whole = or_(GroupRow.incomplete_since.is_(None), GroupRow.incomplete_since >= stale_before)
    joined = GroupRow.id == MembershipRow.group_id
    is_certain = and_(is_whole, MembershipRow.member_id.not_in(doubtful))
    direct = select(MembershipRow.group_id.label("id"), _flag(is_certain)).join(GroupRow, joined)
    reached = direct.where(MembershipRow.member_id.in_(names)).cte("reached", recursive=True)
    further = (
        select(MembershipRow.group_id, _flag(and_(is_whole, reached.c.is_certain == 1)))
        .join(GroupRow, joined)
        .join(reached, MembershipRow.member_id == reached.c.id)
    )
    everything = reached.union(further)
    return select(everything.c.id, everything.c.is_certain)


def _flag(condition: ColumnElement[bool]) -> Label[int]:
    return case((condition, 1), else_=0).label("is_certain")


def _change_members(session: Session, group_id: PrincipalId, change: GroupChange, now: datetime) -> None:
    add, remove = change.add, change.remove
    if change.members is not None:
        query = select(MembershipRow.member_id).where(MembershipRow.group_id == group_id)
        present = frozenset(PrincipalId(member) for member in session.scalars(query))
        add, remove = change.members - present, present - change.members
    ensure_groups(session, (each for each in add if each.startswith("group:")), now)
    remove_members(session, group_id, remove - add)
    add_members(session, [(group_id, member) for member in add])


def _refuse_too_deep(session: Session, nested: Collection[PrincipalId]) -> None:
    parents: dict[PrincipalId, set[PrincipalId]] = defaultdict(set)
    query = select(MembershipRow.group_id, MembershipRow.member_id)
    for group, member in session.execute(query.where(MembershipRow.member_id.startswith("group:"))):
        parents[PrincipalId(member)].add(PrincipalId(group))
    found = too_deep(nested, parents)
    if found is not None:
        raise GroupsTooDeepError(f"{found} would lie more than {MAX_LEVELS} groups deep")


def _memberships(group: PrincipalId, members: Collection[str]) -> Select[str]:
    return select(MembershipRow.member_id).where(
        MembershipRow.group_id == group, MembershipRow.member_id.in_(members)
    )


def _row(session: Session, group_id: PrincipalId) -> GroupRow:
    row = session.get(GroupRow, group_id)
    if row is None:
        raise NotFoundError(f"no group {group_id}")
    return row


def to_groups(session: Session, rows: Sequence[GroupRow]) -> list[Group]:
    """Groups with the number of their members, in the order of the rows."""
    counted: dict[str, int] = {}
    for batch in batches([row.id for row in rows], _BATCH):
        query = select(MembershipRow.group_id, func.count()).where(MembershipRow.group_id.in_(batch))
        counted.update(session.execute(query.group_by(MembershipRow.group_id)).tuples().all())
    return [
        Group(
            id=PrincipalId(row.id),
            name=row.name,
            source=row.source,
            external_id=row.external_id or "",
            n_members=counted.get(row.id, 0),
            created_at=row.created_at,
            updated_at=row.updated_at,
            incomplete_since=row.incomplete_since,
        )
        for row in rows
    ]

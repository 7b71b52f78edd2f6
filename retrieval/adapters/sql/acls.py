"""Writing access lists: the one place that changes `acl_entries` and `documents.section_rules`.

A list that a source states together with a new text is meant for that text. The text that readers still see was
written for the list of now; so until the new one takes its place, only those read it whom both lists let in, and
what the new list grants beyond that waits (`state_acl`, `settle_acl`). Section rules that a source states with a
new text count at once, and those of before as long as their text is live (`state_sections`, `settle_sections`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import delete, inspect, select
from sqlalchemy.orm import Session

from retrieval.access import Acl, PrincipalId, UserId, common, narrowed, user_principal
from retrieval.adapters.sql.models import AclEntryRow, DocumentRow
from retrieval.adapters.sql.rows import batches, read_acls
from retrieval.adapters.sql.section_rules import live_places, rules_of, stored_rules
from retrieval.corpus import DocumentState
from retrieval.sections import SectionRule, awaiting, judged, list_inside, stated

_LATER = {"owner": "next=", "allow": "next+", "deny": "next-"}
"""Effects of entries that wait for a text. Nothing that decides who may read looks at them."""


def write_acl(session: Session, row: DocumentRow, acl: Acl) -> bool:
    """Make `acl` the document's access list, in the caller's transaction. Returns whether it changed.

    A list that waited is forgotten. The documents found inside it follow in the same transaction: nobody reads
    one of them who may not read this one. A list that a person set on one of them stays, as far as this one
    allows it.
    """
    session.execute(
        delete(AclEntryRow).where(AclEntryRow.document_id == row.id, AclEntryRow.effect.in_(_LATER.values()))
    )
    if not inspect(row).pending and row.owner and read_acls(session, [row])[row.id] == acl:
        return False
    session.execute(delete(AclEntryRow).where(AclEntryRow.document_id == row.id))
    session.add_all([*_entries(row.id, "allow", acl.allow), *_entries(row.id, "deny", acl.deny)])
    row.owner = acl.owner
    row.acl_epoch = (row.acl_epoch or 0) + 1
    _pass_on(session, row, list_inside(acl, rules_of(row.section_rules)))
    return True


def set_sections(session: Session, row: DocumentRow, rules: Sequence[SectionRule]) -> bool:
    """Make these the document's section rules, for its live text and all that come. Returns whether they changed.

    Whether their headings are in the live text is told by their `Standing`; while a newer text is under way, that
    is found out once it is live.
    """
    if row.state == DocumentState.LIVE:
        present = rules_of(row.section_rules)
        return _write_sections(session, row, stated(present, rules, live_places(session, row)))
    return _write_sections(session, row, awaiting((), rules))


def state_sections(session: Session, row: DocumentRow, rules: Sequence[SectionRule]) -> bool:
    """Make these the section rules of a text that is not live yet. Returns whether the document's rules changed.

    Until it is live, they count for the live text together with those of before.
    """
    present = () if row.live_version_id is None else rules_of(row.section_rules)
    return _write_sections(session, row, awaiting(present, rules))


def settle_sections(session: Session, row: DocumentRow) -> None:
    """Find out which section rules fit the text that has just become live; nothing where there are none."""
    if row.section_rules is not None:
        _write_sections(session, row, judged(rules_of(row.section_rules), live_places(session, row)))


def _write_sections(session: Session, row: DocumentRow, rules: Sequence[SectionRule]) -> bool:
    stored = stored_rules(rules)
    if stored == row.section_rules:
        return False
    row.section_rules = stored
    row.acl_epoch = (row.acl_epoch or 0) + 1
    _pass_on(session, row, list_inside(read_acls(session, [row])[row.id], rules))
    return True


def _pass_on(session: Session, row: DocumentRow, acl: Acl) -> None:
    """Bring a list to the documents found inside one."""
    inside = select(DocumentRow).where(DocumentRow.parent_id == row.id, DocumentRow.deleted_at.is_(None))
    for child in session.scalars(inside).all():
        newer = child.state != DocumentState.LIVE
        state_acl(session, child, inherited_acl(session, child, acl), newer_text=newer)


def bound_inside(session: Session, row: DocumentRow) -> Acl:
    """Who may read what is found inside a document: whoever may read it and every section of it."""
    return list_inside(read_acls(session, [row])[row.id], rules_of(row.section_rules))


def state_acl(session: Session, row: DocumentRow, acl: Acl, *, newer_text: bool) -> bool:
    """Make `acl` the document's list, but to the live text let nobody in whom its own list did not.

    Args:
        session: The caller's transaction.
        row: The document, as it was before.
        acl: As its source, or what it was found inside, states it.
        newer_text: Whether the list comes with a text that is not live yet, or was stated for one.

    Returns:
        Whether the list that counts now has changed.
    """
    if not newer_text or row.live_version_id is None or not row.owner:
        return write_acl(session, row, acl)
    until_then = common(acl, read_acls(session, [row])[row.id])
    changed = write_acl(session, row, until_then)
    if until_then != acl:
        owner = frozenset({user_principal(acl.owner)})
        for part, principals in (("owner", owner), ("allow", acl.allow), ("deny", acl.deny)):
            session.add_all(_entries(row.id, _LATER[part], principals))
    return changed


def settle_acl(session: Session, row: DocumentRow) -> None:
    """Put the list in force that waited for the text that is live now; nothing where none waited."""
    waiting = waiting_acls(session, [row]).get(row.id)
    if waiting is not None:
        write_acl(session, row, waiting)


def waiting_acls(session: Session, documents: Iterable[DocumentRow]) -> dict[str, Acl]:
    """Lists that wait for a text, by document id. An owner who was erased meanwhile is the one of now."""
    owners = {row.id: row.owner for row in documents}
    found: dict[str, dict[str, set[PrincipalId]]] = defaultdict(lambda: defaultdict(set))
    for batch in batches(sorted(owners), 500):
        query = select(AclEntryRow.document_id, AclEntryRow.effect, AclEntryRow.principal_id).where(
            AclEntryRow.document_id.in_(batch), AclEntryRow.effect.in_(_LATER.values())
        )
        for document_id, effect, principal_id in session.execute(query):
            found[document_id][effect].add(PrincipalId(principal_id))
    return {
        id_: Acl(
            UserId(next((_user_id(each) for each in parts[_LATER["owner"]]), owners[id_])),
            frozenset(parts[_LATER["allow"]]),
            frozenset(parts[_LATER["deny"]]),
        )
        for id_, parts in found.items()
    }


def inherited_acl(session: Session, child: DocumentRow, parent_acl: Acl) -> Acl:
    """The access list of a document found inside one with `parent_acl`."""
    if child.acl_origin != "manual":
        return parent_acl
    return narrowed(read_acls(session, [child])[child.id], parent_acl)


def _user_id(principal: PrincipalId) -> str:
    return principal.removeprefix("user:")


def _entries(document_id: str, effect: str, principals: Iterable[PrincipalId]) -> Sequence[AclEntryRow]:
    return [
        AclEntryRow(document_id=document_id, effect=effect, principal_id=principal)
        for principal in sorted(principals)
    ]

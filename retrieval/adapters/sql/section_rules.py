"""Section rules as they stand in `documents.section_rules`, and where a document's passages stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retrieval.access import PrincipalId
from retrieval.adapters.sql.models import ChunkRow, DocumentRow
from retrieval.sections import Place, SectionRule, Standing, place_of

NAMES_IN_RULE = ("allow", "deny")
"""Fields of a stored rule that name principals."""


def rules_of(stored: Iterable[Mapping[str, Any]] | None) -> tuple[SectionRule, ...]:
    """The rules in a column's value."""
    return tuple(
        SectionRule(
            heading=tuple(each["heading"]),
            allow=frozenset(map(PrincipalId, each["allow"])),
            deny=frozenset(map(PrincipalId, each["deny"])),
            standing=Standing(each["standing"]),
            is_outgoing=each["outgoing"],
        )
        for each in stored or ()
    )


def stored_rules(rules: Iterable[SectionRule]) -> list[dict[str, Any]] | None:
    """A column's value for rules; null for none."""
    return [
        {
            "heading": list(rule.heading),
            "allow": sorted(rule.allow),
            "deny": sorted(rule.deny),
            "standing": rule.standing.value,
            "outgoing": rule.is_outgoing,
        }
        for rule in rules
    ] or None


def live_places(session: Session, row: DocumentRow) -> Sequence[Place]:
    """Where the passages of a document's live version stand; none before the first one."""
    if row.live_version_id is None:
        return ()
    query = select(ChunkRow.heading_path, ChunkRow.section_paths).where(
        ChunkRow.version_id == row.live_version_id
    )
    return list({place_of(path, paths) for path, paths in session.execute(query).tuples()})

"""Access lists and small facts from `.refdesk.toml` files, for sources that are trees of files.

A `.refdesk.toml` applies to its folder and everything below it; of several, the nearest one counts:

    owner = "mara.lindqvist"
    [acl]
    allow = ["group:everyone"]          # user:<id> or group:<name>
    deny = []
    [documents."travel-2023.md"]        # optional, for files in the same folder
    superseded_by = "travel-2025.docx"
    tags = ["travel"]
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import Any

from retrieval.access import Acl, PrincipalId, UserId

RULES_FILE = ".refdesk.toml"


@dataclass(frozen=True, slots=True)
class FolderRules:
    """What one `.refdesk.toml` says. `acl` is None where it says nothing of access."""

    acl: Acl | None = None
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_rules(text: str, *, default_owner: UserId) -> FolderRules:
    """Read the text of a rules file.

    Args:
        default_owner: Owner where the file states an access list but no owner.

    Raises:
        ValueError: It cannot be understood. Going on with the parent's rules might show too much.
    """
    rules = tomllib.loads(text)
    stated = "acl" in rules or "owner" in rules
    return FolderRules(_acl(rules, default_owner) if stated else None, rules.get("documents", {}))


def _acl(rules: dict[str, Any], default_owner: UserId) -> Acl:
    lists = rules.get("acl", {})
    return Acl(
        owner=UserId(rules.get("owner", default_owner)),
        allow=frozenset(PrincipalId(p) for p in lists.get("allow", ())),
        deny=frozenset(PrincipalId(p) for p in lists.get("deny", ())),
    )

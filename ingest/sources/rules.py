"""Access lists and small facts from `.refdesk.toml` files, for sources that are trees of files.

A `.refdesk.toml` applies to its folder and everything below it; of several, the nearest one counts:

    owner = "mara.lindqvist"
    labels = ["no-ai"]                  # of the folder and all below it, beside those that are stated there
    [acl]
    allow = ["group:everyone"]          # user:<id> or group:<name>
    deny = []
    [documents."travel-2023.md"]        # optional, for files in the same folder
    superseded_by = "travel-2025.docx"
    tags = ["travel"]
    labels = ["retention:minutes"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from retrieval.access import Acl, PrincipalId, UserId
from retrieval.labels import Label, labels_named

RULES_FILE = ".refdesk.toml"


@dataclass(frozen=True, slots=True)
class FolderRules:
    """What one `.refdesk.toml` says. `acl` is None where it says nothing of access."""

    acl: Acl | None = None
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    labels: frozenset[Label] = frozenset()

    def within(self, outer: FolderRules) -> FolderRules:
        """These rules with what the folder around states: its list where there is none here, its labels too."""
        return replace(self, acl=self.acl or outer.acl, labels=self.labels | outer.labels)

    def labels_of(self, name: str) -> tuple[Label, ...]:
        """The labels of the file of this name in the folder."""
        return tuple(sorted(self.labels | _labels(self.documents.get(name, {}))))


def read_rules(text: str, *, default_owner: UserId) -> FolderRules:
    """Read the text of a rules file.

    Args:
        default_owner: Owner where the file states an access list but no owner.

    Raises:
        ValueError: It cannot be understood. Going on with the parent's rules might show too much.
    """
    rules = tomllib.loads(text)
    stated = "acl" in rules or "owner" in rules
    documents = rules.get("documents", {})
    for facts in documents.values():
        _labels(facts)  # a label that there is not is told of now, not once its file is there
    return FolderRules(_acl(rules, default_owner) if stated else None, documents, _labels(rules))


def _labels(stated: Mapping[str, Any]) -> frozenset[Label]:
    labels = stated.get("labels", [])
    return frozenset(labels_named(map(str, labels if isinstance(labels, list) else [labels])))


def _acl(rules: dict[str, Any], default_owner: UserId) -> Acl:
    lists = rules.get("acl", {})
    return Acl(
        owner=UserId(rules.get("owner", default_owner)),
        allow=frozenset(PrincipalId(p) for p in lists.get("allow", ())),
        deny=frozenset(PrincipalId(p) for p in lists.get("deny", ())),
    )

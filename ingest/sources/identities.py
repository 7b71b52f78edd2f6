"""Turns the people and groups of a source into principals of the desk.

A source's own names say nothing about the desk's users until a rule says how they map. The rule is an option
of the source, `user_ids`:

- `email` (the default): the whole address in lower case, `user:mara.lindqvist@example.org`;
- `local_part`: the part before the "@", for addresses in the domains of the option `email_domains` only.

Whoever cannot be mapped gets no access. Groups are qualified by the source's id, `group:<source id>/<name>`, so
that a group of one source never opens a document of another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingest.errors import InvalidSourceError
from ingest.sources.options import choice, strings
from retrieval.access import PrincipalId, UserId, user_principal
from retrieval.corpus import SourceId

_ADDRESS = re.compile(r"[^\s@<>\",;:()]{1,64}@[a-z0-9.-]{1,255}")


@dataclass(frozen=True, slots=True)
class Identities:
    """One source's rule.

    Attributes:
        by_local_part: Whether the part before the "@" is the user's id, rather than the whole address.
        domains: Domains whose addresses count, lower case; empty for any.
    """

    source_id: SourceId
    by_local_part: bool
    domains: frozenset[str]

    def user(self, address: str) -> PrincipalId | None:
        """The principal behind a mail address, None when the rule does not cover it."""
        address = address.strip().lower()
        if not _ADDRESS.fullmatch(address):
            return None
        local, _, domain = address.partition("@")
        if self.domains and domain not in self.domains:
            return None
        return user_principal(UserId(local if self.by_local_part else address))

    def group(self, name: str) -> PrincipalId:
        """A group of the source."""
        return PrincipalId(f"group:{self.source_id}/{name}")


def identities_from(source_id: SourceId, options: Mapping[str, Any]) -> Identities:
    """The rule that a source's options state.

    Raises:
        InvalidSourceError: `user_ids` is no rule, or `local_part` is asked for without domains: then
            anybody's address anywhere would count as a colleague's.
    """
    by_local_part = choice(options, "user_ids", ("email", "local_part")) == "local_part"
    domains = frozenset(domain.lower() for domain in strings(options, "email_domains"))
    if by_local_part and not domains:
        raise InvalidSourceError("the option user_ids = local_part needs the option email_domains")
    return Identities(source_id, by_local_part, domains)

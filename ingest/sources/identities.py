"""Turns the people and groups of a source into principals of the desk.

A source's own names say nothing about the desk's users until a rule says how they map. The rule is an option
of the source, `user_ids`:

- `email` (the default): the whole address in lower case, `user:mara.lindqvist@example.org`;
- `local_part`: the part before the "@", for addresses in the domains of the option `email_domains` only;
- `name`, where a source has names of its own that its administrators give out: the name in lower case.

Whoever cannot be mapped gets no access. Groups are qualified by the source's id, `group:<source id>/<name>`, so
that a group of one source never opens a document of another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.errors import InvalidSourceError
from ingest.sources.options import SourceOptions
from retrieval.access import PrincipalId, UserId, user_principal
from retrieval.corpus import SourceId

_ADDRESS = re.compile(r"[^\s@<>\",;:()]{1,64}@[a-z0-9.-]{1,255}")


@dataclass(frozen=True, slots=True)
class Identities:
    """One source's rule.

    Attributes:
        rule: `email`, `local_part` or `name`.
        domains: Domains whose addresses count, lower case; empty for any.
    """

    source_id: SourceId
    rule: str
    domains: frozenset[str]

    def user(self, address: str, name: str = "") -> PrincipalId | None:
        """The principal behind a mail address, or behind a name; None when the rule does not cover it."""
        if self.rule == "name":
            return user_principal(UserId(name.strip().lower())) if name.strip() else None
        address = address.strip().lower()
        if not _ADDRESS.fullmatch(address):
            return None
        local, _, domain = address.partition("@")
        if self.domains and domain not in self.domains:
            return None
        return user_principal(UserId(local if self.rule == "local_part" else address))

    def group(self, name: str) -> PrincipalId:
        """A group of the source."""
        return PrincipalId(f"group:{self.source_id}/{name}")


def identities_from(
    source_id: SourceId, options: SourceOptions, rules: Sequence[str] = ("email", "local_part")
) -> Identities:
    """The rule that a source's options state, one of `rules`; the first when they state none.

    Raises:
        InvalidSourceError: `user_ids` is no rule, or `local_part` is asked for without domains: then
            anybody's address anywhere would count as a colleague's.
    """
    rule = options.choice("user_ids", rules[0], rules)
    domains = frozenset(domain.lower() for domain in options.texts("email_domains"))
    if rule == "local_part" and not domains:
        raise InvalidSourceError("the option user_ids = local_part needs the option email_domains")
    return Identities(source_id, rule, domains)

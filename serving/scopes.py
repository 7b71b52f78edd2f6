"""What a credential may be used for. Every route names the scope it needs; docs/operations.md lists them.

A scope says what a caller may try. What of the corpus it reaches is decided by access lists alone: no scope
lets anybody read a document, but for the two by which one looks through somebody else's eyes, `act-as` and
`preview`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from retrieval.access import Principal
from retrieval.errors import NotPermittedError


class Scope(StrEnum):
    """The scopes there are."""

    SEARCH = "search"
    ANSWERS = "answers"
    DOCUMENTS_READ = "documents:read"
    DOCUMENTS_WRITE = "documents:write"
    SOURCES_WRITE = "sources:write"
    ACCESS_EXPLAIN = "access:explain"
    KEYS = "keys"
    DIRECTORY = "directory"
    AUDIT_READ = "audit:read"
    METRICS_READ = "metrics:read"
    ACT_AS = "act-as"
    PREVIEW = "preview"
    ADMIN = "admin"


MEANINGS = {
    Scope.SEARCH: "Search.",
    Scope.ANSWERS: "Ask questions and say what one thinks of the answers.",
    Scope.DOCUMENTS_READ: "See sources, documents, their history and the jobs about them.",
    Scope.DOCUMENTS_WRITE: "Push documents, and delete, re-index and share the documents that one owns.",
    Scope.SOURCES_WRITE: "Create sources, and change, sync and remove those that one owns.",
    Scope.ACCESS_EXPLAIN: "Ask why somebody may or may not read a document that one owns.",
    Scope.KEYS: "Make, list and revoke keys of one's own, with no scope that one lacks.",
    Scope.DIRECTORY: "Read and change users and their groups, and so what they may read.",
    Scope.AUDIT_READ: "Read and export the audit trail, and so who asked what; `admin` does not hold it.",
    Scope.METRICS_READ: "See counts over all documents in /metrics, and of questions, by nobody in particular.",
    Scope.ACT_AS: "Act for a user of the directory with `X-Refdesk-User`, within the key's other scopes.",
    Scope.PREVIEW: "With `admin`: see everything that a user would find, on record; `admin` alone: in one's own.",
    Scope.ADMIN: "Do with documents, sources, jobs and keys of others what their owners may do.",
}

ALL_SCOPES = frozenset(scope.value for scope in Scope)

END_USER_SCOPES = frozenset(
    scope.value
    for scope in (
        Scope.SEARCH,
        Scope.ANSWERS,
        Scope.DOCUMENTS_READ,
        Scope.DOCUMENTS_WRITE,
        Scope.ACCESS_EXPLAIN,
    )
)
"""The most that a service key may do while it acts for a user."""


def is_admin(principal: Principal) -> bool:
    """Whether the principal may do what owners may."""
    return Scope.ADMIN in principal.scopes


def require(principal: Principal, scopes: Iterable[Scope]) -> None:
    """Refuse a principal that lacks one of the scopes.

    Raises:
        NotPermittedError: Names the scope that is missing.
    """
    for scope in scopes:
        if scope not in principal.scopes:
            raise NotPermittedError(f"this needs the scope {scope.value}")

"""How points and filters look in Qdrant, for both of its engines. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from retrieval.access import AccessFilter
from retrieval.ports import Point
from retrieval.query import SearchFilters

DENSE, SPARSE = "dense", "sparse"
"""Names of the two vectors of a point."""

LANGUAGE = "language"
"""The one field that a search reads back."""

KEYWORD_FIELDS = ("document", "source", "type", LANGUAGE, "tags")
INTEGER_FIELDS = ("readers", "denied", "modified")
PREFIX_FIELD = "path"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The field holds one of these values."""

    key: str
    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """The field begins like this."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Between:
    """The field lies in `[since, until)`; None leaves an end open."""

    key: str
    since: float | None
    until: float | None


Condition = AnyOf | Prefix | Between


def payload_of(point: Point) -> dict[str, Any]:
    """Everything that filters ask for; the text is not among it."""
    return {
        "readers": list(point.readers),
        "denied": list(point.denied),
        "document": point.document_id,
        "source": point.source_id,
        "type": point.media_type,
        LANGUAGE: point.language,
        "tags": list(point.tags),
        "modified": int(point.modified_at.timestamp()),
        "path": point.path,
    }


def must(access: AccessFilter, filters: SearchFilters) -> Iterator[Condition]:
    """Conditions that all have to hold; the access clause is always the first."""
    yield AnyOf("readers", tuple(sorted(access.allow)))
    if access.owners:
        yield AnyOf("readers", tuple(sorted(access.owners)))
    for key, values in (
        ("source", filters.sources),
        ("type", filters.media_types),
        ("language", filters.languages),
        ("tags", filters.tags),
        ("document", filters.documents),
    ):
        if values:
            yield AnyOf(key, values)
    if filters.path_prefix:
        yield Prefix(PREFIX_FIELD, filters.path_prefix)
    if filters.modified_after or filters.modified_before:
        since = filters.modified_after.timestamp() if filters.modified_after else None
        until = filters.modified_before.timestamp() if filters.modified_before else None
        yield Between("modified", since, until)


def must_not(access: AccessFilter) -> Iterator[Condition]:
    """Conditions none of which may hold: a deny entry for the principal, a source that is not shown now."""
    yield AnyOf("denied", tuple(sorted(access.deny)))
    if access.outdated:
        yield AnyOf("source", tuple(sorted(access.outdated)))

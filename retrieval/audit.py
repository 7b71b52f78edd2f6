"""Records of the audit trail: how they are bound into a chain, and how persons in them can be erased. Pure.

A record has an impersonal `body` and up to three parts that name persons. Its hash covers the parts by way of
commitments only: SHA-256 over a random salt, the part's name and its content, as SD-JWT (RFC 9901) digests a
disclosure. A part that is erased together with its salt leaves a commitment that tells nothing and that can
still be checked as a link of the chain. docs/decisions/0011-erasing-without-breaking-the-chain.md says why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

GENESIS = "0" * 64
"""What the first record names as the hash before it."""

WHOLE, COMMITTED = 1, 2
"""Formats of a record's hash: over the whole content, as records were written at first, or over commitments."""

ACTOR, AGENT, SUBJECT = "actor", "agent", "subject"
"""Parts: who did it and what was asked; who did it in the actor's name; whom it was done to."""

_PRINCIPAL = "principal"

_PART_OF_FIELD = {
    "question_sha256": ACTOR,
    "question": ACTOR,
    "by": AGENT,
    "user_id": SUBJECT,
    "groups": SUBJECT,
    "owner": SUBJECT,
    "heir": SUBJECT,
    "allow": SUBJECT,
    "deny": SUBJECT,
    "subject": SUBJECT,
    "members": SUBJECT,
    "add": SUBJECT,
    "remove": SUBJECT,
    "sections": SUBJECT,
}
"""Fields of a record that may name a person, and the part that each belongs to; every other one is impersonal."""

ERASED_EVENT, PRUNED_EVENT, RESEALED_EVENT = "audit.erase", "audit.prune", "audit.reseal"
"""Events that the check of a chain understands: parts that were erased, old records that were removed, and the
one record between the two formats, which seals what the first format left open to erasure."""


@dataclass(frozen=True, slots=True)
class Part:
    """Content that may name persons. `salt` is 32 random bytes in hex, drawn for this part alone."""

    salt: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One record, as it is stored.

    Attributes:
        sequence: Counts from 1; in `COMMITTED` records without a gap.
        at: When it was written, UTC.
        body: Impersonal facts.
        commitments: By part that the record was written with.
        parts: Those that were not erased.
        previous_hash: `hash` of the record before it, `GENESIS` for the first.
        format: `WHOLE` or `COMMITTED`.
    """

    sequence: int
    at: datetime
    event: str
    request_id: str
    body: Mapping[str, Any]
    commitments: Mapping[str, str]
    parts: Mapping[str, Part]
    previous_hash: str
    hash: str
    format: int = COMMITTED

    @property
    def principal(self) -> str:
        """Who did it; empty once erased."""
        return str(self.parts[ACTOR].content[_PRINCIPAL]) if ACTOR in self.parts else ""

    @property
    def facts(self) -> dict[str, Any]:
        """All that is known of it besides the principal: the body and the fields of its parts."""
        named = {name: value for part in self.parts.values() for name, value in part.content.items()}
        named.pop(_PRINCIPAL, None)
        return {**self.body, **named}

    @property
    def erased(self) -> tuple[str, ...]:
        """Names of the parts that were erased, sorted."""
        return tuple(sorted(self.commitments.keys() - self.parts.keys()))


@dataclass(frozen=True, slots=True)
class Head:
    """A record by number and hash; kept elsewhere, it proves that nothing up to it was changed since."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of the whole chain found.

    Attributes:
        n_records: Records that were looked at.
        head: The newest of them; None for an empty trail.
        broken_at: Number of the first record that does not fit; None where the chain is whole, and where it is
            not one record that is wrong.
        reason: Why the chain is broken, from a closed list (`BROKEN`); empty when it is whole.
        n_erased: Records of which parts were erased.
        n_pruned: Records that were removed for their age, by the records of their removal.
    """

    n_records: int
    head: Head | None
    broken_at: int | None
    reason: str
    n_erased: int
    n_pruned: int

    @property
    def is_intact(self) -> bool:
        """Whether nothing speaks against the trail."""
        return not self.reason


BROKEN = {
    "changed": "the record is not what was written",
    "unlinked": "the record does not follow the one before it: one was removed, slipped in or moved",
    "part_changed": "what the record says of persons is not what was written",
    "start_missing": "the oldest records are gone, and no record of their removal accounts for it",
    "parts_missing": "more or fewer parts are gone than the records of erasures account for",
    "head_differs": "the record that was kept elsewhere is not in the trail",
}
"""Reasons of a `Verdict`, in words."""


def canonical(value: object) -> str:
    """A value as the text that is hashed: JSON in ASCII, keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def commitment(part: str, salt: str, content: Mapping[str, Any]) -> str:
    """What binds a record to a part of it: SHA-256, in hex."""
    return _sha256([salt, part, dict(content)])


def split(principal: str, facts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The impersonal body of a record, and the contents of its parts by name."""
    body: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {ACTOR: {_PRINCIPAL: principal}}
    for name, value in facts.items():
        part = _PART_OF_FIELD.get(name)
        (body if part is None else parts.setdefault(part, {}))[name] = value
    return body, parts


def record_hash(record: Record) -> str:
    """The hash that a record should have.

    Raises:
        ValueError: It is in the format `WHOLE` and a part of it was erased.
    """
    at = record.at.isoformat()
    if record.format == WHOLE:
        if record.erased:
            raise ValueError("the hash of a record in the first format covers what was erased")
        fields = [record.previous_hash, at, record.event, record.principal, record.request_id, record.facts]
        return _sha256(fields)
    links = [record.format, record.previous_hash, record.sequence]
    return _sha256([*links, at, record.event, record.request_id, dict(record.body), dict(record.commitments)])


def names(value: object, person: str) -> bool:
    """Whether a person's id stands in a JSON value, alone or as `user:<id>`. A longer text does not count."""
    if isinstance(value, str):
        return value in (person, f"user:{person}")
    if isinstance(value, Mapping):
        return any(names(each, person) for each in value.values())
    return isinstance(value, list | tuple) and any(names(each, person) for each in value)


def check_chain(
    records: Iterable[Record], *, kept: Head | None = None, looked_at: Callable[[int], None] = lambda _: None
) -> Verdict:
    """Check a trail from its oldest record to its newest.

    Args:
        records: All of them, in order of sequence.
        kept: A record as it was noted elsewhere before.
        looked_at: Told the number of records after each one.

    Returns:
        The first thing that does not fit, if any. A trail that was cut off at its newest end looks whole; only a
        head that was kept elsewhere shows it.
    """
    walk = _Walk(kept)
    for record in records:
        walk.step(record)
        looked_at(walk.n_records)
    return walk.verdict()


def balance_of(records: Iterable[Record]) -> int:
    """Parts that erasures among these records account for, less parts that are missing from them."""
    return sum(_accounted(record) - len(record.erased) for record in records)


class _Walk:
    """A check that has come as far as some record."""

    def __init__(self, kept: Head | None) -> None:
        self._kept = kept
        self._kept_seen = kept is None
        self._start: Record | None = None
        self._before: Record | None = None
        self._start_known = False
        self._seal = hashlib.sha256()
        self._balance = 0
        self._broken: tuple[int | None, str] | None = None
        self._first_erased: int | None = None
        self._n_erased = self._n_pruned = 0
        self.n_records = 0

    def step(self, record: Record) -> None:
        """Look at the next record."""
        self.n_records += 1
        if self._start is None:
            self._start, self._start_known = record, record.previous_hash == GENESIS
        reason = _misfit(self._before, record) or self._unsealed(record)
        if reason and self._broken is None:
            self._broken = (record.sequence, reason)
        if record.format == WHOLE:
            self._seal.update(seal_line(record))
        if record.erased:
            self._first_erased = self._first_erased or record.sequence
            self._n_erased += 1
        self._balance += _accounted(record) - len(record.erased)
        if record.event == PRUNED_EVENT and record.format == COMMITTED:
            self._note_pruning(record)
        self._kept_seen = self._kept_seen or Head(record.sequence, record.hash) == self._kept
        self._before = record

    def _unsealed(self, record: Record) -> str:
        """Why a record between the formats does not seal the records of the first one; empty when it does.

        Of those that were pruned since nothing is left to compare with.
        """
        if record.event != RESEALED_EVENT or not self._start_known:
            return ""
        return "" if record.body.get("seal") == self._seal.hexdigest() else "changed"

    def _note_pruning(self, record: Record) -> None:
        assert self._start is not None
        pruned = Head(_count(record.body, "through"), str(record.body.get("hash")))
        if pruned.hash == self._start.previous_hash and not self._start_known:
            self._start_known = True
            self._n_pruned = _count(record.body, "records_ever")
            self._balance += _count(record.body, "balance")
        # A head that was kept and pruned since cannot be compared, unless it was the last one of those.
        if self._kept is not None and self._kept.sequence <= pruned.sequence:
            self._kept_seen = self._kept_seen or self._kept.sequence < pruned.sequence or self._kept == pruned

    def verdict(self) -> Verdict:
        """What was found."""
        broken = self._broken
        if broken is None and self._start is not None and not self._start_known:
            broken = (self._start.sequence, "start_missing")
        if broken is None and self._balance:
            broken = (self._first_erased, "parts_missing")
        if broken is None and not self._kept_seen:
            assert self._kept is not None
            broken = (self._kept.sequence, "head_differs")
        last = self._before
        return Verdict(
            n_records=self.n_records,
            head=None if last is None else Head(last.sequence, last.hash),
            broken_at=broken[0] if broken else None,
            reason=broken[1] if broken else "",
            n_erased=self._n_erased,
            n_pruned=self._n_pruned,
        )


def seal_line(record: Record) -> bytes:
    """What the record between the formats seals of a `WHOLE` record: all that stays when its parts are erased."""
    kept = [record.sequence, record.at.isoformat(), record.event, record.request_id]
    return (canonical([*kept, dict(record.body), dict(record.commitments), record.hash]) + "\n").encode()


def _misfit(before: Record | None, record: Record) -> str:
    """Why a record does not fit behind the one before it; empty when it does."""
    if before is not None:
        step = record.sequence - before.sequence
        is_gap = step < 1 or (step > 1 and record.format == COMMITTED)
        is_turn = before.format != record.format
        may_turn = before.format == WHOLE and record.event == RESEALED_EVENT
        if record.previous_hash != before.hash or is_gap or (is_turn and not may_turn):
            return "unlinked"
    is_open = record.format == WHOLE and record.erased  # sealed by the record between the formats
    if not is_open and record.hash != record_hash(record):
        return "changed"
    for name, part in record.parts.items():
        if record.commitments.get(name) != commitment(name, part.salt, part.content):
            return "part_changed"
    return ""


def _accounted(record: Record) -> int:
    """Parts that this record says were erased."""
    is_erasure = record.event == ERASED_EVENT and record.format == COMMITTED
    return _count(record.body, "parts") if is_erasure else 0


def _count(body: Mapping[str, Any], name: str) -> int:
    """A number in a body; 0 for one that a forger left out."""
    value = body.get(name)
    return value if isinstance(value, int) else 0


def _sha256(value: object) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()

"""What a desk is used for, counted so that nobody is singled out. Pure.

A count that is broken down by day or source covers at least `FEWEST` people; what covers fewer is put together
until it does. So whoever looks after the desk sees how it is used and not what one person asks.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Generic, TypeVar

from retrieval.audit import Record
from serving.budget import read_and_written

K = TypeVar("K", bound=Hashable)

FEWEST = 5
"""People whom a count has to cover before it is shown by itself."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One answered question.

    Attributes:
        asker: Who asked; empty once erased.
        day: In UTC.
        was_found: Whether the sources held an answer.
        sources: Ids of the sources whose passages entered the prompt.
        tokens: Tokens that a model read and wrote.
    """

    asker: str
    day: date
    was_found: bool
    sources: frozenset[str]
    tokens: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over some answers. `n_askers` counts distinct people, those who were erased as one."""

    n_questions: int
    n_found: int
    n_tokens: int
    n_askers: int

    @property
    def n_not_found(self) -> int:
        """Questions that were answered with "not found"."""
        return self.n_questions - self.n_found


@dataclass(frozen=True, slots=True)
class Breakdown(Generic[K]):
    """Counts by day or source.

    Attributes:
        cells: Those that cover at least `FEWEST` people.
        rest: All others together; None when there are none, or too few people in all to break anything down.
    """

    cells: Mapping[K, Tally]
    rest: Tally | None


@dataclass(frozen=True, slots=True)
class Usage:
    """How a desk was used. An answer that drew on two sources counts for both."""

    total: Tally
    by_day: Breakdown[date]
    by_source: Breakdown[str]


def asked_in(record: Record) -> Asked:
    """The question behind an `answer` record."""
    body = record.body
    return Asked(
        asker=record.principal,
        day=record.at.date(),
        was_found=not body["abstained"],
        sources=frozenset(body.get("sources", ())),
        tokens=read_and_written(body.get("tokens", {})),
    )


def usage_of(answers: Iterable[Asked]) -> Usage:
    """Count answers."""
    total, days, sources = _Counted(), dict[date, _Counted](), dict[str, _Counted]()
    for asked in answers:
        total.add(asked)
        days.setdefault(asked.day, _Counted()).add(asked)
        for source in asked.sources:
            sources.setdefault(source, _Counted()).add(asked)
    return Usage(total.tally(), _broken_down(days), _broken_down(sources))


class _Counted:
    """A tally that can still grow."""

    def __init__(self) -> None:
        self.askers: set[str] = set()
        self._n_questions = self._n_found = self._n_tokens = 0

    def add(self, asked: Asked) -> None:
        self.askers.add(asked.asker)
        self._n_questions += 1
        self._n_found += asked.was_found
        self._n_tokens += asked.tokens

    def join(self, other: _Counted) -> None:
        self.askers |= other.askers
        self._n_questions += other._n_questions
        self._n_found += other._n_found
        self._n_tokens += other._n_tokens

    def tally(self) -> Tally:
        return Tally(self._n_questions, self._n_found, self._n_tokens, len(self.askers))


def _broken_down(counted: Mapping[K, _Counted]) -> Breakdown[K]:
    """Cells with enough people. The rest must have enough too, or the total would tell it: it takes cells along."""
    few = [cell for cell in counted.values() if len(cell.askers) < FEWEST]
    shown = {key: cell for key, cell in counted.items() if len(cell.askers) >= FEWEST}
    if not few:
        return Breakdown({key: cell.tally() for key, cell in shown.items()}, None)
    rest = _Counted()
    for cell in few:
        rest.join(cell)
    for key in sorted(shown, key=lambda key: len(shown[key].askers)):
        if len(rest.askers) >= FEWEST:
            break
        rest.join(shown.pop(key))
    cells = {key: cell.tally() for key, cell in shown.items()}
    return Breakdown(cells, rest.tally() if len(rest.askers) >= FEWEST else None)

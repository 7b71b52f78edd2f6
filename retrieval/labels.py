"""Labels of documents: what may not enter a prompt, and how long a document is kept. Pure.

The names are a closed set, so that a misspelt one is an error and not a label without effect:

- `no-ai`: nothing of the document enters a prompt (`serving.admission` is the one place that decides);
- `retention:<class>`: the document is served and kept for the period of its class, counted from the time at
  which its source last changed it;
- `hold`: its period does not end while the label is there.

Labels add up: what the source, the text, an owner or the document around it states counts together, and
nobody takes away what another one has stated.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

Label = NewType("Label", str)
"""A label's name, as `label_named` gives it."""

NO_AI = Label("no-ai")
HOLD = Label("hold")
RETENTION = "retention:"
"""What a label begins with that names a class of retention."""

MAX_LABELS = 20
"""Most labels that one origin may state."""

_CLASS = re.compile(r"[a-z0-9][a-z0-9._-]{0,49}")
_PERIOD = re.compile(r"([a-z0-9][a-z0-9._-]{0,49})=([1-9]\d{0,4})d")


class LabelOrigin(StrEnum):
    """Who has set a label on a document."""

    SOURCE = "source"
    """The source states it of the document."""

    TEXT = "text"
    """The document's own live text states it."""

    OWNER = "owner"
    """A person set it; no sync takes it away."""

    PARENT = "parent"
    """The document that this one was found in has it."""

    DEFAULT = "default"
    """Every document of the source has it."""


@dataclass(frozen=True, slots=True, order=True)
class Labelled:
    """A label and where it comes from; the same one may come from several."""

    label: Label
    origin: LabelOrigin


def label_named(text: str) -> Label:
    """The label of this name. Case does not count, and a space or "_" is a "-".

    Raises:
        ValueError: There is no such label.
    """
    name = re.sub(r"[\s_]+", "-", text.strip()).lower()
    if name in (NO_AI, HOLD):
        return Label(name)
    if name.startswith(RETENTION) and _CLASS.fullmatch(name.removeprefix(RETENTION)):
        return Label(name)
    raise ValueError(f"there is no label {text[:60]!r}; there are no-ai, hold and retention:<class>")


def labels_named(texts: Iterable[str]) -> tuple[Label, ...]:
    """The labels of these names, each once, in order.

    Raises:
        ValueError: One of them is none, or there are over `MAX_LABELS`.
    """
    named = tuple(sorted({label_named(text) for text in texts}))
    if len(named) > MAX_LABELS:
        raise ValueError(f"there are over {MAX_LABELS} labels")
    return named


def may_be_prompted(labels: Collection[Label]) -> bool:
    """Whether a document with these labels may enter a prompt."""
    return NO_AI not in labels


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long a document is kept.

    Attributes:
        classes: Its classes of retention, in order; mostly one.
        until: When its period ends, None for never: it has no class, or one that nobody gave a period. Of
            several classes the longest counts.
        is_held: Whether a hold stops the period from ending.
        unknown: Those of its classes that have no period.
    """

    classes: tuple[str, ...] = ()
    until: datetime | None = None
    is_held: bool = False
    unknown: tuple[str, ...] = ()

    @property
    def ends_at(self) -> datetime | None:
        """From when on it is not served any more, None for never."""
        return None if self.is_held else self.until


@dataclass(frozen=True, slots=True)
class Retention:
    """Classes of retention and their periods. The rule stands here, and as SQL in `adapters/sql/visibility.py`."""

    periods: Mapping[str, timedelta] = field(default_factory=dict)

    def keeping(self, labels: Collection[Label], modified_at: datetime) -> Keeping:
        """How long a document with these labels is kept that its source last changed at a moment."""
        classes = tuple(sorted(each.removeprefix(RETENTION) for each in labels if each.startswith(RETENTION)))
        unknown = tuple(name for name in classes if name not in self.periods)
        ends = [modified_at + self.periods[name] for name in classes if not unknown]
        return Keeping(classes, max(ends, default=None), HOLD in labels, unknown)

    def is_over(self, labels: Collection[Label], modified_at: datetime, now: datetime) -> bool:
        """Whether the document's period has ended."""
        ends_at = self.keeping(labels, modified_at).ends_at
        return ends_at is not None and ends_at <= now


def retention_from(text: str) -> Retention:
    """The classes of a setting: `minutes=90d,contracts=3650d`.

    Raises:
        ValueError: It cannot be understood, or names a class twice.
    """
    periods: dict[str, timedelta] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _PERIOD.fullmatch(part)
        if found is None or found[1] in periods:
            raise ValueError(f"{part!r} is no class with its period: write each once, as minutes=90d")
        periods[found[1]] = timedelta(days=int(found[2]))
    return Retention(periods)

"""The small markup in which the sample's texts are written.

A source starts with `key: value` lines between two `---` lines, followed by
headings (`#` to `####`), paragraphs, `-` and `1.` lists, and pipe tables.
There is no inline markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

FENCE = "---"
HEAD, TABLE, BULLETS, NUMBERS, TEXT = "heading", "table", "bullets", "numbers", "text"
KINDS = {
    HEAD: re.compile(r"^#{1,4} (.+)$"),
    TABLE: re.compile(r"^(\|.*\|)$"),
    BULLETS: re.compile(r"^- (.+)$"),
    NUMBERS: re.compile(r"^\d+\. (.+)$"),
}
RULE = re.compile(r"^\|[-| :]+\|$")


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 4."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text without line breaks."""

    text: str


@dataclass(frozen=True)
class Listing:
    """A bulleted or numbered list."""

    items: tuple[str, ...]
    ordered: bool


@dataclass(frozen=True)
class Table:
    """A table whose first row is the header."""

    rows: tuple[tuple[str, ...], ...]


Block = Heading | Paragraph | Listing | Table


@dataclass(frozen=True)
class Source:
    """One parsed source text."""

    meta: dict[str, str]
    blocks: tuple[Block, ...]

    @property
    def title(self) -> str:
        """The document's title."""
        return self.meta["title"]

    @property
    def author(self) -> str:
        """The document's author."""
        return self.meta.get("author", "Tarnvik Instruments")

    @property
    def language(self) -> str:
        """The language tag of the text."""
        return self.meta.get("lang", "en")

    @property
    def date(self) -> datetime:
        """The document's date: `2025-03-01` or `2025-03-01 09:30`."""
        text = self.meta["date"]
        return datetime.fromisoformat(text if " " in text else f"{text} 09:00")


def parse(text: str) -> Source:
    """Parse one source text, its head included."""
    head, body = _split_head(text)
    return Source(head, tuple(_blocks(body)))


def table_cells(line: str) -> tuple[str, ...]:
    """The cells of one pipe table line."""
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


def _split_head(text: str) -> tuple[dict[str, str], str]:
    lines = text.split("\n")
    if lines[0].strip() != FENCE:
        raise ValueError("a source text starts with a head between two --- lines")
    end = lines.index(FENCE, 1)
    head = {}
    for line in lines[1:end]:
        key, _, value = line.partition(":")
        head[key.strip()] = value.strip()
    return head, "\n".join(lines[end + 1 :])


def _blocks(body: str) -> Iterator[Block]:
    """Read the body line by line: a blank line (one is put at the end) or another kind ends a block."""
    kind, lines = "", list[str]()
    for line in [*body.split("\n"), ""]:
        found = _kind(line, kind)
        if found != kind or found == HEAD:
            if lines:
                yield _block(kind, lines)
            kind, lines = found, []
        if found:
            lines.append(line.strip())


def _kind(line: str, before: str) -> str:
    """The kind of a line, given the kind of the one before: plain text goes on with a list item."""
    if not line.strip():
        return ""
    for kind, pattern in KINDS.items():
        if pattern.match(line):
            return kind
    return before if before in (BULLETS, NUMBERS) else TEXT


def _block(kind: str, lines: list[str]) -> Block:
    if kind == HEAD:
        marks, _, text = lines[0].partition(" ")
        return Heading(len(marks), text)
    if kind == TABLE:
        return Table(tuple(table_cells(line) for line in lines if not RULE.match(line)))
    if kind == TEXT:
        return Paragraph(" ".join(lines))
    return Listing(tuple(_items(lines, KINDS[kind])), kind == NUMBERS)


def _items(lines: list[str], pattern: re.Pattern[str]) -> Iterator[str]:
    current = ""
    for line in lines:
        match = pattern.match(line)
        if match is None:
            current += " " + line
            continue
        if current:
            yield current
        current = match.group(1)
    yield current

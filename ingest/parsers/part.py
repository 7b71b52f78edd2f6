"""What a parser gives: parts of a document in reading order, not yet normalised.

A lean stand-in for `unstructured`'s `Element`: one of those costs 13 microseconds to make and needs a
second import of half a second, a part costs 2; a long PDF or a mail folder is made of tens of thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ingest.document import BlockKind
from retrieval.labels import Label

MAX_TEXT_CHARACTERS = 2_000_000
MAX_HEADING_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Source:
    """The file to parse.

    Attributes:
        name: A hint only, never opened as a path.
        beat: Called now and then by long parsers, so that the parent sees progress.
    """

    content: bytes
    name: str
    media_type: str
    beat: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One block before its text is cleaned and placed. The fields are those of `ingest.document.Block`."""

    kind: BlockKind
    text: str
    level: int = 0
    page: int | None = None
    header: str = ""


@dataclass(frozen=True, slots=True)
class PackedMember:
    """A file inside the file: an archive's member, a mail's attachment, an embedded workbook.

    Attributes:
        name: As stated inside, path and all; not to be trusted.
        read: Gives its bytes, at most once and in the order in which members come. Raises `DocumentError`.
    """

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Draft:
    """A parser's answer.

    Attributes:
        parts: May be a generator: it is read once, and only until the text limit is reached.
        members: Files inside; may be a generator as well.
        is_container: Files inside were kept, so that having no text is no failure.
        labels: What the text says of itself.
    """

    parts: Iterable[Part]
    title: str = ""
    modified_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    members: Iterable[PackedMember] = ()
    is_container: bool = False
    labels: tuple[Label, ...] = ()


def heading(text: str, level: int, page: int | None = None) -> Part:
    """A heading, or a paragraph when it is too long to be one or has no letter."""
    if len(text) > MAX_HEADING_CHARACTERS or not any(character.isalnum() for character in text):
        return paragraph(text, page)
    return Part(BlockKind.HEADING, " ".join(text.split()), max(1, level), page)


def paragraph(text: str, page: int | None = None) -> Part:
    """A paragraph."""
    return Part(BlockKind.PARAGRAPH, text, page=page)


def list_item(text: str, page: int | None = None) -> Part:
    """One item of a list, without its bullet."""
    return Part(BlockKind.LIST_ITEM, text, page=page)


def code(text: str, page: int | None = None) -> Part:
    """Text whose spaces and line ends matter."""
    return Part(BlockKind.CODE, text, page=page)


def table(rows: Iterable[Sequence[str]], page: int | None = None) -> Part:
    """A table with its first row as header: a row per line, cells joined by " | ", empty rows left out.

    Rows are read only until the text limit, so a sheet of a million rows costs no more than fits.
    """
    lines: list[str] = []
    size = 0
    for row in rows:
        cells = [" ".join(cell.split()) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        lines.append(" | ".join(cells))
        size += len(lines[-1])
        if size > MAX_TEXT_CHARACTERS:
            break
    return Part(BlockKind.TABLE, "\n".join(lines), page=page, header=lines[0] if len(lines) > 1 else "")

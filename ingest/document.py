"""A document on its way in: as fetched, as parsed, as cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from retrieval.labels import Label
from retrieval.sections import HeadingPath


class BlockKind(StrEnum):
    """What a block of text is in its document."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST_ITEM = "list_item"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a parsed document's text.

    Blocks are in reading order, do not overlap, and contain no leading or trailing white space.

    Attributes:
        kind: What it is. A table is one block whose rows are lines, cells joined by " | ".
        start: Offset of its first character in `ParsedDocument.text`.
        end: Offset after its last character.
        level: Depth of a heading from 1; 0 for every other kind.
        page: Page, slide or sheet number from 1, None where the format has none.
        header: A table's header row, repeated for chunks that do not contain it; empty otherwise.
            The header row also stands in the text as the table's first line.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    page: int | None = None
    header: str = ""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    r"""Text and structure of one document.

    Attributes:
        media_type: IANA type found by looking at the bytes, not at the name.
        title: From the document's own metadata or first heading; empty when it has none.
        text: The extracted text, NFC normalised, "\\n" line ends, blocks separated by "\\n\\n". Empty for a
            container: a file that has no text of its own, but files inside.
        blocks: The parts of `text`, in order.
        language: ISO 639-1 code of the main language, `und` when unsure.
        warnings: Codes of what was cut or left out, for example `text_truncated`.
        metadata: Small facts from the file, for example `author`; strings only.
        labels: What the text says of itself in its front matter.
    """

    media_type: str
    title: str
    text: str
    blocks: tuple[Block, ...]
    language: str = "und"
    modified_at: datetime | None = None
    warnings: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkDraft:
    """A chunk before it has an id. `text` is `ParsedDocument.text[start:end]`, exactly.

    Attributes:
        position: From 0, in reading order.
        heading_path: Headings above it, outermost first.
        context: A table's header row when the chunk does not contain it; empty otherwise.
        n_tokens: Wordpieces of the indexed text (title and headings included), special tokens not counted.
        section_paths: Full heading paths of all its text, where `heading_path` does not say it all: where there
            are more headings than are shown, or headings are the text. Else empty.
    """

    position: int
    start: int
    end: int
    text: str
    heading_path: tuple[str, ...]
    page: int | None
    context: str
    n_tokens: int
    section_paths: tuple[HeadingPath, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file found inside a file.

    Attributes:
        name: As stated inside; not to be trusted, see `ingest.members`.
        path: Where its bytes lie, None while they are not taken over and where there are none.
        error_code: Why its bytes could not be had, empty when they could.
    """

    name: str
    size_bytes: int
    error_code: str = ""
    error_message: str = ""
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Intake:
    """Room for the files found inside a file.

    Attributes:
        folder: Takes their bytes; on the file system of the sandbox's scratch folder.
        max_files: Most files to take; 0 when the file itself was found too deep for more.
        max_bytes: Most bytes to take, all files together.
    """

    folder: Path
    max_files: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Extraction:
    """What the sandbox returns for one file: the parsed document, its chunks, and files found inside."""

    document: ParsedDocument
    chunks: tuple[ChunkDraft, ...]
    found: tuple[FoundFile, ...] = ()

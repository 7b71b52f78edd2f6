"""Parses one file into text and blocks.

A pure function of the bytes: no network, no file written, no state kept. It trusts nothing about the file,
but a library under it may still loop or crash, so the desk calls it only through `ingest.sandbox`.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ingest import media_types as types
from ingest.document import Block, BlockKind, ParsedDocument
from ingest.errors import (
    CorruptError,
    DocumentError,
    EmptyFileError,
    EncryptedError,
    NoTextError,
    UnsupportedTypeError,
)
from ingest.language import detect_language
from ingest.parsers.archive import check_budget
from ingest.parsers.part import MAX_TEXT_CHARACTERS, Draft, PackedMember, Part, Source

# Media type -> module below `ingest.parsers`, imported when the first file of its kind comes.
PARSERS: dict[str, str] = {
    types.PDF: "pdf",
    types.DOCX: "docx",
    types.PPTX: "pptx",
    types.XLSX: "spreadsheet",
    types.XLSB: "spreadsheet",
    types.XLS: "spreadsheet",
    types.ODS: "spreadsheet",
    types.ODT: "odf",
    types.ODP: "odf",
    types.EPUB: "epub",
    types.MSG: "msg",
    types.EML: "eml",
    types.RTF: "rtf",
    types.HTML: "html",
    types.XHTML: "html",
    types.XML: "xml",
    types.MARKDOWN: "markdown",
    types.CSV: "delimited",
    types.TSV: "delimited",
    types.RST: "text",
    types.ORG: "text",
    types.TEX: "text",
    types.JSON: "text",
    types.YAML: "text",
    types.PLAIN: "text",
    types.ZIP: "container",
    types.TAR: "container",
    types.GZIP: "container",
    types.BZIP2: "container",
    types.XZ: "container",
}

ARCHIVES = frozenset(kind for kind, module in PARSERS.items() if module == "container")

_KNOWN_UNSUPPORTED = {
    "application/msword": "a Word 97-2003 document (.doc); save it as .docx",
    "application/vnd.ms-powerpoint": "a PowerPoint 97-2003 presentation (.ppt); save it as .pptx",
    types.OLE: "an old Office or other compound file of unknown kind",
    types.ZIP: "a zip archive; unpack it and add the documents in it",
    types.BINARY: "binary data of unknown kind",
}

TEXT_TRUNCATED = "text_truncated"
CONTAINER = "container"
"""Warning of a file that has no text of its own, but files inside, which are documents of their own."""

MEMBERS_LEFT_OUT = "members_left_out"
"""Warning of a file that was read, but not all files inside: too many, too large, too deep, or unreadable."""
# A longer header row cannot be repeated with every chunk and still leave room for the rows.
MAX_HEADER_CHARACTERS = 1_000

# Characters no reader sees: they hide instructions from people or split words for the search.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff9-\uffff\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff]"
    # The two joiners carry meaning in Arabic and Indic scripts, and nowhere else.
    "|(?<![\u0600-\u08ff\u0900-\u0dff])[\u200c\u200d]"
)
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_LINE_ENDS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SPACES = re.compile("[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_TRAILING = re.compile("[ \t]+(?=\n|$)")


Keep = Callable[[PackedMember], None]


def parse(
    content: bytes, *, name: str, beat: Callable[[], None] = lambda: None, keep: Keep | None = None
) -> ParsedDocument:
    """Parse one file.

    Args:
        content: All of its bytes.
        name: Its file name: a hint where the bytes leave the type open.
        beat: Called now and then while work goes on.
        keep: Takes each file found inside, one after the other; raises `ExpansionError` when there is no
            room. Without it files inside are left alone and archives refused.

    Raises:
        DocumentError: For every input that cannot be taken in; nothing else, save MemoryError.
    """
    media_type = types.BINARY
    try:
        media_type = types.detect_media_type(content, name)
        _refuse(content, media_type, opens=keep is not None)
        reader = importlib.import_module(f"ingest.parsers.{PARSERS[media_type]}")
        draft = reader.read(Source(content, name, media_type, beat))
        if keep is not None:
            draft = _with_members_kept(draft, keep, is_archive=media_type in ARCHIVES)
        return assemble(draft, media_type, beat)
    except (DocumentError, MemoryError):
        raise
    except RecursionError as error:
        raise CorruptError("the file is nested too deeply to be read") from error
    except Exception as error:  # on damaged input a dozen libraries raise whatever they stumble over
        raise CorruptError(f"the {media_type} reader stopped: {type(error).__name__}") from error


def _with_members_kept(draft: Draft, keep: Keep, *, is_archive: bool) -> Draft:
    """The draft, its members kept. An archive is nothing but its members; a mail is read without them, too."""
    count, warnings = 0, draft.warnings
    try:
        for member in draft.members:
            keep(member)
            count += 1
    except DocumentError:
        if is_archive:
            raise
        warnings = (*warnings, MEMBERS_LEFT_OUT)
    return replace(draft, members=(), is_container=count > 0, warnings=warnings)


def _refuse(content: bytes, media_type: str, *, opens: bool) -> None:
    """Turn away what no parser should see."""
    if media_type == types.EMPTY:
        raise EmptyFileError("the file has no bytes")
    if content.startswith(b"PK"):
        check_budget(content, nested=media_type == types.ZIP)
    if media_type == types.ENCRYPTED_OFFICE:
        raise EncryptedError("the Office file is encrypted with a password")
    if media_type == types.PLAIN and not content.strip(b"\x00 \t\r\n"):
        raise NoTextError("the file holds nothing but white space")
    if media_type not in PARSERS or (media_type in ARCHIVES and not opens):
        raise UnsupportedTypeError(f"the file is {_KNOWN_UNSUPPORTED.get(media_type, media_type)}")


def assemble(draft: Draft, media_type: str, beat: Callable[[], None] = lambda: None) -> ParsedDocument:
    """Clean a draft's parts and lay them out as one text with exact offsets.

    Raises:
        NoTextError: No part has a letter or digit.
    """
    layout = _Layout([], [])
    layout.fill(draft.parts, beat)
    text = "\n\n".join(layout.texts)
    if not any(character.isalnum() for character in text):
        if not draft.is_container:
            raise NoTextError("no text was found in the file")
        layout, text = _Layout([], []), ""
    first_heading = next((b for b in layout.blocks if b.kind is BlockKind.HEADING), None)
    title = clean_line(draft.title)
    if not title and first_heading is not None:
        title = text[first_heading.start : first_heading.end]
    warnings = (*draft.warnings, *((TEXT_TRUNCATED,) if layout.is_truncated else ()))
    warnings = (*warnings, *((CONTAINER,) if not text else ()))
    return ParsedDocument(
        media_type=media_type,
        title=title,
        text=text,
        blocks=tuple(layout.blocks),
        language=detect_language(text) if text else "und",
        modified_at=draft.modified_at,
        warnings=warnings,
        metadata={key: value for key, raw in draft.metadata.items() if (value := clean_line(raw))},
        labels=draft.labels,
    )


@dataclass(slots=True)
class _Layout:
    """The growing text: cleaned block texts and where each will stand."""

    texts: list[str]
    blocks: list[Block]
    position: int = 0
    is_truncated: bool = False

    def fill(self, parts: Iterable[Part], beat: Callable[[], None]) -> None:
        for count, part in enumerate(parts):
            if count % 256 == 0:
                beat()
            self.place(part)
            if self.is_truncated:
                return

    def place(self, part: Part) -> None:
        text = clean(part)
        start = self.position + (2 if self.texts else 0)
        room = MAX_TEXT_CHARACTERS - start
        if len(text) > room:
            self.is_truncated = True
            text = text[: max(room, 0)].rstrip()
        if not text:
            return
        header = text.partition("\n")[0] if part.header else ""
        header = header if len(header) <= MAX_HEADER_CHARACTERS else ""
        self.position = start + len(text)
        self.texts.append(text)
        self.blocks.append(Block(part.kind, start, self.position, part.level, part.page, header))


def clean(part: Part) -> str:
    """A part's text as it will stand: composed, visible characters only, one kind of line end."""
    text = part.text
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    text = _CONTROLS.sub("", _LINE_ENDS.sub("\n", text))
    if part.kind is BlockKind.CODE:
        text = _TRAILING.sub("", text).strip()
    else:
        lines = (line.strip() for line in _SPACES.sub(" ", text).split("\n"))
        text = (" " if part.kind is BlockKind.HEADING else "\n").join(line for line in lines if line)
    # Composing last: removing a character may bring a letter and its accent together.
    return text if text.isascii() else unicodedata.normalize("NFC", text).strip()


def clean_line(text: str, limit: int = 300) -> str:
    """A title or a fact about the file as one clean line of at most `limit` characters."""
    return clean(Part(BlockKind.HEADING, text[: limit * 4]))[:limit].strip()

"""Plain text and its relatives: reStructuredText, Org, TeX sources, JSON, YAML, logs, subtitles."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingest import media_types as types
from ingest.parsers.part import Draft, Part, Source, code, heading, list_item, paragraph
from ingest.parsers.text_decoding import decode_text

_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_BULLET = re.compile(r"[ \t]*(?:[-*+•‣◦▪]|\d{1,3}[.)])[ \t]+(?=\S)")
_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}[ \t]*$")
_ORG_HEADING = re.compile(r"(\*{1,6})[ \t]+(?:(?:TODO|DONE)[ \t]+)?(.+)$")
_TEX_HEADING = re.compile(
    r"[ \t]*\\(part|chapter|section|subsection|subsubsection|paragraph)\*?\{(.+)\}"
    r"[ \t]*(?:\\label\{.*\})?[ \t]*$"
)
_TEX_LEVELS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
# Longest block: a log without a blank line is still cut at line ends.
_BLOCK_CHARACTERS = 20_000


def read(source: Source) -> Draft:
    """Paragraphs between blank lines, list items, and headings where the format marks them."""
    text = decode_text(source.content)
    if source.media_type in (types.JSON, types.YAML):
        return Draft(_code_blocks(text))
    if source.media_type == types.RST:
        return Draft(_with_headings(_underlined_headings(text)))
    if source.media_type == types.ORG:
        return Draft(_with_headings(_marked_headings(text, types.ORG)))
    if source.media_type == types.TEX:
        return Draft(_with_headings(_marked_headings(text, types.TEX)))
    return Draft(read_plain(text))


def read_plain(text: str) -> Iterator[Part]:
    """Paragraphs and list items of text without markup."""
    for block in _BLANK_LINES.split(_unix_lines(text).strip("\n")):
        for piece in _pieces(block):
            yield from _items(piece)


def _unix_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")


def _pieces(block: str) -> Iterator[str]:
    """A block whole, or cut at line ends into pieces of bounded size."""
    if len(block) <= _BLOCK_CHARACTERS:
        yield block
        return
    piece: list[str] = []
    size = 0
    for line in block.split("\n"):
        for start in range(0, max(len(line), 1), _BLOCK_CHARACTERS):
            stretch = line[start : start + _BLOCK_CHARACTERS]
            if size + len(stretch) > _BLOCK_CHARACTERS and piece:
                yield "\n".join(piece)
                piece, size = [], 0
            piece.append(stretch)
            size += len(stretch)
    yield "\n".join(piece)


def _items(block: str) -> Iterator[Part]:
    """A block's list items when its first line is one, else the block as a paragraph."""
    if not _BULLET.match(block):
        yield paragraph(block)
        return
    item: list[str] = []
    for line in block.split("\n"):
        if (bullet := _BULLET.match(line)) and item:
            yield list_item("\n".join(item))
            item = []
        item.append(line[bullet.end() :] if bullet and not line.strip()[:1].isdigit() else line)
    yield list_item("\n".join(item))


def _code_blocks(text: str) -> Iterator[Part]:
    for piece in _pieces(_unix_lines(text)):
        yield code(piece)


def _with_headings(lines: Iterator[str | Part]) -> Iterator[Part]:
    body: list[str] = []
    for line in lines:
        if isinstance(line, str):
            body.append(line)
            continue
        yield from read_plain("\n".join(body))
        body.clear()
        yield line
    yield from read_plain("\n".join(body))


def _marked_headings(text: str, media_type: str) -> Iterator[str | Part]:
    for line in _unix_lines(text).split("\n"):
        if media_type == types.ORG and (found := _ORG_HEADING.match(line)):
            yield heading(found.group(2), len(found.group(1)))
        elif media_type == types.TEX and (found := _TEX_HEADING.match(line)):
            yield heading(found.group(2), _TEX_LEVELS[found.group(1)])
        elif media_type == types.TEX and line.lstrip().startswith("%"):
            continue
        else:
            yield line


def _underlined_headings(text: str) -> Iterator[str | Part]:
    """reStructuredText: a line over a row of one sign; levels in the order in which signs first appear."""
    lines = _unix_lines(text).split("\n")
    signs: list[str] = []
    at = 0
    while at < len(lines):
        line, below = lines[at], lines[at + 1] if at + 1 < len(lines) else ""
        rule = _UNDERLINE.match(below)
        if (
            rule
            and line.strip()
            and not _UNDERLINE.match(line)
            and len(below.rstrip()) >= len(line.strip()) - 1
        ):
            if rule.group(1) not in signs:
                signs.append(rule.group(1))
            yield heading(line.strip(), signs.index(rule.group(1)) + 1)
            at += 2
        else:
            if not _UNDERLINE.match(line):
                yield line
            at += 1

"""Markdown (CommonMark with tables)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ingest.parsers.html import read_markup
from ingest.parsers.part import Draft, Part, Source, code, heading, list_item, paragraph, table
from ingest.parsers.text_decoding import decode_text
from retrieval.labels import MAX_LABELS, Label, label_named

_FRONT_MATTER = re.compile(
    r"\A\s*(?:---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)"  # YAML
    r"|\+\+\+[ \t]*\n(.*?)\n\+\+\+[ \t]*(?:\n|\Z))",  # TOML
    re.S,
)
_FIELD = re.compile(r"^(title|author|description)\s*[:=]\s*(.+?)\s*$", re.M | re.I)
_LABELS = re.compile(
    r"^labels[ \t]*[:=][ \t]*(\[[^\]]*\]|[^\n]*(?:\n[ \t]*-[ \t][^\n]*)*)",  # [a, b], or one a line behind "-"
    re.M | re.I,
)
UNKNOWN_LABEL = "unknown_label"
"""Warning of a text whose front matter names a label that there is not."""

_TITLE_ANCHOR = re.compile(r"\s*\{#[\w-]+\}\s*$")

_PARSER = MarkdownIt("commonmark", {"maxNesting": 50}).enable("table").enable("strikethrough")


def read(source: Source) -> Draft:
    """Headings, paragraphs, list items, tables, code. Front matter gives title and labels, and is no body text."""
    return read_markdown(decode_text(source.content))


def read_markdown(text: str) -> Draft:
    """As `read`, for text already decoded."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    fields: dict[str, str] = {}
    labels: tuple[Label, ...] = ()
    warnings: tuple[str, ...] = ()
    if match := _FRONT_MATTER.match(text):
        fields = {
            name.lower(): value.strip("\"'")
            for name, value in _FIELD.findall(match.group(1) or match.group(2))
        }
        labels, warnings = _labels(match.group(1) or match.group(2))
        text = text[match.end() :]
    tokens = _PARSER.parse(text)
    title = fields.pop("title", "")
    return Draft(_parts(tokens), title, metadata=fields, labels=labels, warnings=warnings)


def _labels(front_matter: str) -> tuple[tuple[Label, ...], tuple[str, ...]]:
    """The labels that front matter names, and what to warn of: a name that is none, or too many of them."""
    found: set[Label] = set()
    warnings: tuple[str, ...] = ()
    for value in _LABELS.findall(front_matter):
        for piece in re.split(r"[,\n\[\]]", value):
            name = piece.partition("#")[0].strip().removeprefix("- ").strip(" \t\"'")
            try:
                found |= {label_named(name)} if name else set()
            except ValueError:
                warnings = (UNKNOWN_LABEL,)
    labels = sorted(found)
    return tuple(labels[:MAX_LABELS]), (UNKNOWN_LABEL,) if len(labels) > MAX_LABELS else warnings


def _parts(tokens: list[Token]) -> Iterator[Part]:
    # A list item is told by its first paragraph; what follows in the same item is text of its own.
    is_item_start = False
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token.type == "table_open":
            end = next(i for i in range(at, len(tokens)) if tokens[i].type == "table_close")
            yield table(_rows(tokens[at:end]))
            at = end
        elif token.type == "list_item_open":
            is_item_start = True
        elif token.type == "heading_open":
            yield heading(_TITLE_ANCHOR.sub("", _inline_text(tokens[at + 1])), int(token.tag[1]))
            at += 1
        elif token.type == "inline":
            text = _inline_text(token)
            yield list_item(text) if is_item_start else paragraph(text)
            is_item_start = False
        elif token.type in ("fence", "code_block"):
            yield code(token.content)
        elif token.type == "html_block":
            yield from read_markup(token.content).parts
        at += 1


def _rows(tokens: list[Token]) -> Iterator[list[str]]:
    cells: list[str] = []
    for token in tokens:
        if token.type == "tr_open":
            cells = []
        elif token.type == "inline":
            cells.append(_inline_text(token))
        elif token.type == "tr_close":
            yield cells


def _inline_text(token: Token) -> str:
    """What a reader sees of a paragraph: link texts without addresses, no emphasis marks, no tags."""
    pieces: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            pieces.append(child.content)
        elif child.type == "softbreak":
            pieces.append(" ")
        elif child.type == "hardbreak" or (
            child.type == "html_inline" and child.content.lower().startswith("<br")
        ):
            pieces.append("\n")
        elif child.type == "image":
            pieces.append(child.content)
    return "".join(pieces)

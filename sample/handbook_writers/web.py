"""HTML pages, RTF texts and mail messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape

from .markup import Block, Heading, Listing, Paragraph, Source

RTF_SIZES = {1: 36, 2: 30, 3: 26, 4: 24}
RTF_TABLE_WIDTH = 9000


def html_file(source: Source) -> bytes:
    """An intranet page with a navigation bar and a footer around the text."""
    lines = [
        "<!DOCTYPE html>",
        f'<html lang="{source.language}">',
        f'<head><meta charset="utf-8"><title>{escape(source.title)} - Tarnvik intranet</title></head>',
        "<body>",
        '<nav><a href="/">Home</a> <a href="/people">People</a> <a href="/it">IT</a></nav>',
        "<main>",
        *html_blocks(source.blocks),
        "</main>",
        f"<footer>Page owner: {escape(source.author)}. Last change: {source.date:%Y-%m-%d}.</footer>",
        "</body>",
        "</html>",
    ]
    return ("\n".join(lines) + "\n").encode("utf-8")


def html_blocks(blocks: Iterable[Block]) -> Iterator[str]:
    """One HTML element for each block (valid XHTML too)."""
    for block in blocks:
        if isinstance(block, Heading):
            yield f"<h{block.level}>{escape(block.text)}</h{block.level}>"
        elif isinstance(block, Paragraph):
            yield f"<p>{escape(block.text)}</p>"
        elif isinstance(block, Listing):
            tag = "ol" if block.ordered else "ul"
            yield f"<{tag}>{''.join(f'<li>{escape(item)}</li>' for item in block.items)}</{tag}>"
        else:
            head, *rows = block.rows
            body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
            yield f"<table><thead><tr>{_cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _cells(texts: tuple[str, ...], tag: str) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def plain_text(blocks: Iterable[Block]) -> str:
    """The blocks as plain text, tables with ` | ` between the cells."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading | Paragraph):
            parts.append(block.text)
        elif isinstance(block, Listing):
            marks = (f"{number}." if block.ordered else "-" for number in range(1, len(block.items) + 1))
            parts.append("\n".join(f"{mark} {item}" for mark, item in zip(marks, block.items, strict=True)))
        else:
            parts.append("\n".join(" | ".join(row) for row in block.rows))
    return "\n\n".join(parts) + "\n"


def eml_file(source: Source) -> bytes:
    """A mail message with a plain text and an HTML form of the same body."""
    message = EmailMessage(policy=SMTP)
    message["From"] = source.meta["from"]
    message["To"] = source.meta["to"]
    if "cc" in source.meta:
        message["Cc"] = source.meta["cc"]
    message["Subject"] = source.title
    message["Date"] = format_datetime(source.date.replace(tzinfo=UTC))
    message["Message-ID"] = f"<{source.meta['number']}@tarnvik.example>"
    message.set_content(plain_text(source.blocks))
    page = "\n".join(html_blocks(source.blocks))
    message.add_alternative(f"<html><body>\n{page}\n</body></html>\n", subtype="html")
    message.set_boundary(f"=-{source.meta['number']}")
    return message.as_bytes()


def rtf_file(source: Source) -> bytes:
    """A Rich Text Format document."""
    lines = [
        r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Arial;}}",
        rf"{{\info{{\title {_rtf(source.title)}}}{{\author {_rtf(source.author)}}}}}",
        *(line for block in source.blocks for line in _rtf_block(block)),
        "}",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _rtf_block(block: Block) -> Iterator[str]:
    if isinstance(block, Heading):
        yield (
            rf"{{\pard\sb240\sa120\outlinelevel{block.level - 1}\b\fs{RTF_SIZES[block.level]} "
            rf"{_rtf(block.text)}\par}}"
        )
    elif isinstance(block, Paragraph):
        yield rf"{{\pard\sa120\fs22 {_rtf(block.text)}\par}}"
    elif isinstance(block, Listing):
        for number, item in enumerate(block.items, start=1):
            mark = f"{number}." if block.ordered else r"\bullet "
            yield rf"{{\pard\li360\fi-360\fs22 {mark}\tab {_rtf(item)}\par}}"
    else:
        for row in block.rows:
            yield _rtf_row(row)


def _rtf_row(texts: tuple[str, ...]) -> str:
    width = RTF_TABLE_WIDTH // len(texts)
    edges = "".join(rf"\cellx{width * number}" for number in range(1, len(texts) + 1))
    cells = "".join(rf"\pard\intbl {_rtf(text)}\cell" for text in texts)
    return rf"\trowd{edges}{cells}\row"


def _rtf(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("{", "\\{").replace("}", "\\}")
    return "".join(char if char.isascii() else rf"\u{_signed(ord(char))}?" for char in escaped)


def _signed(code: int) -> int:
    return code - 0x10000 if code > 0x7FFF else code

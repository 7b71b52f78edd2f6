"""Plain readers for the sample's formats, kept apart from the product's own extraction."""

from __future__ import annotations

import email
import email.policy
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import docx
import openpyxl
import pptx
import pypdfium2
from oxmsg import Message

OLE_START = bytes.fromhex("d0cf11e0a1b11ae1")
ZIP_MEMBERS = {".docx": "word/document.xml", ".pptx": "ppt/presentation.xml", ".xlsx": "xl/workbook.xml"}
MIMETYPES = {".odt": b"application/vnd.oasis.opendocument.text", ".epub": b"application/epub+zip"}
STARTS = {".pdf": b"%PDF-", ".rtf": b"{\\rtf1", ".msg": OLE_START, ".html": b"<!DOCTYPE html>"}
RTF_GROUP = re.compile(r"\{\\(?:fonttbl|info)(?:[^{}]|\{[^{}]*\})*\}")
RTF_UNICODE = re.compile(r"\\u(-?\d+)\?")
RTF_BREAK = re.compile(r"\\(?:par|cell|row|tab)\b ?")
RTF_WORD = re.compile(r"\\[a-z]+-?\d* ?")


def text_of(path: Path) -> str:
    """All text of the file; the pages of a PDF end in form feeds."""
    return READERS[path.suffix](path)


def claimed_type_problem(path: Path) -> str:
    """Why the file is not what its name says, or nothing."""
    data = path.read_bytes()
    if path.suffix in STARTS:
        return "" if data.startswith(STARTS[path.suffix]) else "wrong first bytes"
    if path.suffix in ZIP_MEMBERS | MIMETYPES:
        return _zip_problem(path)
    if path.suffix == ".eml":
        message = email.message_from_bytes(data, policy=email.policy.default)
        return "" if message["From"] and message["Subject"] and message["Date"] else "headers are missing"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    return "" if path.suffix in READERS else "unknown format"


def _zip_problem(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return "not a zip container"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if path.suffix in ZIP_MEMBERS:
            return "" if ZIP_MEMBERS[path.suffix] in names else "main part is missing"
        right = names[0] == "mimetype" and archive.read("mimetype") == MIMETYPES[path.suffix]
        return "" if right else "wrong mimetype entry"


def _plain(path: Path) -> str:
    return path.read_text("utf-8")


def _docx(path: Path) -> str:
    document = docx.Document(str(path))
    cells = (cell.text for table in document.tables for row in table.rows for cell in row.cells)
    return "\n".join([*(paragraph.text for paragraph in document.paragraphs), *cells])


def _pptx(path: Path) -> str:
    return "\n".join(_slide_texts(path))


def _slide_texts(path: Path) -> Iterator[str]:
    for slide in pptx.Presentation(str(path)).slides:
        shapes: Iterable[Any] = slide.shapes  # what is typed is only what all kinds of shapes have
        for shape in shapes:
            if shape.has_text_frame:
                yield shape.text_frame.text
            if shape.has_table:
                yield from (cell.text for row in shape.table.rows for cell in row.cells)
        frame = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
        if frame is not None:
            yield frame.text


def _xlsx(path: Path) -> str:
    workbook = openpyxl.load_workbook(path, read_only=True)
    rows = (row for sheet in workbook.worksheets for row in sheet.iter_rows(values_only=True))
    return "\n".join(" ".join(str(value) for value in row if value is not None) for row in rows)


def _pdf(path: Path) -> str:
    document = pypdfium2.PdfDocument(path)
    return "".join(f"{page.get_textpage().get_text_range()}\f" for page in document)


class _Text(HTMLParser):
    """Collects the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        """Keep one piece of text."""
        self.parts.append(data)


def _html(path: Path) -> str:
    parser = _Text()
    parser.feed(path.read_text("utf-8"))
    return " ".join(parser.parts)


def _zipped_xml(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith((".xhtml", "content.xml"))]
        trees = [ElementTree.fromstring(archive.read(name)) for name in names]
    return " ".join(text for tree in trees for text in tree.itertext())


def _rtf(path: Path) -> str:
    text = RTF_GROUP.sub("", path.read_text("ascii"))
    text = RTF_UNICODE.sub(lambda match: chr(int(match.group(1)) % 0x10000), text)
    return RTF_WORD.sub("", RTF_BREAK.sub("\n", text)).replace("{", "").replace("}", "")


def _eml(path: Path) -> str:
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    body = message.get_body(("plain",))
    return f"{message['Subject']}\n{body.get_content() if body else ''}"


def _msg(path: Path) -> str:
    message = Message.load(str(path))
    return f"{message.subject}\n{message.sender}\n{message.body}"


READERS: dict[str, Callable[[Path], str]] = {
    ".csv": _plain,
    ".docx": _docx,
    ".eml": _eml,
    ".epub": _zipped_xml,
    ".html": _html,
    ".md": _plain,
    ".msg": _msg,
    ".odt": _zipped_xml,
    ".pdf": _pdf,
    ".pptx": _pptx,
    ".rtf": _rtf,
    ".txt": _plain,
    ".xlsx": _xlsx,
}

"""OpenDocument text and presentations."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.errors import CorruptError, EncryptedError
from ingest.parsers.archive import open_archive, read_member, read_xml
from ingest.parsers.dates import parse_iso_date
from ingest.parsers.part import Draft, Part, Source, heading, list_item, paragraph, table
from ingest.parsers.xml_tree import Element, attribute, child_text, local_name

_SKIPPED = frozenset(
    {"tracked-changes", "annotation", "sequence-decls", "forms", "note", "settings", "variable-decls"}
)
_MAX_REPEAT = 50


def read(source: Source) -> Draft:
    """Headings by outline level, paragraphs, lists and tables; a slide's title is a heading, page = slide.

    Raises:
        EncryptedError: The content is encrypted with a password.
    """
    with open_archive(source.content) as archive:
        names = archive.namelist()
        if "META-INF/manifest.xml" in names and b"encryption-data" in read_member(
            archive, "META-INF/manifest.xml"
        ):
            raise EncryptedError("the document is encrypted with a password")
        content = read_xml(archive, "content.xml")
        meta = read_xml(archive, "meta.xml") if "meta.xml" in names else None
    body = next(iter(content.iter("{*}body")), None)
    if body is None:
        raise CorruptError("the document has no body")
    title, author, date = (
        child_text(meta, name) if meta is not None else "" for name in ("title", "creator", "date")
    )
    return Draft(_parts(body), title, parse_iso_date(date.replace(",", ".")), {"author": author})


def _parts(body: Element) -> Iterator[Part]:
    stack: list[tuple[Element, int | None, bool]] = [(body, None, False)]
    n_slides = 0
    while stack:
        element, page, is_item = stack.pop()
        name = local_name(element)
        if name in _SKIPPED or not name:
            continue
        if name == "h":
            yield heading(_text(element), int(attribute(element, "outline-level") or "1"), page)
        elif name == "p":
            yield list_item(_text(element), page) if is_item else paragraph(_text(element), page)
            stack.extend((box, page, False) for box in reversed(list(_boxes(element))))
        elif name == "table":
            yield table(_rows(element), page)
        elif name == "frame" and attribute(element, "class") == "title":
            yield heading(" ".join(_text(p) for p in element.iter("{*}p")), 1, page)
        else:
            if name == "page":
                n_slides += 1
                page = n_slides
            in_item = name == "list-item" or (is_item and name != "notes")
            stack.extend((child, page, in_item) for child in reversed(element))


def _boxes(element: Element) -> Iterator[Element]:
    """Text boxes and tables anchored in a paragraph."""
    for frame in element.iter("{*}text-box"):
        if not any(local_name(above) == "text-box" for above in frame.iterancestors()):
            yield frame


def _text(element: Element) -> str:
    """A paragraph's text with its spaces, tabs and line breaks, without notes and text boxes."""
    pieces: list[str] = []
    stack: list[Element | str] = [element]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            pieces.append(node)
            continue
        name = local_name(node)
        if node is not element:
            stack.append(node.tail or "")
        if name in _SKIPPED or name == "text-box" or not name:
            continue
        pieces.append({"s": " ", "tab": " ", "line-break": "\n"}.get(name, node.text or ""))
        stack.extend(reversed(node))
    return "".join(pieces)


def _rows(element: Element) -> Iterator[list[str]]:
    for row in element.iter("{*}table-row"):
        if next(row.iterancestors("{*}table")) is not element:
            continue
        cells: list[str] = []
        for cell in row:
            if local_name(cell) not in ("table-cell", "covered-table-cell"):
                continue
            text = " ".join(_text(p) for p in cell.iter("{*}p", "{*}h"))
            cells.extend([text] * _repeat(cell))
        yield cells


def _repeat(cell: Element) -> int:
    value = attribute(cell, "number-columns-repeated")
    return max(1, min(int(value), _MAX_REPEAT)) if value.isascii() and value.isdigit() else 1

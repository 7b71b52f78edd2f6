"""XML of any vocabulary: FictionBook, DocBook, OPML, feeds, exports."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.parsers.part import Draft, Part, Source, heading, paragraph, table
from ingest.parsers.text_decoding import decode_text
from ingest.parsers.xml_tree import Element, attribute, child_text, local_name, parse_xml

_HEADING_TAGS = ("title", "subtitle", "head", "headline", "heading")
_SKIPPED = ("binary", "script", "style", "description")


def read(source: Source) -> Draft:
    """A heading for each title element, as deep as its sections nest, and a block for each leaf with text."""
    try:
        root = parse_xml(source.content)
    except UnicodeError:
        root = parse_xml(decode_text(source.content).encode())
    title = child_text(root, "book-title") or child_text(root, "title")
    return Draft(_parts(root), title, metadata={"root": local_name(root)})


def _parts(root: Element) -> Iterator[Part]:
    """Walks without recursion; an element with text directly in it becomes one block with all inside it."""
    stack: list[tuple[Element, int]] = [(root, 0)]
    while stack:
        element, depth = stack.pop()
        name = local_name(element)
        if name in _SKIPPED and len(element):
            continue
        if name in ("table", "informaltable"):
            yield table(_rows(element))
            continue
        text = _text(element)
        if name in _HEADING_TAGS and text:
            yield heading(text, max(1, depth))
        elif _has_own_text(element) or not len(element):
            if text or (text := attribute(element, "text")):
                yield paragraph(text)
        else:
            if outline := attribute(element, "text"):
                yield paragraph(outline)
            deeper = depth + (
                1 if name in ("section", "chapter", "part", "body", "sect1", "sect2", "article") else 0
            )
            stack.extend((child, deeper) for child in reversed(element))


def _rows(element: Element) -> Iterator[list[str]]:
    for row in element.iter("{*}tr", "{*}row"):
        yield [_text(cell) for cell in row if local_name(cell) in ("td", "th", "entry")]


def _has_own_text(element: Element) -> bool:
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)


def _text(element: Element) -> str:
    # Entities that stayed unexpanded are nodes without a name; their markup is no text.
    pieces = [element.text or ""]
    for node in element.iterdescendants():
        if local_name(node):
            pieces.append(node.text or "")
        pieces.append(node.tail or "")
    return " ".join("".join(pieces).split())

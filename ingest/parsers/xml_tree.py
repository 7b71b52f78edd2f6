"""XML read so that it can neither expand, nor open a file, nor call anybody."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from lxml import etree

from ingest.errors import CorruptError, ExpansionError

# lxml's element class is private and its stubs differ between versions; the few calls used are stable.
Element: TypeAlias = Any

_ENTITY = re.compile(rb"<!ENTITY\s+(?:%\s+)?[^\s>]+\s+(?:\"([^\"]*)\"|'([^']*)')", re.I)
_REFERENCE = re.compile(rb"[&%][\w.-]+;")


def parse_xml(content: bytes) -> Element:
    """The root element. Entities of the document's own stay unexpanded and count as no text.

    Raises:
        ExpansionError: Entities are defined through each other: the shape of an entity bomb.
        CorruptError: Not well-formed beyond repair, or nested too deeply.
    """
    # A bomb is told by its definitions, before a parser sees it; the prologue of a document is short.
    for quoted, single in _ENTITY.findall(content[:65_536]):
        if _REFERENCE.search(quoted or single):
            raise ExpansionError("the XML defines entities through other entities")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=True,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise CorruptError("the XML inside is not well-formed") from error
    if root is None:
        raise CorruptError("the XML inside is not well-formed")
    return root


def local_name(element: Element) -> str:
    """The tag without its namespace; empty for what is not an element (a comment, an entity)."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Element, name: str) -> str:
    """An attribute by its name without namespace; empty when absent."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return ""


def child_text(element: Element, name: str) -> str:
    """The text of the first descendant with that local name; empty when there is none."""
    for found in element.iter("{*}" + name):
        return "".join(found.itertext())
    return ""

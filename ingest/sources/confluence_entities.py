"""Streams `entities.xml` of a Confluence export: a flat list of objects that refer to each other by id.

The file is read with a parser that resolves no entity, opens nothing and stops at nodes over 10 MB; a file
that declares a document type is refused, since Confluence never writes one.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from lxml import etree

from ingest.errors import SourceUnavailableError
from ingest.sources.export import Export

# Bytes that no XML may hold, though pages that were pasted from elsewhere bring them into exports.
_FORBIDDEN = bytes(byte for byte in range(32) if byte not in b"\t\n\r")
_BLANKS = bytes.maketrans(_FORBIDDEN, b" " * len(_FORBIDDEN))


@dataclass(frozen=True, slots=True)
class Entity:
    """One object of the export.

    Attributes:
        kind: Its class, for example `Page`.
        values: Texts of its plain properties by name; empty ones are there with an empty text.
        references: Ids of the objects that single properties refer to.
        collections: Ids of the objects that collections refer to.
    """

    kind: str
    id: str
    values: dict[str, str]
    references: dict[str, str]
    collections: dict[str, tuple[str, ...]]


def entities_name(export: Export) -> str:
    """The name of `entities.xml` in the export.

    Raises:
        SourceUnavailableError: There is none: this is no XML export.
    """
    found = [name for name in export.names() if PurePosixPath(name).name == "entities.xml"]
    if not found:
        raise SourceUnavailableError("there is no entities.xml: this is not an XML export of Confluence")
    return min(found, key=lambda name: (name.count("/"), name))


def read_entities(export: Export, kinds: Collection[str]) -> Iterator[Entity]:
    """Objects of some classes, in the order of the file; memory use does not grow with the file.

    Raises:
        SourceUnavailableError: The file is not well-formed to its end, or declares a document type.
    """
    with export.open(entities_name(export)) as raw:
        try:
            yield from _stream(raw, kinds)
        except (etree.XMLSyntaxError, ValueError, EOFError) as error:
            raise SourceUnavailableError(f"entities.xml is damaged: {str(error)[:200]}") from error


def _stream(raw: IO[bytes], kinds: Collection[str]) -> Iterator[Entity]:
    events = etree.iterparse(
        _Cleaned(raw),
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    root: Any = None
    for event, element in events:
        if root is None:
            root = element
            if root.getroottree().docinfo.doctype:
                raise SourceUnavailableError("entities.xml declares a document type")
        elif event == "end" and element.tag == "object" and element.getparent() is root:
            if element.get("class") in kinds:
                yield _entity(element)
            root.remove(element)


def _entity(element: Any) -> Entity:
    values: dict[str, str] = {}
    references: dict[str, str] = {}
    collections: dict[str, tuple[str, ...]] = {}
    entity_id = ""
    for child in element:
        name = child.get("name", "")
        if child.tag == "id":
            entity_id = _text(child)
        elif child.tag == "collection":
            collections[name] = tuple(_text(found) for found in child.iterfind("element/id"))
        elif child.tag == "property" and (target := child.find("id")) is not None:
            references[name] = _text(target)
        elif child.tag == "property":
            values[name] = "".join(child.itertext())
    return Entity(element.get("class", ""), entity_id, values, references, collections)


def _text(element: Any) -> str:
    return (element.text or "").strip()


class _Cleaned(io.RawIOBase):
    """A stream with blanks in place of control characters."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        return self._raw.read(size).translate(_BLANKS)

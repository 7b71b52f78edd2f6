"""Word documents, partitioned by `unstructured`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from ingest.errors import CorruptError
from ingest.parsers.archive import core_properties, open_archive, read_xml
from ingest.parsers.embedded import embedded_files
from ingest.parsers.office_package import repaired_package
from ingest.parsers.part import Draft, Part, Source, paragraph
from ingest.parsers.unstructured_elements import load_partitioner, to_parts
from ingest.parsers.xml_tree import attribute, local_name

_NOTES = ("word/footnotes.xml", "word/endnotes.xml")


def read(source: Source) -> Draft:
    """Headings by style, numbered lists, tables, then foot- and endnotes; running headers are left out."""
    partition_docx = load_partitioner("docx")
    package = repaired_package(source.content)
    with open_archive(package) as archive:
        title, author, modified_at = core_properties(archive)
    source.beat()
    elements = partition_docx(file=io.BytesIO(package), include_page_breaks=False, languages=[""])
    source.beat()
    return Draft(
        _parts(elements, package),
        title,
        modified_at,
        {"author": author},
        members=embedded_files(source.content),
    )


def _parts(elements: list[Any], package: bytes) -> Iterator[Part]:
    yield from to_parts(elements, level=_level)
    with open_archive(package) as archive:
        for name in _NOTES:
            try:
                notes = read_xml(archive, name)
            except CorruptError:
                continue
            for note in notes:
                if not attribute(note, "type"):
                    yield paragraph("".join(t.text or "" for t in note.iter("{*}t") if local_name(t) == "t"))


def _level(element: Any) -> int:
    return (element.metadata.category_depth or 0) + 1

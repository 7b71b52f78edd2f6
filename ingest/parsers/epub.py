"""EPUB books: chapters in spine order."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote

from ingest.errors import CorruptError, EncryptedError
from ingest.parsers.archive import open_archive, read_member, read_xml
from ingest.parsers.dates import parse_iso_date
from ingest.parsers.html import read_markup
from ingest.parsers.part import Draft, Part, Source
from ingest.parsers.text_decoding import decode_text
from ingest.parsers.xml_tree import attribute, child_text


def read(source: Source) -> Draft:
    """The chapters' headings, paragraphs and tables.

    Raises:
        EncryptedError: The chapters are under rights management.
        CorruptError: The package document or every chapter is missing.
    """
    with open_archive(source.content) as archive:
        container = read_xml(archive, "META-INF/container.xml")
        rootfile = next(iter(container.iter("{*}rootfile")), None)
        if rootfile is None:
            raise CorruptError("the book's container names no package document")
        package_path = attribute(rootfile, "full-path")
        package = read_xml(archive, package_path)
        items = {attribute(item, "id"): unquote(attribute(item, "href")) for item in package.iter("{*}item")}
        spine = [items.get(attribute(ref, "idref"), "") for ref in package.iter("{*}itemref")]
        chapters = [
            posixpath.normpath(posixpath.join(posixpath.dirname(package_path), href))
            for href in spine
            if href
        ]
        if "META-INF/rights.xml" in archive.namelist():
            raise EncryptedError("the book is under rights management")
    return Draft(
        _parts(source, chapters),
        child_text(package, "title"),
        parse_iso_date(child_text(package, "date")),
        {"author": child_text(package, "creator")},
    )


def _parts(source: Source, chapters: list[str]) -> Iterator[Part]:
    with open_archive(source.content) as archive:
        present = [chapter for chapter in chapters if chapter in archive.namelist()]
        if chapters and not present:
            raise CorruptError("none of the book's chapters is in the container")
        for chapter in present:
            source.beat()
            yield from _chapter_parts(archive, chapter)


def _chapter_parts(archive: zipfile.ZipFile, chapter: str) -> Iterator[Part]:
    yield from read_markup(decode_text(read_member(archive, chapter))).parts

"""Office Open XML packages brought into the one shape that the Word and PowerPoint readers know.

What Office opens without a word, the libraries refuse or skip in silence: the Strict variant, templates and
macro files, relationships that lead nowhere; text in content controls, insertions and text boxes.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from urllib.parse import unquote

from lxml import etree

from ingest.errors import CorruptError
from ingest.parsers.archive import open_archive, read_member
from ingest.parsers.xml_tree import Element, attribute, local_name, parse_xml

_TYPES_MEMBER = "[Content_Types].xml"
_WORD_MAIN = "word/document.xml"
_MAIN_TYPES: tuple[tuple[bytes, bytes], ...] = (
    (b"application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml",
     b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"),
    (b"application/vnd.ms-word.document.macroEnabled.main+xml",
     b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"),
    (b"application/vnd.ms-word.template.macroEnabledTemplate.main+xml",
     b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"),
    (b"application/vnd.openxmlformats-officedocument.presentationml.template.main+xml",
     b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml"),
    (b"application/vnd.openxmlformats-officedocument.presentationml.slideshow.main+xml",
     b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml"),
    (b"application/vnd.ms-powerpoint.slideshow.macroEnabled.main+xml",
     b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml"),
    (b"application/vnd.ms-powerpoint.template.macroEnabled.main+xml",
     b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml"),
)  # fmt: skip
_STRICT = b"http://purl.oclc.org/ooxml/"
_STRICT_NAMESPACES: tuple[tuple[bytes, bytes], ...] = (
    (b"http://purl.oclc.org/ooxml/officeDocument/relationships",
     b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"),
    (b"http://purl.oclc.org/ooxml/wordprocessingml/main",
     b"http://schemas.openxmlformats.org/wordprocessingml/2006/main"),
    (b"http://purl.oclc.org/ooxml/presentationml/main",
     b"http://schemas.openxmlformats.org/presentationml/2006/main"),
    (b"http://purl.oclc.org/ooxml/drawingml/", b"http://schemas.openxmlformats.org/drawingml/2006/"),
)  # fmt: skip

_WRAPPERS = ("sdtContent", "sdt", "ins", "moveTo", "smartTag", "customXml")
_REMOVED = ("del", "moveFrom", "sdtPr", "sdtEndPr", "smartTagPr", "customXmlPr")
_NEEDS_FLATTENING = re.compile(rb"<w:(?:sdt|ins|moveTo|smartTag|customXml|txbxContent|vanish)[\s/>]")
_PROLOGUE_BYTES = 4_096
_OFF = ("0", "false", "off")


def repaired_package(content: bytes) -> bytes:
    """The package with its main type, namespaces, relationships and Word body in plain form."""
    with open_archive(content) as archive:
        names = archive.namelist()
        known = {unquote(name).replace("\\", "/").lower() for name in names}
        changed: dict[str, bytes] = {}
        for name in names:
            if not name.endswith((".xml", ".rels")):
                continue
            original = read_member(archive, name)
            mended = _mended_member(name, original, known)
            if mended != original:
                changed[name] = mended
        return _rewritten(archive, names, changed) if changed else content


def _mended_member(name: str, member: bytes, known: set[str]) -> bytes:
    if b"<!DOCTYPE" in member[:_PROLOGUE_BYTES]:
        raise CorruptError("a part declares a document type, which Office files may not")
    if _STRICT in member:
        for strict, transitional in _STRICT_NAMESPACES:
            member = member.replace(strict, transitional)
    if name == _TYPES_MEMBER:
        for other, plain in _MAIN_TYPES:
            member = member.replace(other, plain)
    elif name.endswith(".rels"):
        member = _without_dead_relationships(name, member, known)
    elif name == _WORD_MAIN and _NEEDS_FLATTENING.search(member):
        member = _flattened_body(member)
    return member


def _without_dead_relationships(name: str, member: bytes, known: set[str]) -> bytes:
    """Call relationships external whose target is not in the package: the readers load every internal one."""
    root = parse_xml(member)
    folder = posixpath.dirname(posixpath.dirname(name))
    internal = [relation for relation in root if attribute(relation, "TargetMode") != "External"]
    dead = [
        relation for relation in internal if _resolved(folder, attribute(relation, "Target")) not in known
    ]
    for relation in dead:
        relation.set("TargetMode", "External")
    return bytes(etree.tostring(root)) if dead else member


def _resolved(folder: str, target: str) -> str:
    path = posixpath.join("/" + folder, unquote(target).replace("\\", "/"))
    return posixpath.normpath(path).lstrip("/").lower()


def _flattened_body(member: bytes) -> bytes:
    """A Word body in which every paragraph and run stands where the reader looks for it."""
    root = parse_xml(member)
    for fallback in list(root.iter("{*}Fallback")):
        _remove(fallback)  # the older drawing of a text box repeats its text
    for hidden in list(root.iter("{*}vanish")):
        if attribute(hidden, "val") not in _OFF and (run := _ancestor(hidden, "r")) is not None:
            _remove(run)
    for box in list(root.iter("{*}txbxContent")):
        if (host := _ancestor(box, "p")) is not None and host.getparent() is not None:
            at = host.getparent().index(host) + 1
            host.getparent()[at:at] = list(box)
    for element in list(root.iter()):
        if local_name(element) in _REMOVED:
            _remove(element)
    for element in list(root.iter()):
        if local_name(element) in _WRAPPERS and (parent := element.getparent()) is not None:
            at = parent.index(element)
            parent[at : at + 1] = list(element)
    return bytes(etree.tostring(root))


def _ancestor(element: Element, name: str) -> Element | None:
    return next(element.iterancestors("{*}" + name), None)


def _remove(element: Element) -> None:
    if (parent := element.getparent()) is not None:
        parent.remove(element)


def _rewritten(archive: zipfile.ZipFile, names: list[str], changed: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    # Stored, not packed: the copy lives only as long as the parse.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as copy:
        for name in dict.fromkeys(names):
            copy.writestr(name, changed.get(name) or read_member(archive, name))
    return buffer.getvalue()

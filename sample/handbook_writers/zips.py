"""Zip containers that come out the same, byte for byte, every time."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Mapping

EPOCH = (2025, 1, 1, 0, 0, 0)
MODIFIED = re.compile(rb"(<dcterms:modified[^>]*>)[^<]*(</dcterms:modified>)")


def pack(entries: Iterable[tuple[str, bytes]], stored: frozenset[str] = frozenset()) -> bytes:
    """A zip archive of the entries, in the order given, with one fixed time stamp."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data, compresslevel=9)
    return buffer.getvalue()


def pack_with_mimetype(mimetype: str, entries: Mapping[str, bytes]) -> bytes:
    """An ODF or EPUB container: the media type first and not compressed, the rest sorted."""
    first = ("mimetype", mimetype.encode("ascii"))
    return pack([first, *sorted(entries.items())], frozenset({"mimetype"}))


def repack_office(data: bytes, modified: str) -> bytes:
    """An Office Open XML file with sorted entries, fixed time stamps and a fixed modification date."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    core = entries["docProps/core.xml"]
    entries["docProps/core.xml"] = MODIFIED.sub(rb"\g<1>" + modified.encode("ascii") + rb"\g<2>", core)
    first = "[Content_Types].xml"
    ordered = sorted(entries.items(), key=lambda entry: (entry[0] != first, entry[0]))
    return pack(ordered)

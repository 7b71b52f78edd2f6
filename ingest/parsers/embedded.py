"""Files that Office documents carry inside, as they were before they were put there."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

import olefile

from ingest.errors import CorruptError, DocumentError, TooLargeError
from ingest.parsers.archive import MAX_MEMBER_BYTES, open_archive, read_member
from ingest.parsers.part import PackedMember

_EMBEDDED = re.compile(r"(?:word|ppt|xl)/embeddings/[^/]+", re.I)
_CHART_LINKS = re.compile(r"(?:word|ppt|xl)/charts/_rels/[^/]+\.rels", re.I)
_PACKAGED = "\x01Ole10Native"
_OWN_STREAMS = ("WordDocument", "Workbook", "Book", "PowerPoint Document")


def embedded_files(content: bytes) -> Iterator[PackedMember]:
    """The files embedded in an Office Open XML package; the figures behind a chart are no document."""
    if not content.startswith(b"PK"):
        return
    with open_archive(content) as archive:
        charts = b"".join(
            read_member(archive, name) for name in archive.namelist() if _CHART_LINKS.fullmatch(name)
        )
        for entry in archive.infolist():
            name = PurePosixPath(entry.filename).name
            if not _EMBEDDED.fullmatch(entry.filename) or name.encode() in charts:
                continue
            try:
                found = _unwrapped(archive, entry, name)
            except DocumentError as error:
                yield PackedMember(name, partial(_raise, error))
                continue
            if found is not None:
                yield _holding(*found)


def _raise(error: DocumentError) -> bytes:
    raise error


def _holding(name: str, content: bytes) -> PackedMember:
    return PackedMember(name, lambda: content)


def _unwrapped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> tuple[str, bytes] | None:
    """Name and bytes of an embedded file; None for an object that is no file."""
    if entry.file_size > MAX_MEMBER_BYTES:
        raise TooLargeError(f"the file has {entry.file_size} bytes; at most {MAX_MEMBER_BYTES} are unpacked")
    content = read_member(archive, entry)
    if not content.startswith(olefile.MAGIC):
        return (name, content) if content else None
    try:
        with olefile.OleFileIO(io.BytesIO(content)) as storage:
            if storage.exists(_PACKAGED):
                return _packaged(storage.openstream(_PACKAGED).read(), name)
            if storage.exists("Package"):
                return PurePosixPath(name).stem, storage.openstream("Package").read()
            return (name, content) if any(map(storage.exists, _OWN_STREAMS)) else None
    except (OSError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise CorruptError(f"the embedded object is damaged: {type(error).__name__}") from error


def _packaged(stream: bytes, fallback: str) -> tuple[str, bytes]:
    """The file in an `Ole10Native` stream: sizes, three names ending in NUL or counted, then its bytes.

    Raises:
        ValueError: The stream ends too early.
    """
    at = 6
    label_end = stream.index(b"\x00", at)
    label = stream[at:label_end].decode("utf-8", "replace").replace("\\", "/")
    at = stream.index(b"\x00", label_end + 1) + 1 + 4
    path_bytes = int.from_bytes(stream[at : at + 4], "little")
    at += 4 + path_bytes
    size = int.from_bytes(stream[at : at + 4], "little")
    content = stream[at + 4 : at + 4 + size]
    if len(content) != size:
        raise ValueError("cut off")
    return PurePosixPath(label).name or fallback, content
